//! Why links cannot be watched.

use std::io;

/// Why links cannot be watched, or are not any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Only Linux tells, as far as this library knows.
    #[error("the carrier of network devices can be watched on Linux only; feed a monitor by hand")]
    Unsupported,
    /// Opened outside of a tokio runtime, whose reactor the socket needs.
    #[error("links are watched within a tokio runtime with I/O enabled, and there is none here")]
    NoRuntime,
    /// The kernel refused something.
    #[error("watching the network devices of this host: cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}
