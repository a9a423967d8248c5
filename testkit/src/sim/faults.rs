//! What can be done to the network.

use std::{io, time::Duration};

use super::{
    bit_flips::BitFlips,
    ids::{ConnId, Side},
    net::SimNet,
    state::{Direction, Fault, Limit, Link, is_stalled},
    trap::{Sprung, Trap},
    world::{Event, World},
};

/// The arrival time of what a stall holds back.
pub(super) const HELD: u64 = u64::MAX;

/// Linux answers a lost SYN after one second; after a heal, that is how long a dial can still hang.
const SYN_RETRY: Duration = Duration::from_secs(1);

impl SimNet {
    /// Blackholes `link`: what is under way is lost, nothing more gets through, nobody is told.
    /// Connections that were cut stay dead even after [`heal`](Self::heal); attempts hang.
    ///
    /// In one direction ([`Link::only`]), what goes the other way arrives, but is never acknowledged:
    /// its writer fills the buffers, and then waits. Attempts hang all the same.
    pub fn cut(&self, link: Link) {
        self.shared.with(|world| {
            world.net.faults.push((link, Fault::Cut));
            for id in world.net.on(link) {
                world.lose(id, Side::BOTH.map(|side| link.goes(side)));
            }
        });
    }

    /// Delays everything on `link` until it is healed; nothing is lost.
    pub fn stall(&self, link: Link) {
        self.shared.with(|world| {
            world.net.faults.push((link, Fault::Stall));
            for id in world.net.on(link) {
                world.net.counts.stalled += 1;
                for side in Side::BOTH.into_iter().filter(|side| link.goes(*side)) {
                    world.hold(id, side);
                }
            }
        });
    }

    /// Answers new connection attempts on `link` with a refusal until it is healed.
    pub fn refuse(&self, link: Link) {
        self.shared
            .with(|world| world.net.faults.push((link, Fault::Refuse)));
    }

    /// Leaves new connection attempts on `link` without an answer until it is healed. Connections
    /// that are there go on.
    pub fn ignore(&self, link: Link) {
        self.shared
            .with(|world| world.net.faults.push((link, Fault::Ignore)));
    }

    /// From now on `link` carries so many bytes per second in each direction, over all its
    /// connections, one after the other; `None` lifts that. Latency comes on top, and
    /// [`heal`](Self::heal) changes nothing about it.
    ///
    /// # Panics
    ///
    /// If the rate is 0: that is a [`stall`](Self::stall).
    pub fn limit(&self, link: Link, rate: Option<u64>) {
        assert_ne!(rate, Some(0), "a link that carries nothing is stalled");
        self.shared.with(|world| {
            let limits = &mut world.net.limits;
            let at = limits.iter().position(|limit| limit.link == link);
            match (at, rate) {
                (Some(at), Some(rate)) => limits[at].rate = rate,
                (Some(at), None) => drop(limits.remove(at)),
                (None, Some(rate)) => limits.push(Limit {
                    link,
                    rate,
                    free_at: [0; 2],
                }),
                (None, None) => {}
            }
        });
    }

    /// From now on no read and no write on `link` transfers more than `most` bytes, 1 being the worst;
    /// `None` lifts that, and [`heal`](Self::heal) changes nothing about it.
    ///
    /// # Panics
    ///
    /// If the segment is 0: that is a [`stall`](Self::stall).
    pub fn segment(&self, link: Link, most: Option<usize>) {
        assert_ne!(most, Some(0), "a link that carries nothing is stalled");
        self.shared.with(|world| {
            let segments = &mut world.net.segments;
            segments.retain(|(old, _)| *old != link);
            segments.extend(most.map(|most| (link, most)));
        });
    }

    /// From now on bits change on `link` as `flips` says; `None` lifts that, and [`heal`](Self::heal)
    /// changes nothing about it. Connections that were made while the link had none are spared: of
    /// them it is not known where PDUs begin. Flips with a rate of 0 make the connections known.
    pub fn flip_bits(&self, link: Link, flips: Option<BitFlips>) {
        self.shared.with(|world| {
            let all = &mut world.net.flips;
            all.retain(|(old, _)| *old != link);
            all.extend(flips.map(|flips| (link, flips)));
        });
    }

    /// Resets the connections that `link` carries now, at both ends. Lasts no longer than the call.
    pub fn reset(&self, link: Link) {
        self.shared.with(|world| {
            for id in world.net.on(link) {
                world.reset(id);
            }
        });
    }

    /// Ends the connections that `link` carries now: both ends see the end of the stream, behind what
    /// is under way. Lasts no longer than the call.
    pub fn finish(&self, link: Link) {
        self.shared.with(|world| {
            for id in world.net.on(link) {
                world.end(id);
            }
        });
    }

    /// The connections that `link` carries now meet `then` once they have carried `bytes` more (at least
    /// one) towards `direction`, in the middle of a PDU if need be. A connection has one trap at a
    /// time; [`disarm`](Self::disarm) takes it away, [`heal`](Self::heal) changes nothing about it.
    pub fn trap(&self, link: Link, direction: Direction, bytes: u64, then: Sprung) {
        let side = match direction {
            Direction::ToPortal => Side::Initiator,
            Direction::FromPortal => Side::Target,
        };
        self.shared.with(|world| {
            for id in world.net.on(link) {
                if let Some(conn) = world.net.conns.get_mut(id) {
                    let left = bytes.max(1);
                    conn.trap = Some(Trap { side, left, then });
                }
            }
        });
    }

    /// Takes the traps of `link` away that have not sprung.
    pub fn disarm(&self, link: Link) {
        self.shared.with(|world| {
            for id in world.net.on(link) {
                if let Some(conn) = world.net.conns.get_mut(id) {
                    conn.trap = None;
                }
            }
        });
    }

    /// Lets every name fail to resolve with this error; `None` lifts that. Addresses resolve always.
    pub fn break_resolver(&self, error: Option<io::ErrorKind>) {
        self.shared.with(|world| world.net.resolver = error);
    }

    /// Ends what [`cut`](Self::cut), [`stall`](Self::stall), [`refuse`](Self::refuse) and
    /// [`ignore`](Self::ignore) of the same `link` began.
    pub fn heal(&self, link: Link) {
        self.shared
            .with(|world| world.heal(|faulty| faulty == link));
    }

    /// Heals every link.
    pub fn heal_all(&self) {
        self.shared.with(|world| world.heal(|_| true));
    }
}

impl World {
    fn heal(&mut self, healed: impl Fn(Link) -> bool) {
        self.net.faults.retain(|(link, _)| !healed(*link));
        for id in self.net.conns.keys(|_| true) {
            self.release(id);
        }
        for id in self.net.dials.keys(|dial| dial.result.is_none()) {
            let retry = self.rng.duration(&(Duration::ZERO..SYN_RETRY));
            let at = self.now.saturating_add(retry.as_nanos() as u64);
            self.schedule(at, Event::Syn(id));
        }
    }

    /// From now on nothing arrives of what these sides write.
    pub(super) fn lose(&mut self, id: ConnId, sides: [bool; 2]) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        match sides {
            [true, true] => self.net.counts.cut += 1,
            _ => self.net.counts.half_cut += 1,
        }
        for side in Side::BOTH {
            if sides[side as usize] && !std::mem::replace(&mut conn.lost[side as usize], true) {
                conn.ends[side.other() as usize].lose_in_flight(now, 0);
                // Nor do the acknowledgements of what it receives.
                let own = &mut conn.ends[side as usize];
                own.acknowledged = Some(own.received(now));
            }
        }
        if conn.ends.iter().any(|end| end.buffered > 0) {
            self.arm_give_up(id);
        }
    }

    pub(super) fn arm_give_up(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        if !std::mem::replace(&mut conn.gives_up, true) {
            let after = u64::try_from(conn.user_timeout.as_nanos()).unwrap_or(u64::MAX);
            self.schedule(self.now.saturating_add(after), Event::GiveUp(id));
        }
    }

    /// The kernel of either end has waited long enough for an acknowledgement.
    pub(super) fn give_up(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        // The next write waits anew.
        conn.gives_up = false;
        for side in Side::BOTH {
            let is_closed = conn.ends[side as usize].reader_gone;
            if conn.ends[side.other() as usize].buffered > 0 && !is_closed {
                conn.fail(side, io::ErrorKind::TimedOut, &mut self.wakes);
            }
        }
    }

    fn hold(&mut self, id: ConnId, side: Side) {
        let now = self.now;
        if let Some(conn) = self.net.conns.get_mut(id) {
            conn.ends[side.other() as usize]
                .in_flight_mut()
                .filter(|at| **at > now)
                .for_each(|at| *at = HELD);
        }
    }

    /// Lets what a stall held back go on, if no other stall holds it.
    fn release(&mut self, id: ConnId) {
        let latency = self.latency();
        let at = self.now.saturating_add(latency);
        for side in Side::BOTH {
            let Some(conn) = self.net.conns.get_mut(id) else {
                return;
            };
            if is_stalled(&self.net.faults, conn, side) {
                continue;
            }
            let end = &mut conn.ends[side.other() as usize];
            let mut woken = false;
            for held in end.in_flight_mut().filter(|at| **at == HELD) {
                *held = at;
                woken = true;
            }
            if woken {
                end.last_arrival = at;
                self.schedule(at, Event::Arrive(id, side.other()));
            }
        }
    }

    pub(super) fn reset(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        self.net.counts.reset += 1;
        for side in Side::BOTH {
            conn.ends[side as usize].lose_in_flight(now, 0);
            conn.fail(side, io::ErrorKind::ConnectionReset, &mut self.wakes);
        }
    }

    pub(super) fn end(&mut self, id: ConnId) {
        if self.net.conns.get(id).is_some() {
            self.net.counts.finished += 1;
            for side in Side::BOTH {
                self.finish(id, side);
            }
        }
    }

    pub(super) fn spring(&mut self, id: ConnId, then: Sprung) {
        match then {
            Sprung::Reset => self.reset(id),
            Sprung::Finish => self.end(id),
            Sprung::Cut => self.lose(id, [true; 2]),
        }
    }
}
