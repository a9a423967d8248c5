//! From the first byte of a connection to full feature phase (RFC 7143 section 6.3).

mod config;
mod logged_in;
mod secret;

pub use config::{
    Authentication, ChapAlgorithm, ChapCredentials, CredentialError, LoginConfig, LoginLimits,
};
pub use logged_in::LoggedIn;
pub use secret::Secret;
