//! What must hold of every run.
//!
//! Nothing here runs anything: a [`History`] says what callers asked for and were told, [`check`]
//! says whether one unit of storage can have answered so. The rows that are no matter of histories
//! are functions of recorded facts in [`invariants`].
//!
//! | row | where |
//! |---|---|
//! | I1 linearizable per block, I2 and I3 as far as values show it, I16 | [`check`] (zones) |
//! | I4 exactly once | [`check`]: second ends; [`invariants::all_ended`] |
//! | I5 buffers untouched after completion | [`invariants::Poison`] |
//! | L4 reads that are done twice | [`hedging`] |
//! | I6 Time2Wait, L4 work without end | [`pace`] (the target judges the rest of I6, and I11) |
//! | I8 paths that stand by | [`port_state`] |
//! | I9 reservation conflicts | [`conflict`], [`reserved`] |
//! | I10 memory | [`held`] |
//! | I12 unit attentions | [`attention`] |
//! | I13 secrets | [`secrets`] (the target judges who goes on without its proof) |
//! | I14 flushes | [`check`] (durability), for units that lose power |
//! | I15 determinism | [`invariants::same_run`] |
//! | I17 | [`reserved`] |
//! | I18 | [`size`] |
//! | I19 | [`delivery`] |
//! | L1 to L6 | [`invariants`] |
//!
//! ```
//! use iscsi_testkit::simulate::check::{End, History, Kind, Op, Rules, Stamp, check};
//!
//! let mut history = History::new();
//! let stamp = Stamp::new(1, 1);
//! let op = |kind| Op { client: 1, device: 0, unit: 0, kind, blocks: 8..9 };
//! let write = history.invoke(1_000, op(Kind::Write { stamp }));
//! history.respond(2_000, write, End::Wrote);
//! let read = history.invoke(3_000, op(Kind::Read));
//! history.respond(4_000, read, End::Read(vec![Ok(Stamp::INITIAL)]));
//! let violation = check(&history, Rules::default()).unwrap_err();
//! assert!(violation.to_string().starts_with("I1"), "{violation}");
//! ```

mod access;
mod account;
pub mod attention;
#[cfg(test)]
mod brute;
pub mod conflict;
pub mod delivery;
mod durability;
pub mod hedging;
pub mod held;
mod history;
pub mod invariants;
mod judge;
pub mod pace;
pub mod port_state;
pub mod reserved;
pub mod secrets;
pub mod size;
pub mod stamp;
mod violation;
mod zones;

#[cfg(test)]
mod tests;

pub use history::{End, ExecutionKnowledge, History, Kind, Op, OpId};
pub use judge::{Ghosts, Rules, Summary, check};
pub use stamp::{Found, Stamp, Torn};
pub use violation::{Row, Violation};
