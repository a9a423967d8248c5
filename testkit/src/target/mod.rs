//! An iSCSI target for tests, examples and benchmarks.
//!
//! It shares the PDU codec and the key tables with the initiator and nothing else: its state machines
//! are its own, so that one misreading of RFC 7143 cannot cancel out. It is strict: whatever an
//! initiator does wrong is recorded as a [`Violation`]. The content of its LUNs is computed
//! ([`crate::pattern`]), so a LUN of many terabytes takes no memory; what is written lies over that.
//!
//! ```
//! use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};
//!
//! let config = TargetConfig::new("iqn.2026-01.example:disk")
//!     .with_portal("127.0.0.1:0".parse().unwrap(), 1)
//!     .with_portal("127.0.0.2:0".parse().unwrap(), 1)
//!     .with_lun(LunConfig::new(0, 64 << 30));
//! let target = TcpTarget::start(config)?;
//! let (one, two) = (target.portal(0), target.portal(1));
//! target.cut(1); // a pulled cable: two's connections fall silent, new ones are never answered
//! target.heal(1); // new connections to two are served again
//! # assert_ne!(one, two);
//! # Ok::<(), std::io::Error>(())
//! ```

mod answer;
mod back_end;
mod config;
mod conn;
mod core;
mod extents;
mod gate;
mod hardship;
mod ledger;
mod lun;
mod medium;
mod on_demand;
mod registry;
mod reservations;
mod roster;
mod scsi;
mod sim;
mod tcp;
mod violation;

pub use self::core::{Closer, Counters, LoginAttempt, TargetCore};
pub use answer::Answer;
pub use back_end::{Crash, Reinstatement, WriteHold};
pub use config::{
    ChapConfig, ChapFault, DigestPolicy, Limits, LoginConduct, LunConfig, PortalConfig, Redirect,
    TargetConfig,
};
pub use conn::TargetConnection;
pub use ledger::{DeafAccess, Extent, Notes, Port, Telling, Told};
pub use on_demand::Notice;
pub use registry::{Keyless, Registrant, Registry};
pub use scsi::alua::{AluaConfig, PortState};
pub use sim::SimTarget;
pub use tcp::TcpTarget;
pub use violation::Violation;
