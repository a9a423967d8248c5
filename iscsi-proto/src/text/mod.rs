//! `key=value` text of login and text PDUs (RFC 7143 sections 6 and 13).
//!
//! * [`codec`]: pairs in and out of a data segment, and the C bit.
//! * [`binary`]: binary values in text.
//! * [`keys`]: the keys of section 13, each with its range and its result function.
//! * [`negotiate`]: offer and answer to result, as pure functions that either side can use.
//! * [`offer`]: what an initiator offers.
//! * [`parameters`]: what both sides agreed on.
//! * [`send_targets`]: the answer to `SendTargets`.

pub mod binary;
pub mod codec;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
mod fuzz;
pub mod keys;
pub mod negotiate;
pub mod offer;
pub mod parameters;
pub mod send_targets;

#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use fuzz::fuzz_text;
pub use keys::{Key, SessionType};
pub use offer::{DigestOffer, OfferError, OperationalOffer, TaskReportingOffer};
pub use parameters::{Digest, Parameters, TaskReporting};
