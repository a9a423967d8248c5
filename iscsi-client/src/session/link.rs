//! A session's connection while it is up: the core and its transport, and the bytes between them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    sync::Arc,
    task::{Context, Poll},
};

use iscsi_proto::{
    Error as CoreError, Instant, framing::TransmitPiece, pdu::LogoutResponse,
    session::Session as Core,
};
use smallvec::SmallVec;

use super::{ops::Ops, outcome::Loss};
use crate::runtime::Transport;

/// Slices per vectored call. Linux takes 1024; beyond some dozens the saved system calls are few and
/// the array on the stack is not.
const MAX_SLICES: usize = 64;

/// Bytes that may be staged and not yet written. Enough to fill a socket buffer, small enough that an
/// abandoned write gets its memory back soon.
const STAGE_BYTES: usize = 256 * 1024;

/// What one poll may do before other tasks, and this session's own results, get their turn: rounds
/// of one write and one read, and bytes. At 10 Gbit/s 4 MiB are 3 ms.
const MAX_ROUNDS: u32 = 32;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The core and its transport.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) core: Core,
    pub(super) transport: Box<dyn Transport>,
}

/// How a [`Link::pump`] ended.
#[derive(Debug)]
pub(super) enum Pumped {
    /// Nothing to write and nothing to read; the transport has our waker for what may come.
    Idle,
    /// There is more to do; poll again soon.
    Busy,
    /// The target answered our logout.
    LoggedOut(LogoutResponse),
    /// The connection is over.
    Lost(Loss),
}

/// What one direction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Bytes(usize),
    /// The transport will wake us.
    Blocked,
    /// Nothing to move.
    Nothing,
}

impl Link {
    /// Writes and reads until both directions stand still.
    ///
    /// A read that brought less than it had room for has most likely emptied the socket, so it is
    /// first acted upon (a response makes room for a command) before the transport is asked again;
    /// but asked it is, until it says "pending": only then has it our waker, and this task may sleep.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, now: Instant, ops: &mut Ops) -> Pumped {
        let mut bytes = 0;
        // A direction that is blocked has our waker; asking it again in this poll is in vain.
        let (mut wrote, mut read) = (Moved::Bytes(0), Moved::Bytes(0));
        for round in 0..MAX_ROUNDS {
            let moved = self.round(cx, now, ops, wrote, read);
            (wrote, read) = match moved {
                Ok(moved) => moved,
                Err(loss) => return Pumped::Lost(loss),
            };
            let now_moved = wrote.bytes() + read.bytes();
            // Where nothing has moved there is nothing new, except what was before this poll.
            if now_moved > 0 || round == 0 {
                if let Some(answer) = ops.drain(&mut self.core, None) {
                    return Pumped::LoggedOut(answer);
                }
            }
            if now_moved == 0 {
                return Pumped::Idle;
            }
            bytes += now_moved;
            if bytes >= MAX_BYTES {
                break;
            }
        }
        Pumped::Busy
    }

    /// One write and one read, except in a direction that was blocked.
    fn round(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        ops: &mut Ops,
        wrote: Moved,
        read: Moved,
    ) -> Result<(Moved, Moved), Loss> {
        let wrote = match wrote {
            Moved::Blocked => Moved::Blocked,
            _ => self.write(cx, now, ops)?,
        };
        let read = match read {
            Moved::Blocked => Moved::Blocked,
            _ => self.read(cx, now, ops)?,
        };
        Ok((wrote, read))
    }

    /// One vectored write of everything that is staged, as far as it fits the slices.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant, ops: &mut Ops) -> Result<Moved, Loss> {
        if !self.core.poll_transmit(now, STAGE_BYTES, &ops.store) {
            return Ok(Moved::Nothing);
        }
        let mut slices: SmallVec<[IoSlice<'_>; MAX_SLICES]> = SmallVec::new();
        'pieces: for piece in self.core.transmit_pieces() {
            match piece {
                TransmitPiece::Inline(bytes) => slices.push(IoSlice::new(bytes)),
                TransmitPiece::Data(data) => {
                    for slice in ops.store.slices(data) {
                        slices.push(IoSlice::new(slice));
                        if slices.len() == MAX_SLICES {
                            break 'pieces;
                        }
                    }
                }
            }
            if slices.len() == MAX_SLICES {
                break;
            }
        }
        ops.stats.write_calls += 1;
        match self.transport.poll_write_vectored(cx, &slices) {
            Poll::Pending => Ok(Moved::Blocked),
            Poll::Ready(Ok(0)) => Err(Loss::Io(Arc::new(io::ErrorKind::WriteZero.into()))),
            Poll::Ready(Ok(n)) => {
                drop(slices);
                self.core.handle_transmitted(now, n)?;
                Ok(Moved::Bytes(n))
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// One vectored read: the rest of a payload into its place, and what follows it into scratch.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant, ops: &mut Ops) -> Result<Moved, Loss> {
        let plan = self.core.recv_plan();
        let mut slices: SmallVec<[IoSliceMut<'_>; MAX_SLICES]> = SmallVec::new();
        let mut whole = true;
        if let Some(data) = plan.payload {
            for slice in ops.store.slices_mut(data) {
                if slices.len() == MAX_SLICES - 1 {
                    whole = false;
                    break;
                }
                slices.push(IoSliceMut::new(slice));
            }
        }
        // Scratch is what follows the *whole* payload in the stream.
        if whole {
            slices.push(IoSliceMut::new(plan.scratch));
        }
        ops.stats.read_calls += 1;
        match self.transport.poll_read_vectored(cx, &mut slices) {
            Poll::Pending => Ok(Moved::Blocked),
            Poll::Ready(Ok(0)) => Err(Loss::Core(CoreError::Closed)),
            Poll::Ready(Ok(n)) => {
                drop(slices);
                self.core.handle_recv(now, n, &mut ops.store)?;
                Ok(Moved::Bytes(n))
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Ends the connection: nothing that is still in a send buffer leaves any more, and every command
    /// ends with its true outcome.
    pub(super) fn abort(mut self, loss: &Loss, ops: &mut Ops) {
        self.transport.abort();
        self.core.handle_closed(loss.for_core());
        ops.drain(&mut self.core, Some(loss));
        ops.connection_ended();
    }
}

impl Moved {
    const fn bytes(self) -> usize {
        match self {
            Self::Bytes(n) => n,
            Self::Blocked | Self::Nothing => 0,
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<CoreError> for Loss {
    fn from(error: CoreError) -> Self {
        Self::Core(error)
    }
}
