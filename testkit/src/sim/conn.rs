//! What a connection is: two bounded, in-order pipes.

use std::{collections::VecDeque, io, net::SocketAddr, task::Waker, time::Duration};

use bytes::Bytes;

/// A connection's number.
pub(super) type ConnId = u64;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Initiator = 0,
    Target = 1,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Target,
            Self::Target => Self::Initiator,
        }
    }
}

pub(super) struct Chunk {
    pub(super) at: u64,
    pub(super) data: Bytes,
}

/// One direction, kept at the end that reads.
#[derive(Default)]
pub(super) struct End {
    pub(super) chunks: VecDeque<Chunk>,
    /// Bytes written and not yet read; after a cut they stay here, unacknowledged for ever.
    pub(super) buffered: usize,
    pub(super) last_arrival: u64,
    pub(super) fin_at: Option<u64>,
    pub(super) rst_at: Option<u64>,
    /// The other end will write no more.
    pub(super) writer_closed: bool,
    /// This end's handle was dropped.
    pub(super) reader_gone: bool,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) read_waker: Option<Waker>,
    /// Of this end's writer, waiting for room at the other end.
    pub(super) write_waker: Option<Waker>,
    pub(super) sent: u64,
    pub(super) taken: u64,
    pub(super) last_receive: u64,
}

impl End {
    /// Bytes that this end's kernel has taken in, whether read or not.
    pub(super) fn received(&self, now: u64) -> u64 {
        let waiting = self.chunks.iter().filter(|chunk| chunk.at <= now);
        self.taken + waiting.map(|chunk| chunk.data.len() as u64).sum::<u64>()
    }

    pub(super) fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let chunks = self.chunks.iter_mut().map(|chunk| &mut chunk.at);
        chunks
            .chain(self.fin_at.iter_mut())
            .chain(self.rst_at.iter_mut())
    }
}

pub(super) struct Conn {
    pub(super) source: SocketAddr,
    pub(super) portal: SocketAddr,
    pub(super) user_timeout: Duration,
    pub(super) blackholed: bool,
    pub(super) gives_up: bool,
    pub(super) ends: [End; 2],
}

impl Conn {
    pub(super) fn new(source: SocketAddr, portal: SocketAddr, user_timeout: Duration) -> Self {
        let ends = Default::default();
        Self {
            source,
            portal,
            user_timeout,
            blackholed: false,
            gives_up: false,
            ends,
        }
    }

    pub(super) fn fail(&mut self, side: Side, error: io::ErrorKind, wakes: &mut Vec<Waker>) {
        let end = &mut self.ends[side as usize];
        end.error.get_or_insert(error);
        wakes.extend(end.read_waker.take());
        wakes.extend(end.write_waker.take());
    }
}
