//! From the first byte of a connection to full feature phase (RFC 7143 section 6.3).
//!
//! ```text
//!            +-- SecurityNegotiation --+      +- OperationalNegotiation -+
//!  names --> | AuthMethod, then CHAP_* | ---> | digests, lengths, ...    | ---> LoggedIn
//!            +-------------------------+      +--------------------------+
//!                 |  ends in a private          only takes that proof
//!                 |  proof of security
//!                 +--> Redirect (either stage), or an Error
//! ```
//!
//! Always both stages, also without credentials: some targets insist on the first one, and none is
//! known to mind it. All operational keys are sent explicitly, and names once: there are targets
//! that take a missing key for zero, and targets that hang up when a name is repeated.
//!
//! CHAP authenticates us to the target, and mutual CHAP the target to us as well:
//!
//! ```text
//!  us:     AuthMethod=CHAP    CHAP_A=8,7,6,5    CHAP_N, CHAP_R, [CHAP_I, CHAP_C]
//!  target:       AuthMethod=CHAP   CHAP_A, CHAP_I, CHAP_C            [CHAP_N, CHAP_R]
//! ```
//!
//! It protects nothing after the login and can be relayed by
//! whoever sits on the network: use a network of its own, or IPsec.

mod chap;
mod config;
mod credentials;
mod explain;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
mod fuzz;
mod inbox;
mod logged_in;
mod machine;
mod negotiation;
mod secret;
mod security;

pub use config::{LoginConfig, LoginLimits};
pub use credentials::{
    Authentication, ChapAlgorithm, ChapCredentials, CredentialError, TargetCredentials,
};
pub use explain::explain;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use fuzz::fuzz_login;
pub use logged_in::LoggedIn;
pub use machine::{Login, LoginOutcome};
pub use secret::Secret;
