//! The end of a connection.

use std::io;

use super::frame::Malformed;

/// Why nothing more can be heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The initiator closed its direction in good order.
    #[error("the initiator has closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Failed(#[from] io::Error),
    /// What came is no PDU.
    #[error("no PDU")]
    Malformed(#[from] Malformed),
}
