//! The real client and the real multipath device in a world that is against them, under a seed.
//!
//! [`Plan::draw`] makes a world of a seed: how many paths, controllers, units and hosts there are, how
//! everything is configured, what the programs on the hosts do, and which faults befall the network, the
//! target and the programs. [`run`] carries it out in virtual time: nothing above the transport is
//! stubbed. [`shrink`](shrink()) takes away from a plan that fails what it fails without.
//!
//! ```
//! use iscsi_testkit::simulate::{Plan, run};
//!
//! let run = run(&Plan::draw(1));
//! assert!(run.findings.is_empty(), "{run}");
//! assert!(run.tallies.checked >= 2000);
//! ```
//!
//! The program `simulate` of this crate does that for many seeds; [`check`] is what judges them.

pub mod check;

mod activating;
mod asked;
mod board;
mod calm;
mod checks;
mod client;
mod delivery;
mod dice;
mod draw;
mod faults;
mod finding;
mod host;
mod job;
mod lives;
mod locking;
mod locks;
mod marginal;
mod memory;
mod names;
mod observe;
mod orders;
mod others;
mod plan;
mod preempt;
mod ranks;
mod readiness;
mod resizing;
mod run;
mod shrink;
mod silences;
mod spare;
mod tally;
mod trace;
mod verdict;
mod watched;
mod wire;
mod world;

pub use finding::Finding;
pub use orders::Orders;
pub use plan::{
    Answered, Death, DeviceTerms, Fault, Fence, Network, Place, Plan, Said, SessionTerms,
    TargetTerms, What, Work,
};
pub use run::{Run, run};
pub use shrink::{Edits, NoSuchEdit, Shrunk, shrink};
pub use tally::Tallies;
pub use wire::Wire;
