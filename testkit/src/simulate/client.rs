//! A program: it reads and writes one device, one request at a time, and tells the history.

use std::{future::Future, ops::Range, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use iscsi_client::{
    buf::{ReadBuf, ReadSeg, WriteBuf, WriteSeg},
    device::{FlushOptions, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
};
use mpio::{MultipathDevice, core::NoPathRetry};

use super::{
    check::{
        End, ExecutionKnowledge, Kind, Op, OpId, Row, Stamp, invariants,
        stamp::{self, BLOCK},
    },
    finding::Finding,
    memory::Guest,
    plan::{Fault, What},
    trace::Note,
    world::World,
};
use crate::sim::Rng;

/// Requests begin this long before a fault at most, so that it finds them under way.
const LEAD: u64 = 2_000_000;
/// And this long after it.
const TRAIL: u64 = 30_000_000;

/// A program, before it runs.
pub(super) struct Client {
    pub(super) id: u16,
    /// Its device.
    pub(super) device: usize,
    pub(super) requests: u32,
    /// When its host was started, if that was not before everything.
    pub(super) since: u64,
    pub(super) rng: Rng,
}

/// What one request is to be like.
pub(super) struct Intent {
    pub(super) blocks: Range<u64>,
    region: bool,
    /// Where the memory is cut into segments.
    cut: Option<usize>,
    /// The caller gives up after this time, by dropping the future.
    dropped: Option<Duration>,
    timeout: Option<Duration>,
    /// When it is decided on, which is when it is made.
    pub(super) begun: u64,
}

impl Intent {
    /// A request that waits as long as it takes, with memory of the simplest kind.
    pub(super) const fn plain(blocks: Range<u64>, begun: u64) -> Self {
        Self {
            blocks,
            region: false,
            cut: None,
            dropped: None,
            timeout: None,
            begun,
        }
    }
}

/// What its caller knows of a write that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is done.
    Acknowledged,
    /// It may have been done, and will not be any more.
    Over,
    /// It may be done at any time.
    MayLand,
}

impl Settled {
    fn of(end: &Result<End, Error>) -> Self {
        match end {
            Ok(End::Wrote) => Self::Acknowledged,
            Ok(_) => Self::MayLand,
            Err(error) => match ExecutionKnowledge::from(error) {
                ExecutionKnowledge::Unknown => Self::MayLand,
                _ => Self::Over,
            },
        }
    }
}

impl Client {
    pub(super) async fn run(mut self, world: Arc<World>) {
        let schedule = self.schedule(&world);
        for at in schedule {
            let now = world.now();
            if at > now {
                world.handle.sleep(Duration::from_nanos(at - now)).await;
            }
            let index = self.device;
            let device = world.board.until(|state| state.devices.get(index)?.clone());
            let device = device.await;
            self.request(&world, &device).await;
            let id = usize::from(self.id);
            world.board.with(|state| state.left[id] -= 1);
        }
    }

    /// When each request is made at the earliest: some at any time, the others around the faults.
    fn schedule(&mut self, world: &World) -> Vec<u64> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let calm = nanos(world.plan.calm);
        let faults = &world.plan.faults;
        let mut times: Vec<u64> = (0..self.requests)
            .map(|_| {
                let fault = faults.get(self.rng.below(faults.len() as u64) as usize);
                match fault.filter(|_| self.rng.chance(world.plan.work.rush)) {
                    Some(fault) => {
                        let begin = nanos(fault.at).saturating_sub(LEAD);
                        begin + self.rng.below(LEAD + TRAIL)
                    }
                    None => self.rng.below(calm),
                }
            })
            .collect();
        // What the life before this one did not get to, and what had not been due yet.
        for at in &mut times {
            if *at < self.since {
                let span = match self.rng.chance(world.plan.work.rush) {
                    true => TRAIL,
                    false => calm.saturating_sub(self.since).max(1),
                };
                *at = self.since + self.rng.below(span);
            }
        }
        times.sort_unstable();
        times
    }

    async fn request(&mut self, world: &World, device: &MultipathDevice) {
        let work = &world.plan.work;
        let drawn = self.rng.below(1000);
        let writes = u64::from(work.writes);
        if drawn < writes && work.locked {
            self.write_locked(world, device).await;
        } else if drawn < writes {
            let intent = self.intent(world, self.own_blocks(world));
            self.write(world, device, intent).await;
        } else {
            let intent = self.intent(world, 0..work.span);
            if drawn < writes + u64::from(work.flushes) {
                self.flush(world, device, intent).await;
            } else {
                self.read(world, device, intent).await;
            }
        }
    }

    /// What this program's host writes to. Each block has one host that writes it and any number that read:
    /// a write whose answer was lost is carried out twice, which is seen by whoever knows that another
    /// host has written there in between. Only the hosts' own agreement keeps them from that.
    fn own_blocks(&self, world: &World) -> Range<u64> {
        let hosts = u64::from(world.plan.hosts).max(1);
        let host = (self.device / world.plan.units.len()) as u64;
        let share = world.plan.work.span / hosts;
        host * share..(host + 1) * share
    }

    pub(super) fn intent(&mut self, world: &World, within: Range<u64>) -> Intent {
        let work = &world.plan.work;
        let rng = &mut self.rng;
        let room = within.end - within.start;
        let longest = if rng.chance(work.long) {
            work.longest
        } else {
            8
        };
        let count = 1 + rng.below(longest.min(room));
        let first = within.start + rng.below(room - count + 1);
        let some = |rng: &mut Rng, share: u16, most: u64| {
            rng.chance(share)
                .then(|| Duration::from_micros(1 + rng.below(most)))
        };
        let most = [2_000, 20_000, 3_000_000][rng.below(3) as usize];
        Intent {
            blocks: first..first + count,
            region: rng.chance(work.regions),
            cut: rng
                .chance(200)
                .then(|| 1 + rng.below(count * BLOCK as u64 - 1) as usize),
            dropped: some(rng, work.dropped, most),
            timeout: some(rng, work.timed, most),
            begun: world.now(),
        }
    }

    /// Without a path, a read waits no longer than it may. (A write may have to wait for a fence.)
    fn wait_was_bounded(&self, world: &World, id: OpId, asked: u64) {
        // On a path that is being removed it may end in its own time.
        let removes = |fault: &Fault| matches!(fault.what, What::RemovePath { .. });
        if world.plan.faults.iter().any(removes) {
            return;
        }
        let limit = match world.plan.device.no_path_retry {
            NoPathRetry::Fail => Duration::ZERO,
            NoPathRetry::QueueFor(limit) => limit,
            _ => return,
        };
        // What is under way on a path whose checks go unanswered has its command's time left.
        let limit = limit + world.plan.session.command_timeout;
        // I/O is held while a reservation changes hands.
        let orders = Duration::from_secs(60) * u32::from(world.plan.orders.is_some());
        let limit = limit + orders;
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let now = world.now();
        world.board.with(|state| {
            let Some(since) = state.pathless[self.device] else {
                return;
            };
            let since = since.max(asked);
            if let Err(late) = invariants::fails_without_paths(id, since, Some(now), limit) {
                state.find(Finding::Rule(late));
            }
        });
    }

    /// No request is carried out by a unit that has been another one for so long that every path must have
    /// heard of it. (The first command of a nexus is told so, and those that are under way behind it are
    /// carried out.)
    fn unit_was_ours(&self, world: &World, id: OpId, begun: u64) {
        let unit = self.device % world.plan.units.len();
        let device = &world.plan.device;
        let heard = device.polling.1 + device.checker_timeout + Duration::from_secs(1);
        let heard = u64::try_from(heard.as_nanos()).unwrap_or(u64::MAX);
        world.board.with(|state| {
            if state.remapped[unit].is_some_and(|since| since + heard < begun) {
                let what = format!("{id} was carried out by another unit");
                state.violate(Row::I7, what);
            }
        });
    }

    /// Remembers an error that this program should not have seen.
    fn complain(&self, world: &World, id: OpId, intent: &Intent, error: &Error) {
        let host = self.device / world.plan.units.len();
        let unit = self.device % world.plan.units.len();
        if intent.timeout.is_none() && world.plan.is_spared(host, unit) {
            let error = format!("{error:#}");
            world.board.with(|state| {
                state.unearned.get_or_insert((id, error));
            });
        }
    }

    fn op(&self, world: &World, kind: Kind, blocks: Range<u64>) -> Op {
        let unit = self.device % world.plan.units.len();
        Op {
            client: self.id,
            device: u16::try_from(self.device).unwrap_or(u16::MAX),
            unit: u16::try_from(unit).unwrap_or(u16::MAX),
            kind,
            blocks,
        }
    }

    pub(super) async fn write(
        &self,
        world: &World,
        device: &MultipathDevice,
        intent: Intent,
    ) -> Settled {
        let sequence = world.board.with(|state| {
            state.sequence += 1;
            state.sequence
        });
        let stamp = Stamp::new(self.id, sequence);
        let mut data = vec![0; (intent.blocks.end - intent.blocks.start) as usize * BLOCK];
        stamp::fill(intent.blocks.start, stamp, &mut data);
        let len = data.len();
        let mut guest = None;
        let buf = if intent.region {
            let memory = guest.insert(Guest::new(data));
            let range = |from: usize, to: usize| {
                WriteSeg::region(memory.clone(), from as u64, to - from).expect("within it")
            };
            let cut = intent.cut.unwrap_or(len);
            [range(0, cut), range(cut, len)].into_iter().collect()
        } else {
            let mut data = Bytes::from(data);
            match intent.cut {
                Some(cut) => {
                    let head = data.split_to(cut);
                    [WriteSeg::from(head), WriteSeg::from(data)]
                        .into_iter()
                        .collect()
                }
                None => WriteBuf::from(data),
            }
        };
        let mut options = WriteOptions::default();
        options.timeout = intent.timeout;
        let offset = intent.blocks.start * BLOCK as u64;
        let kind = Kind::Write { stamp };
        let id = self.begin(world, kind, intent.blocks.clone());
        let write = device.write(offset, buf, options);
        let done = unless_dropped(world, write, intent.dropped).await;
        if let Some(guest) = &guest {
            guest.close();
        }
        let end = match done {
            Some(completion) => {
                if completion.buf.len() != len {
                    violate(world, Row::I4, id, "gives another buffer back");
                }
                completion.result.map(|()| End::Wrote)
            }
            None => Ok(End::Dropped),
        };
        let settled = Settled::of(&end);
        self.end(world, id, &intent, end);
        keep(world, id, guest);
        settled
    }

    pub(super) async fn read(&self, world: &World, device: &MultipathDevice, intent: Intent) {
        let len = (intent.blocks.end - intent.blocks.start) as usize * BLOCK;
        let mut guest = None;
        let buf = if intent.region {
            let memory = guest.insert(Guest::new(vec![0; len]));
            let range = |from: usize, to: usize| {
                ReadSeg::region(memory.clone(), from as u64, to - from).expect("within it")
            };
            let cut = intent.cut.unwrap_or(len);
            [range(0, cut), range(cut, len)].into_iter().collect()
        } else {
            match intent.cut {
                Some(cut) => [cut, len - cut]
                    .into_iter()
                    .map(|len| ReadSeg::from(BytesMut::zeroed(len)))
                    .collect(),
                None => ReadBuf::zeroed(len),
            }
        };
        let mut options = ReadOptions::default();
        options.timeout = intent.timeout;
        let first = intent.blocks.start;
        let id = self.begin(world, Kind::Read, intent.blocks.clone());
        let read = device.read(first * BLOCK as u64, buf, options);
        let done = unless_dropped(world, read, intent.dropped).await;
        if let Some(guest) = &guest {
            guest.close();
        }
        let end = match done {
            Some(completion) => {
                if completion.buf.len() != len {
                    violate(world, Row::I4, id, "gives another buffer back");
                }
                let unit = self.device % world.plan.units.len();
                completion.result.map(|()| match &guest {
                    Some(guest) => decode(unit, first, &guest.bytes()),
                    None => decode_buf(unit, first, &completion.buf),
                })
            }
            None => Ok(End::Dropped),
        };
        self.wait_was_bounded(world, id, intent.begun);
        self.end(world, id, &intent, end);
        keep(world, id, guest);
    }

    async fn flush(&self, world: &World, device: &MultipathDevice, intent: Intent) {
        let mut options = FlushOptions::default();
        options.timeout = intent.timeout;
        let id = self.begin(world, Kind::Flush, 0..0);
        let flush = device.flush(options);
        let done = unless_dropped(world, flush, intent.dropped).await;
        let end = done.map_or(Ok(End::Dropped), |result| result.map(|()| End::Flushed));
        self.end(world, id, &intent, end);
    }

    fn end(&self, world: &World, id: OpId, intent: &Intent, end: Result<End, Error>) {
        match &end {
            Err(error) => self.complain(world, id, intent, error),
            Ok(End::Wrote | End::Read(_)) => self.unit_was_ours(world, id, intent.begun),
            Ok(_) => {}
        }
        if intent.timeout.is_some() {
            world.board.with(|state| state.reasons.limited.insert(id));
        }
        finish(world, id, end);
        world.observe_now_and_then(self.device);
    }

    fn begin(&self, world: &World, kind: Kind, blocks: Range<u64>) -> OpId {
        let op = self.op(world, kind, blocks);
        let now = world.now();
        world.board.with(|state| state.invoke(now, op))
    }
}

/// The blocks of a read, whatever its memory is made of.
pub(super) fn decode_buf(unit: usize, first: u64, buf: &ReadBuf) -> End {
    if let Some(data) = buf.as_slice() {
        return decode(unit, first, data);
    }
    let slices = buf.segments().filter_map(ReadSeg::as_slice);
    decode(unit, first, &slices.collect::<Vec<_>>().concat())
}

fn decode(unit: usize, first: u64, data: &[u8]) -> End {
    let seed = World::unit_seed(u16::try_from(unit).unwrap_or(u16::MAX));
    End::Read(stamp::read_all(seed, first, data))
}

async fn unless_dropped<T>(
    world: &World,
    request: impl Future<Output = T>,
    after: Option<Duration>,
) -> Option<T> {
    let Some(after) = after else {
        return Some(request.await);
    };
    let request = pin!(request);
    let patience = pin!(world.handle.sleep(after));
    match select(request, patience).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

pub(super) fn finish(world: &World, id: OpId, end: Result<End, Error>) {
    let now = world.now();
    world.board.with(|state| {
        let end = end.unwrap_or_else(|error| {
            state.tallies.failed += 1;
            if error.kind() == ErrorKind::ReservationConflict {
                state.reasons.conflicts.insert(id);
            }
            let end = End::Failed(ExecutionKnowledge::from(&error));
            state.ring.push(now, Note::Failed(id, error));
            end
        });
        state.tallies.checked += 1;
        state.tallies.dropped += u64::from(end == End::Dropped);
        state.respond(now, id, end);
    });
}

fn violate(world: &World, row: Row, id: OpId, what: &str) {
    let account = format!("{id} {what}");
    world.board.with(|state| state.violate(row, account));
}

/// Guest memory stays the guest's after the request; at the end it is asked whether it did.
fn keep(world: &World, id: OpId, guest: Option<Arc<Guest>>) {
    if let Some(guest) = guest {
        world.board.with(|state| state.guests.push((id, guest)));
    }
}
