//! `key=value` text of login and text PDUs (RFC 7143 sections 6 and 13).
//!
//! * [`keys`]: the keys of section 13, each with its range and its result function.
//! * [`offer`]: what an initiator offers.
//! * [`parameters`]: what both sides agreed on.

pub mod keys;
pub mod offer;
pub mod parameters;

pub use keys::{Key, SessionType};
pub use offer::{DigestOffer, OfferError, OperationalOffer};
pub use parameters::{Digest, Parameters};
