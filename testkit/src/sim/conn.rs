//! What a connection is: two bounded, in-order pipes.

use std::{collections::VecDeque, io, net::SocketAddr, task::Waker, time::Duration};

use bytes::Bytes;

use super::{
    frames::Frames,
    ids::{ProcessId, Side},
    trap::Trap,
};

pub(super) struct Chunk {
    pub(super) at: u64,
    pub(super) data: Bytes,
}

/// One direction, kept at the end that reads.
#[derive(Default)]
pub(super) struct End {
    pub(super) chunks: VecDeque<Chunk>,
    /// Bytes that were written and whose place is not free again: not read, or not acknowledged.
    pub(super) buffered: usize,
    pub(super) last_arrival: u64,
    pub(super) fin_at: Option<u64>,
    pub(super) rst_at: Option<u64>,
    /// The other end will write no more.
    pub(super) writer_closed: bool,
    /// This end's handle was dropped, or its process is dead.
    pub(super) reader_gone: bool,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) read_waker: Option<Waker>,
    /// Of this end's writer, waiting for room at the other end.
    pub(super) write_waker: Option<Waker>,
    pub(super) sent: u64,
    pub(super) taken: u64,
    /// What this end had received when its acknowledgements began to be lost.
    pub(super) acknowledged: Option<u64>,
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

    /// Of what is under way, `keep` chunks still arrive.
    pub(super) fn lose_in_flight(&mut self, now: u64, keep: usize) {
        let arrived = self.chunks.iter().filter(|chunk| chunk.at <= now).count();
        self.chunks.truncate(arrived + keep);
        self.fin_at = self.fin_at.filter(|at| *at <= now);
        self.rst_at = self.rst_at.filter(|at| *at <= now);
    }
}

pub(super) struct Conn {
    pub(super) source: SocketAddr,
    pub(super) portal: SocketAddr,
    pub(super) user_timeout: Duration,
    /// The processes at the two ends.
    pub(super) owners: [ProcessId; 2],
    /// By who writes: whether nothing of it arrives any more.
    pub(super) lost: [bool; 2],
    pub(super) gives_up: bool,
    pub(super) ends: [End; 2],
    pub(super) trap: Option<Trap>,
    /// Where PDUs begin and end, if flips of bits are to hit certain parts of them.
    pub(super) frames: Option<Box<Frames>>,
}

impl Conn {
    /// Whether it is broken in one direction at least.
    pub(super) const fn is_lossy(&self) -> bool {
        self.lost[0] || self.lost[1]
    }

    pub(super) fn fail(&mut self, side: Side, error: io::ErrorKind, wakes: &mut Vec<Waker>) {
        let end = &mut self.ends[side as usize];
        end.error.get_or_insert(error);
        wakes.extend(end.read_waker.take());
        wakes.extend(end.write_waker.take());
    }
}
