//! How bytes move through connections, and what faults do to them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    task::{Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use iscsi_client::runtime::Progress;

use super::{
    conn::{Chunk, ConnId, End, Side},
    world::{Event, World},
};

/// The arrival time of what a stall holds back.
const HELD: u64 = u64::MAX;

impl World {
    pub(super) fn arrive(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        let end = &mut conn.ends[side as usize];
        end.last_receive = self.now;
        if end.rst_at.is_some_and(|at| at <= self.now) {
            conn.fail(side, io::ErrorKind::ConnectionReset, &mut self.wakes);
        } else {
            self.wakes.extend(end.read_waker.take());
        }
    }

    /// The kernel of either end has waited long enough for an acknowledgement.
    pub(super) fn give_up(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        for side in [Side::Initiator, Side::Target] {
            if conn.ends[side.other() as usize].buffered > 0 {
                conn.fail(side, io::ErrorKind::TimedOut, &mut self.wakes);
            }
        }
    }

    pub(super) fn blackhole(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        conn.blackholed = true;
        for end in &mut conn.ends {
            end.chunks.retain(|chunk| chunk.at <= now);
            end.fin_at = end.fin_at.filter(|at| *at <= now);
            end.rst_at = end.rst_at.filter(|at| *at <= now);
        }
        if conn.ends.iter().any(|end| end.buffered > 0) {
            self.arm_give_up(id);
        }
    }

    fn arm_give_up(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut conn.gives_up, true) {
            let after = u64::try_from(conn.user_timeout.as_nanos()).unwrap_or(u64::MAX);
            self.schedule(self.now.saturating_add(after), Event::GiveUp(id));
        }
    }

    pub(super) fn hold(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        for end in &mut conn.ends {
            end.in_flight_mut()
                .filter(|at| **at > now)
                .for_each(|at| *at = HELD);
        }
    }

    /// Lets what a stall held back go on, if no other stall holds it.
    pub(super) fn release(&mut self, id: ConnId) {
        let latency = self.latency();
        let at = self.now.saturating_add(latency);
        let Some(conn) = self.net.conns.get(&id) else {
            return;
        };
        if self.net.is_stalled(conn.source.ip(), conn.portal) {
            return;
        }
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        let mut woken = [false; 2];
        for (end, woken) in conn.ends.iter_mut().zip(&mut woken) {
            for held in end.in_flight_mut().filter(|at| **at == HELD) {
                *held = at;
                *woken = true;
            }
            if *woken {
                end.last_arrival = at;
            }
        }
        for side in [Side::Initiator, Side::Target] {
            if woken[side as usize] {
                self.schedule(at, Event::Arrive(id, side));
            }
        }
    }

    pub(super) fn reset(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        for side in [Side::Initiator, Side::Target] {
            conn.ends[side as usize]
                .chunks
                .retain(|chunk| chunk.at <= now);
            conn.fail(side, io::ErrorKind::ConnectionReset, &mut self.wakes);
        }
    }
}

/// What the two handles do.
impl World {
    /// As much of `wanted` as this call transfers: all of it, or by the seed's will less.
    fn portion(&mut self, wanted: usize) -> usize {
        if wanted > 1 && self.rng.chance(self.config.partial_per_mille) {
            1 + self.rng.below(wanted as u64 - 1) as usize
        } else {
            wanted
        }
    }

    pub(super) fn read(
        &mut self,
        id: ConnId,
        side: Side,
        bufs: &mut [IoSliceMut<'_>],
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        let limit = self.portion(wanted);
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let end = &mut conn.ends[side as usize];
        let mut left = limit;
        for buf in bufs {
            let mut filled = 0;
            while filled < buf.len() && left > 0 {
                let Some(chunk) = end.chunks.front_mut().filter(|chunk| chunk.at <= now) else {
                    break;
                };
                let len = chunk.data.len().min(buf.len() - filled).min(left);
                chunk.data.copy_to_slice(&mut buf[filled..filled + len]);
                (filled, left) = (filled + len, left - len);
                if chunk.data.is_empty() {
                    end.chunks.pop_front();
                }
            }
        }
        let read = limit - left;
        if read > 0 {
            end.buffered -= read;
            end.taken += read as u64;
            // The window opens at once: one more delay would model nothing that latency does not.
            if !conn.blackholed {
                self.wakes
                    .extend(conn.ends[side.other() as usize].write_waker.take());
            }
            self.trace.fold(read as u64);
            return Poll::Ready(Ok(read));
        }
        if let Some(error) = end.error {
            return Poll::Ready(Err(error.into()));
        }
        let end_of_stream = end.chunks.is_empty() && end.fin_at.is_some_and(|at| at <= now);
        if wanted == 0 || end_of_stream {
            return Poll::Ready(Ok(0));
        }
        end.read_waker = Some(waker.clone());
        Poll::Pending
    }

    pub(super) fn write(
        &mut self,
        id: ConnId,
        side: Side,
        bufs: &[IoSlice<'_>],
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        let capacity = self.config.pipe_capacity;
        let travel = self.latency();
        let portion = self.portion(wanted);
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(error) = conn.ends[side as usize].error {
            return Poll::Ready(Err(error.into()));
        }
        let peer = &mut conn.ends[side.other() as usize];
        if peer.writer_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if peer.reader_gone && !conn.blackholed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = portion.min(capacity.saturating_sub(peer.buffered));
        if len == 0 && wanted > 0 {
            conn.ends[side as usize].write_waker = Some(waker.clone());
            return Poll::Pending;
        }
        peer.buffered += len;
        peer.sent += len as u64;
        self.trace.fold(len as u64);
        if conn.blackholed {
            self.arm_give_up(id);
        } else if len > 0 {
            let data = gather(bufs, len);
            let sent_at = self.net.sent_at(id, side, self.now, len);
            let at = sent_at.saturating_add(travel);
            let at = self.net.arrives(id, side, at);
            self.send(
                id,
                side,
                |end, at| end.chunks.push_back(Chunk { at, data }),
                at,
            );
        }
        Poll::Ready(Ok(len))
    }

    /// Puts something on the way from `side` to the other end.
    fn send(&mut self, id: ConnId, side: Side, put: impl FnOnce(&mut End, u64), at: u64) {
        let Some(conn) = self.net.conns.get(&id) else {
            return;
        };
        let stalled = self.net.is_stalled(conn.source.ip(), conn.portal);
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        if conn.blackholed {
            return;
        }
        let to = side.other();
        put(&mut conn.ends[to as usize], if stalled { HELD } else { at });
        if !stalled {
            self.schedule(at, Event::Arrive(id, to));
        }
    }

    /// FIN: after everything that was written.
    pub(super) fn finish(&mut self, id: ConnId, side: Side) {
        let travel = self.latency();
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        let peer = &mut conn.ends[side.other() as usize];
        if std::mem::replace(&mut peer.writer_closed, true) {
            return;
        }
        let at = peer.last_arrival.max(now.saturating_add(travel));
        self.send(id, side, |end, at| end.fin_at = Some(at), at);
    }

    /// RST: nothing that is still under way arrives.
    pub(super) fn abort(&mut self, id: ConnId, side: Side) {
        let travel = self.latency();
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        conn.fail(side, io::ErrorKind::ConnectionAborted, &mut self.wakes);
        let peer = &mut conn.ends[side.other() as usize];
        peer.writer_closed = true;
        peer.chunks.retain(|chunk| chunk.at <= now);
        peer.fin_at = peer.fin_at.filter(|at| *at <= now);
        self.send(
            id,
            side,
            |end, at| end.rst_at = Some(at),
            now.saturating_add(travel),
        );
    }

    pub(super) fn close(&mut self, id: ConnId, side: Side) {
        self.finish(id, side);
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        let end = &mut conn.ends[side as usize];
        end.reader_gone = true;
        end.chunks.clear();
        let writer = conn.ends[side.other() as usize].write_waker.take();
        // A blackholed writer never learns that nobody reads.
        self.wakes.extend(writer.filter(|_| !conn.blackholed));
        if conn.ends.iter().all(|end| end.reader_gone) {
            self.net.conns.remove(&id);
        }
    }
}

impl World {
    pub(super) fn progress(&self, id: ConnId, side: Side) -> Option<Progress> {
        let conn = self.net.conns.get(&id)?;
        let (own, peer) = (&conn.ends[side as usize], &conn.ends[side.other() as usize]);
        Some(Progress {
            sent: peer.sent,
            acked: peer.received(self.now),
            last_receive: Duration::from_nanos(self.now - own.last_receive),
        })
    }
}

fn gather(bufs: &[IoSlice<'_>], len: usize) -> Bytes {
    let mut data = BytesMut::with_capacity(len);
    for buf in bufs {
        let take = buf.len().min(len - data.len());
        data.extend_from_slice(&buf[..take]);
    }
    data.freeze()
}
