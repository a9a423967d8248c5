//! How bytes move through connections.

use std::{
    io::{self, IoSlice, IoSliceMut},
    task::{Poll, Waker},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use iscsi_client::runtime::Progress;

use super::{
    conn::{Chunk, Conn, End},
    faults::HELD,
    flips::flip,
    ids::{ConnId, Side},
    state::{Net, is_stalled, segment, sent_at},
    world::{Event, World},
};

impl World {
    pub(super) fn arrive(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.net.conns.get_mut(id) else {
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
        let mut limit = self.portion(wanted);
        let now = self.now;
        let Net {
            conns,
            segments,
            counts,
            ..
        } = &mut self.net;
        let Some(conn) = conns.get_mut(id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if conn.ends[side as usize].reader_gone {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let segment = segment(segments, conn, side.other());
        limit = limit.min(segment.unwrap_or(usize::MAX));
        let end = &mut conn.ends[side as usize];
        let read = copy_out(end, bufs, limit, now);
        if read > 0 {
            counts.short_segments += u64::from(segment == Some(read));
            end.taken += read as u64;
            self.trace.fold(read as u64);
            // The window opens at once: one more delay would model nothing that latency does not.
            if !conn.lost[side as usize] {
                conn.ends[side as usize].buffered -= read;
                let writer = &mut conn.ends[side.other() as usize].write_waker;
                self.wakes
                    .extend(writer.take().filter(|_| !conn.lost[side.other() as usize]));
            }
            return Poll::Ready(Ok(read));
        }
        if let Some(error) = end.error {
            return Poll::Ready(Err(error.into()));
        }
        let end_of_stream = end.chunks.is_empty() && end.fin_at.is_some_and(|at| at <= now);
        if wanted == 0 || end_of_stream {
            return Poll::Ready(Ok(0));
        }
        wait(&mut end.read_waker, waker);
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
        let travel = self.latency();
        let mut len = self.portion(wanted);
        let capacity = self.config.pipe_capacity;
        let Some(conn) = self.net.conns.get_mut(id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(error) = write_error(conn, side) {
            return Poll::Ready(Err(error.into()));
        }
        if let Some(segment) = segment(&self.net.segments, conn, side) {
            self.net.counts.short_segments += u64::from(segment < len);
            len = len.min(segment);
        }
        if let Some(trap) = conn.trap.filter(|trap| trap.side == side) {
            len = len.min(usize::try_from(trap.left).unwrap_or(usize::MAX));
        }
        let peer = &mut conn.ends[side.other() as usize];
        len = len.min(capacity.saturating_sub(peer.buffered));
        if len == 0 {
            if wanted > 0 {
                wait(&mut conn.ends[side as usize].write_waker, waker);
                return Poll::Pending;
            }
            return Poll::Ready(Ok(0));
        }
        peer.buffered += len;
        peer.sent += len as u64;
        self.trace.fold(len as u64);
        if conn.is_lossy() {
            self.arm_give_up(id);
        }
        self.carry(id, side, bufs, (len, travel));
        Poll::Ready(Ok(len))
    }

    /// Puts `len` bytes on the way from `side`, which travel for so long.
    fn carry(&mut self, id: ConnId, side: Side, bufs: &[IoSlice<'_>], (len, travel): (usize, u64)) {
        let Net {
            conns,
            limits,
            faults,
            flips,
            counts,
            ..
        } = &mut self.net;
        let Some(conn) = conns.get_mut(id) else {
            return;
        };
        let mut data = gather(bufs, len);
        if conn.frames.is_some() {
            flip(flips, conn, side, &mut data, (&mut self.rng, counts));
        }
        let data = data.freeze();
        let mut at = sent_at(limits, conn, side, self.now, len).saturating_add(travel);
        let is_stalled = is_stalled(faults, conn, side);
        let is_lost = conn.lost[side as usize];
        let mut sprung = None;
        if let Some(trap) = conn.trap.as_mut().filter(|trap| trap.side == side) {
            trap.left -= len as u64;
            if trap.left == 0 {
                sprung = conn.trap.take().map(|trap| trap.then);
            }
        }
        let end = &mut conn.ends[side.other() as usize];
        // Nothing overtakes.
        at = at.max(end.last_arrival);
        end.last_arrival = at;
        if !is_lost {
            let at = if is_stalled { HELD } else { at };
            end.chunks.push_back(Chunk { at, data });
        }
        if !is_lost && !is_stalled {
            self.schedule(at, Event::Arrive(id, side.other()));
        }
        if let Some(then) = sprung {
            // Behind the bytes, so that they are there.
            self.schedule(at + 1, Event::Spring(id, then));
        }
    }

    /// Puts something else on the way from `side` to the other end.
    fn send(&mut self, id: ConnId, side: Side, put: impl FnOnce(&mut End, u64), at: u64) {
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        if conn.lost[side as usize] {
            return;
        }
        let stalled = is_stalled(&self.net.faults, conn, side);
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
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        let peer = &mut conn.ends[side.other() as usize];
        if std::mem::replace(&mut peer.writer_closed, true) {
            return;
        }
        let at = peer.last_arrival.max(now.saturating_add(travel));
        self.send(id, side, |end, at| end.fin_at = Some(at), at);
    }

    /// RST. What was not sent yet never is, be it for a stall or for the rate of a link: no kernel sends
    /// it again. Of what is under way already, the seed decides how much arrives before the reset.
    pub(super) fn abort(&mut self, id: ConnId, side: Side) {
        let now = self.now;
        let travels = u64::try_from(self.config.latency.end.as_nanos()).unwrap_or(u64::MAX);
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        if conn.ends[side as usize].reader_gone {
            return;
        }
        conn.fail(side, io::ErrorKind::ConnectionAborted, &mut self.wakes);
        let peer = &mut conn.ends[side.other() as usize];
        peer.writer_closed = true;
        let under_way = now.saturating_add(1)..=now.saturating_add(travels);
        let sent = peer.chunks.iter();
        let sent = sent.filter(|chunk| chunk.at < HELD && under_way.contains(&chunk.at));
        let sent = sent.count();
        let keep = self.rng.below(sent as u64 + 1) as usize;
        peer.lose_in_flight(now, keep);
        self.send_reset(id, side);
    }

    /// RST, behind whatever `side` has sent.
    pub(super) fn send_reset(&mut self, id: ConnId, side: Side) {
        let travel = self.latency();
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        let peer = &mut conn.ends[side.other() as usize];
        let last = peer.chunks.back().map_or(0, |chunk| chunk.at);
        let at = last.max(now.saturating_add(travel));
        self.send(id, side, |end, at| end.rst_at = Some(at), at);
    }

    pub(super) fn close(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.net.conns.get(id) else {
            return;
        };
        if !conn.ends[side as usize].reader_gone {
            self.finish(id, side);
            self.forget_end(id, side);
        }
    }

    /// Nobody reads at `side` any more.
    pub(super) fn forget_end(&mut self, id: ConnId, side: Side) {
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        let is_lossy = conn.is_lossy();
        let end = &mut conn.ends[side as usize];
        end.reader_gone = true;
        end.chunks.clear();
        let writer = conn.ends[side.other() as usize].write_waker.take();
        // Behind a cut, a writer never learns that nobody reads.
        self.wakes.extend(writer.filter(|_| !is_lossy));
        if conn.ends.iter().all(|end| end.reader_gone) {
            self.net.conns.remove(id);
        }
    }

    pub(super) fn progress(&self, id: ConnId, side: Side) -> Option<Progress> {
        let conn = self.net.conns.get(id)?;
        let (own, peer) = (&conn.ends[side as usize], &conn.ends[side.other() as usize]);
        let acked = peer.acknowledged;
        let acked = acked.unwrap_or_else(|| peer.received(self.now));
        let mut progress = Progress::new(peer.sent, acked);
        progress.last_receive = Duration::from_nanos(self.now - own.last_receive);
        Some(progress)
    }
}

fn write_error(conn: &Conn, side: Side) -> Option<io::ErrorKind> {
    let (own, peer) = (&conn.ends[side as usize], &conn.ends[side.other() as usize]);
    if own.reader_gone {
        return Some(io::ErrorKind::NotConnected);
    }
    if own.error.is_some() {
        return own.error;
    }
    if peer.writer_closed {
        return Some(io::ErrorKind::BrokenPipe);
    }
    (peer.reader_gone && !conn.is_lossy()).then_some(io::ErrorKind::ConnectionReset)
}

fn wait(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}

/// As much as has arrived, up to `limit`.
fn copy_out(end: &mut End, bufs: &mut [IoSliceMut<'_>], limit: usize, now: u64) -> usize {
    let mut left = limit;
    for buf in bufs {
        let mut filled = 0;
        while filled < buf.len() && left > 0 {
            let Some(chunk) = end.chunks.front_mut().filter(|chunk| chunk.at <= now) else {
                return limit - left;
            };
            let len = chunk.data.len().min(buf.len() - filled).min(left);
            chunk.data.copy_to_slice(&mut buf[filled..filled + len]);
            (filled, left) = (filled + len, left - len);
            if chunk.data.is_empty() {
                end.chunks.pop_front();
            }
        }
    }
    limit - left
}

fn gather(bufs: &[IoSlice<'_>], len: usize) -> BytesMut {
    let mut data = BytesMut::with_capacity(len);
    for buf in bufs {
        let take = buf.len().min(len - data.len());
        data.extend_from_slice(&buf[..take]);
    }
    data
}
