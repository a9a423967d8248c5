//! Watching a connection's bytes: for captures, protocol traces and tests.
//!
//! A [`Tap`] set in [`SessionOptions::tap`](crate::session::SessionOptions::tap) is told of every
//! connection that a session opens, the first login, logins after a loss, redirections and discovery
//! included, and gets a [`ConnectionTap`] to see what was sent and what arrived. It stands between the
//! driver and the [`Transport`](crate::runtime::Transport), so it sees exactly the bytes that the
//! transport has taken or delivered, in the order in which the driver learned of it. Sessions without
//! a tap pay nothing for it: their transport is not wrapped.
//!
//! [`PcapNg`] is a tap that writes what Wireshark and tshark read:
//!
//! ```no_run
//! use std::sync::Arc;
//! use iscsi_client::{session::SessionOptions, tap::PcapNg};
//!
//! let capture = Arc::new(PcapNg::create("session.pcapng".as_ref())?);
//! let mut options = SessionOptions::default();
//! options.tap = Some(capture.clone());
//! // ... open sessions with these options; then:
//! println!("{}", capture.status());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Unlike a capture on the network card it takes no privileges, loses nothing at high rates, and shows
//! the bytes inside a TLS tunnel or of a caller's own [`Dialer`](crate::runtime::Dialer). What it does not
//! show is the network: segments, retransmissions and round-trip times are TCP's own.
//!
//! # Secrets
//!
//! A capture holds whatever the session carried: data, names, and the login. CHAP does not send the
//! secret, but a challenge with its response lets anyone who has both guess secrets offline, and
//! quickly. [`PcapNg`] therefore overwrites CHAP responses unless told otherwise
//! ([`PcapOptions::redact_chap`]), and can leave the data out ([`PayloadCapture::HeadersOnly`]). A tap
//! of your own sees everything.

mod pcapng;
mod tapped;

pub use pcapng::{CaptureState, CaptureStatus, PayloadCapture, PcapNg, PcapOptions};
pub(crate) use tapped::wrap;

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use iscsi_proto::{IscsiName, login::LoggedIn, portal::Portal};

use crate::bind::Bind;

/// Watches connections. See the [module](self).
///
/// Its methods, and those of the [`ConnectionTap`]s that it makes, are called by the task that drives
/// the session, between two polls of the transport: what they take, the session's I/O waits for.
pub trait Tap: fmt::Debug + Send + Sync + 'static {
    /// A connection is up; nothing was sent or received over it yet. Returns who watches it, or `None`
    /// if nobody does.
    fn connected(
        &self,
        at: Instant,
        connection: &TappedConnection<'_>,
    ) -> Option<Arc<dyn ConnectionTap>>;
}

/// Watches one connection, from its first byte to its end.
///
/// Times are by the clock of the session's [`Runtime`](crate::runtime::Runtime).
pub trait ConnectionTap: fmt::Debug + Send + Sync + 'static {
    /// The transport has taken these bytes for sending.
    fn sent(&self, at: Instant, bytes: StreamBytes<'_>);

    /// The transport has delivered these bytes.
    fn received(&self, at: Instant, bytes: StreamBytes<'_>);

    /// The login is done; whatever is sent from here on belongs to full feature phase. (What is
    /// *received* may have begun to: see [`LoggedIn::read_ahead`].)
    fn logged_in(&self, at: Instant, logged_in: &LoggedIn);

    /// One of the ends of a connection: [`StreamEnd::PeerClosed`] may be followed by another one.
    fn ended(&self, at: Instant, end: StreamEnd<'_>);
}

/// A connection that has just come up.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TappedConnection<'a> {
    /// The local address, where the transport tells it.
    pub local: Option<SocketAddr>,
    /// The address that was dialled.
    pub remote: SocketAddr,
    /// How the session is bound.
    pub bind: &'a Bind,
    /// The portal that the address belongs to, after redirections.
    pub portal: &'a Portal,
    /// Whom the login is for; `None` for discovery.
    pub target: Option<&'a IscsiName>,
}

/// How a connection ended, or one direction of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StreamEnd<'a> {
    /// The peer will send nothing more.
    PeerClosed,
    /// We closed it in good order.
    Closed,
    /// We closed it so that nothing unsent is delivered any more.
    Aborted,
    /// Reading, writing or closing failed.
    Failed(&'a io::Error),
}

/// Bytes of a stream, in pieces as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct StreamBytes<'a> {
    pieces: Pieces<'a>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
enum Pieces<'a> {
    Sent(&'a [IoSlice<'a>]),
    Received(&'a [IoSliceMut<'a>]),
}

impl<'a> StreamBytes<'a> {
    /// The first `len` bytes of `pieces`, or all if there are fewer.
    #[must_use]
    pub fn sent(pieces: &'a [IoSlice<'a>], len: usize) -> Self {
        let available = pieces.iter().map(|piece| piece.len()).sum();
        Self {
            pieces: Pieces::Sent(pieces),
            len: len.min(available),
        }
    }

    /// The first `len` bytes of `pieces`, or all if there are fewer.
    #[must_use]
    pub fn received(pieces: &'a [IoSliceMut<'a>], len: usize) -> Self {
        let available = pieces.iter().map(|piece| piece.len()).sum();
        Self {
            pieces: Pieces::Received(pieces),
            len: len.min(available),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order, none of them empty; together [`len`](Self::len) bytes.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let pieces = self.pieces;
        let count = match pieces {
            Pieces::Sent(slices) => slices.len(),
            Pieces::Received(slices) => slices.len(),
        };
        let mut left = self.len;
        (0..count).filter_map(move |index| {
            let piece: &[u8] = match pieces {
                Pieces::Sent(slices) => &slices[index],
                Pieces::Received(slices) => &slices[index],
            };
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_first_bytes_and_no_more() {
        let slices = [b"ab".as_slice(), b"", b"cde", b"f"].map(IoSlice::new);
        for (len, expected) in [
            (0, vec![]),
            (1, vec![b"a".as_slice()]),
            (4, vec![b"ab", b"cd"]),
            (6, vec![b"ab", b"cde", b"f"]),
            (7, vec![b"ab", b"cde", b"f"]),
        ] {
            let bytes = StreamBytes::sent(&slices, len);
            assert_eq!(bytes.pieces().collect::<Vec<_>>(), expected);
            assert_eq!(bytes.len(), len.min(6));
        }
    }
}
