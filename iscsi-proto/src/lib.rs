//! Sans-IO iSCSI initiator protocol (RFC 7143) and the SCSI types that it carries.
//!
//! Nothing in this crate opens a socket, reads a clock, or draws a random number: bytes, time
//! ([`Instant`]) and entropy are arguments. What comes out are bytes to send, the moment of the
//! next timer, and events. That is what lets one implementation serve tokio, smol, a hypervisor's
//! own event loop and a simulator under one seed.
//!
//! # From the bottom up
//!
//! * [`pdu`]: every PDU of RFC 7143, one file each, parsed and emitted in both directions.
//! * [`scsi`]: CDBs, sense data, VPD pages, the 64-bit LUN.
//! * [`text`]: `key=value` text, typed keys, negotiation as pure functions.
//! * [`framing`]: the read plan and the write plan, which *name* payload bytes and never own them.
//! * [`login`]: from the first byte of a connection to full feature phase.
//! * [`connection`]: what RFC 7143 keeps per connection: StatSN, digests, the byte stream, NOPs.
//! * [`session`]: what it keeps per session: CmdSN window and task set; and the type that a caller
//!   drives, `Session`.
//!
//! # The driving contract
//!
//! Every layer is driven by the same few method names: inputs are `handle_*(now, ..)`, commands are
//! named by what they do, outputs are `poll_transmit`, `poll_timeout` and `poll_event`. After any
//! input or command, poll the outputs in that order until they have nothing more to say.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What a peer sends must not end the process (K-16). A file that may do one of these says why.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
    )
)]

extern crate alloc;

pub mod connection;
pub mod digest;
pub mod error;
pub mod framing;
#[doc(hidden)]
pub mod held;
pub mod ids;
pub mod login;
pub mod name;
pub mod pdu;
#[doc(hidden)]
pub mod planted;
pub mod portal;
pub mod scsi;
pub mod serial;
pub mod session;
pub mod text;
pub mod time;

pub use error::{ApiMisuse, DecodeError, Error, PeerIncompatible, PeerMisbehaved};
pub use ids::{
    Cid, InitiatorTaskTag, Isid, LoginRetry, LoginStatus, TargetPortalGroupTag, TargetTransferTag,
    Tsih,
};
pub use name::IscsiName;
pub use portal::Portal;
pub use scsi::lun::Lun;
pub use time::Instant;
