//! Paths, outages, answers and cancellations as dice have them; the promises of `Multipath` hold at every
//! step: each I/O ends once, none is dispatched to a path that is cut, leads to another unit or is on standby (I7,
//! I8), a refusal is the end (I9), attempts are bounded (L4), no write flies over a ghost.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use iscsi_proto::planted::Planted;
use mpio::core::{
    AttemptId, Config, DownReason, Execution, FenceConfig, FenceResult, FormerLife, IdentityCheck,
    IoClass, IoId, KeyRefusal, NoPathRetry, Outcome, PathAttributes, PathGroupingPolicy, PathId,
    PathKeys, PortalGroup, PreemptAndAbort, Preempted, ProbeKind, ProbeReport, ProbeResult,
    Registered, Retry, Scope, Verdict, WriterMode,
};

use super::harness::{Harness, LOST, MS, S, TAKEN_BACK, UNSENT, failed};

fn keys() -> PathKeys {
    PathKeys::new(0x4d50, 1).unwrap()
}

/// What decides: a generator, or the input of a fuzzer.
pub(crate) trait Dice {
    /// A number below `n`, which is not zero.
    fn below(&mut self, n: u64) -> u64;

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let n = from.len() as u64;
        (n > 0).then(|| from[self.below(n) as usize])
    }
}

/// What the target of the model may still do with a write whose outcome was unknown.
struct LivingGhost {
    io: IoId,
    path: PathId,
    range: std::ops::Range<u64>,
    /// The end of which attempt it came with: what was begun before does not end it.
    born: usize,
    /// When its connection was closed.
    closed: Option<Instant>,
}

/// Where time proves something the model's target executes nothing later than this after the close; just
/// under the quiet time.
const LINGER: Duration = Duration::from_secs(9);
/// What is on the way at the close of a connection is a task after this; just under the drain time.
const ARRIVAL: Duration = Duration::from_millis(1_900);
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Walk<D> {
    pub(crate) h: Harness,
    pub(crate) random: D,
    paths: Vec<PathId>,
    connected: Vec<PathId>,
    classes: HashMap<IoId, IoClass>,
    ghosts: Vec<LivingGhost>,
    /// Who is registered at the target; the key of path n is its key.
    registered: HashSet<PathId>,
    /// The target refuses to register.
    without_keys: bool,
    /// Writes of a former process may land, for so long after the first login.
    former: bool,
    first_login: Option<Instant>,
    logged_in: HashSet<PathId>,
    fence: FenceConfig,
    pub(crate) checked: usize,
    /// Connections that lead to another logical unit.
    strangers: HashSet<PathId>,
    /// Paths whose last TUR found the unit on standby.
    standing_by: HashSet<PathId>,
    /// Paths whose TUR, not yet answered, was sent over an earlier connection: the answer counts for nothing.
    asked_before: HashSet<PathId>,
    /// Paths whose device has no carrier.
    unplugged: HashSet<PathId>,
    /// I/Os that the device refused for good.
    refused: HashSet<IoId>,
    /// The attempts in flight after the last step, and how many each I/O has had.
    seen: HashSet<AttemptId>,
    tries: HashMap<IoId, u32>,
}

/// Most attempts of an I/O: the moves and retries of the configuration, and the first one.
const MAX_TRIES: u32 = 16 + 5 + 1;

impl<D: Dice> Walk<D> {
    pub(crate) fn new(mut random: D, planted: Planted) -> Self {
        let policies = [
            NoPathRetry::Fail,
            NoPathRetry::QueueFor(3 * S),
            NoPathRetry::Queue,
        ];
        let grouping = [PathGroupingPolicy::Failover, PathGroupingPolicy::Multibus];
        let modes = [WriterMode::Single, WriterMode::Shared];
        let mut coin = || random.below(2) == 0;
        let (barrier, quiet, reset) = (coin(), coin(), coin());
        let (preempt, without_keys) = (coin(), random.below(5) == 0);
        let former = random.below(4) == 0 && (barrier || quiet || reset);
        let config = Config::builder()
            .planted(planted)
            .no_path_retry(random.pick(&policies).unwrap())
            .path_grouping_policy(random.pick(&grouping).unwrap())
            .writer_mode(random.pick(&modes).unwrap())
            .reinstatement_is_barrier(barrier)
            .quiet_time(quiet.then_some(10 * S))
            .preempt_and_abort((preempt && (barrier || quiet || reset)).then_some(
                PreemptAndAbort {
                    keys: keys(),
                    drain: 2 * S,
                },
            ))
            .unit_reset(reset.then_some(2 * S))
            .fence_limit(LIMIT)
            .former_life(if former {
                FormerLife::Fence
            } else {
                FormerLife::None
            })
            .build()
            .unwrap();
        let fence = *config.fence();
        let mut h = Harness::new(config);
        h.short_way = random.below(4) != 0;
        let paths: Vec<_> = (0..3)
            .map(|i| {
                let target = "iqn.2026-01.example:disk".into();
                let group = PortalGroup { target, tag: i / 2 };
                let path = PathAttributes::new(format!("p{i}")).with_portal_group(group);
                h.core.add_path(h.now, path)
            })
            .collect();
        h.drain();
        Self {
            h,
            random,
            paths,
            connected: Vec::new(),
            classes: HashMap::new(),
            ghosts: Vec::new(),
            registered: HashSet::new(),
            without_keys,
            former,
            first_login: None,
            logged_in: HashSet::new(),
            fence,
            checked: 0,
            strangers: HashSet::new(),
            standing_by: HashSet::new(),
            asked_before: HashSet::new(),
            unplugged: HashSet::new(),
            refused: HashSet::new(),
            seen: HashSet::new(),
            tries: HashMap::new(),
        }
    }

    /// The first path has a spare.
    pub(crate) fn spare(&mut self) {
        let target = "iqn.2026-01.example:disk".into();
        let group = PortalGroup { target, tag: 0 };
        let path = PathAttributes::new("p0 spare").with_spare_for("p0");
        let path = path.with_portal_group(group);
        self.paths.push(self.h.core.add_path(self.h.now, path));
        self.h.drain();
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(16) {
            0..=4 => self.submit(),
            5..=8 => self.end_something(),
            9 if self.random.below(12) == 0 => self.forget(),
            9 => self.cut(),
            10 | 11 => self.connect(),
            12 => self.cancel(),
            13 => self.answer(),
            _ => self.wait(),
        }
        self.obey();
        self.check();
    }

    fn submit(&mut self) {
        let start = self.random.below(40);
        let range = start..start + 1 + self.random.below(10);
        let class = match self.random.below(5) {
            0 | 1 => IoClass::read(range),
            2 | 3 => IoClass::write(range),
            _ => IoClass::flush(),
        };
        if let Ok(io) = self.h.try_submit(class.clone()) {
            self.classes.insert(io, class);
        }
    }

    fn end_something(&mut self) {
        let Some((_, attempt, path)) = self.random.pick(&self.h.flying) else {
            return;
        };
        let outcomes = [
            Outcome::Success,
            Outcome::Success,
            Outcome::Success,
            failed(Scope::Path, Execution::NotExecuted, true, Retry::OtherPath),
            failed(Scope::Device, Execution::Unknown, true, Retry::SamePath),
            failed(
                Scope::Device,
                Execution::NotExecuted,
                true,
                Retry::After(50 * MS),
            ),
            failed(Scope::Request, Execution::Unknown, false, Retry::OtherPath),
            failed(Scope::Request, Execution::Executed, true, Retry::Never),
        ];
        let outcome = self.random.pick(&outcomes).unwrap();
        // What was taken back goes elsewhere, whatever its end.
        let recalled = self.h.recalled.contains(&attempt);
        if matches!(outcome, Outcome::Failed(f) if f.retry == Retry::Never && !recalled) {
            let io = self.h.flying.iter().find(|f| f.1 == attempt).unwrap().0;
            self.refused.insert(io);
        }
        self.end(attempt, path, outcome);
    }

    fn end(&mut self, attempt: AttemptId, path: PathId, outcome: Outcome) {
        let io = self.h.flying.iter().find(|f| f.1 == attempt).unwrap().0;
        let class = &self.classes[&io];
        let ambiguous = matches!(outcome, Outcome::Failed(f)
            if f.execution == Execution::Unknown && !f.dead);
        if let (true, mpio::core::IoKind::Write) = (ambiguous, class.kind) {
            let open = self.connected.contains(&path);
            self.ghosts.push(LivingGhost {
                io,
                path,
                range: class.range.clone().unwrap(),
                born: self.h.ends + 1,
                closed: (!open).then_some(self.h.now),
            });
        }
        self.h.end(attempt, outcome);
    }

    fn cut(&mut self) {
        if let Some(path) = self.random.pick(&self.connected) {
            self.disconnect(path, DownReason::ConnectionLost);
        }
    }

    fn disconnect(&mut self, path: PathId, reason: DownReason) {
        self.connected.retain(|&other| other != path);
        self.strangers.remove(&path);
        self.standing_by.remove(&path);
        if self.h.probes.contains(&(path, ProbeKind::Tur)) {
            self.asked_before.insert(path);
        }
        for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
            ghost.closed.get_or_insert(self.h.now);
        }
        let first = self.random.below(2) == 0;
        if first {
            self.h.core.handle_path_down(self.h.now, path, reason);
            self.h.drain();
        }
        for (_, attempt, _) in self.h.on(path) {
            let how = self.random.pick(&[LOST, UNSENT]).unwrap();
            self.end(attempt, path, how);
        }
        if !first {
            self.h.core.handle_path_down(self.h.now, path, reason);
            self.h.drain();
        }
    }

    fn connect(&mut self) {
        let path = self.random.pick(&self.paths).unwrap();
        if self.connected.contains(&path) {
            return;
        }
        let identity = if self.random.below(8) == 0 {
            IdentityCheck::Mismatch
        } else {
            IdentityCheck::Verified
        };
        self.connect_to(path, identity);
    }

    fn connect_to(&mut self, path: PathId, identity: IdentityCheck) {
        self.connected.push(path);
        if identity == IdentityCheck::Mismatch {
            self.strangers.insert(path);
        }
        if identity == IdentityCheck::Verified {
            self.register(path);
            self.reinstated(path);
        }
        self.h.core.handle_path_up(self.h.now, path, identity);
        self.h.drain();
        if self.logged_in.len() == self.paths.len() {
            self.h.core.handle_former_reinstated(self.h.now);
            self.h.drain();
        }
    }

    /// As a shell does it: before the path is up.
    fn register(&mut self, path: PathId) {
        if self.fence.preempt.is_none() {
            return;
        }
        let registered = if self.without_keys {
            Registered::Not(KeyRefusal::Unsupported)
        } else {
            self.registered.insert(path);
            Registered::With(self.key(path))
        };
        self.h.core.handle_registered(self.h.now, path, registered);
        self.h.drain();
    }

    fn key(&self, path: PathId) -> u64 {
        let at = self.paths.iter().position(|&other| other == path).unwrap();
        keys().key(at as u32)
    }

    /// The target loses its registrations, as without APTPL.
    fn forget(&mut self) {
        for path in self.connected.clone() {
            self.disconnect(path, DownReason::ConnectionLost);
        }
        self.registered.clear();
    }

    /// The target has taken a login of the path itself.
    fn reinstated(&mut self, path: PathId) {
        self.first_login.get_or_insert(self.h.now);
        self.logged_in.insert(path);
        if self.fence.target.is_barrier() {
            self.ghosts.retain(|g| g.path != path || g.closed.is_none());
            self.former &= self.logged_in.len() < self.paths.len();
        }
    }

    /// Each bit says whether a path has a carrier; all are told of together.
    pub(crate) fn carriers(&mut self, bits: u64) {
        let has = |index: usize| bits >> index & 1 == 1;
        let links: Vec<_> = self.paths.iter().copied().zip((0..).map(has)).collect();
        let gone = links.iter().filter(|(_, has_carrier)| !has_carrier);
        self.unplugged = gone.map(|(path, _)| *path).collect();
        self.h.core.handle_links(self.h.now, links);
        self.h.drain();
        self.obey();
        self.check();
    }

    fn cancel(&mut self) {
        if let Some((io, _, _)) = self.random.pick(&self.h.flying) {
            self.h.core.cancel(self.h.now, io);
            self.h.drain();
        }
    }

    fn answer(&mut self) {
        let results = [
            ProbeResult::Ready,
            ProbeResult::Ready,
            ProbeResult::NotReady,
            ProbeResult::Ghost,
            ProbeResult::Transitioning,
            ProbeResult::ConnectionLost,
        ];
        let result = self.random.pick(&results).unwrap();
        if let Some((path, kind)) = self.random.pick(&self.h.probes) {
            self.h.probes.retain(|&probe| probe != (path, kind));
            let report = ProbeReport { kind, result };
            match (kind, result) {
                (ProbeKind::Tur, _) if self.asked_before.remove(&path) => {}
                (ProbeKind::Tur, ProbeResult::Ghost) if self.connected.contains(&path) => {
                    self.standing_by.insert(path);
                }
                (ProbeKind::Tur, ProbeResult::Ready) => {
                    self.standing_by.remove(&path);
                }
                _ => {}
            }
            self.h.core.handle_probe(self.h.now, path, report);
            self.h.drain();
        }
    }

    fn wait(&mut self) {
        let paths = self.paths.clone();
        let time = MS * self.random.below(1_500) as u32;
        self.h.pass(time, &paths);
    }

    /// Recalls and fences are carried out, sooner or later.
    fn obey(&mut self) {
        for attempt in std::mem::take(&mut self.h.recalled) {
            let flight = self.h.flying.iter().find(|f| f.1 == attempt).copied();
            if let Some((_, attempt, path)) = flight {
                self.end(attempt, path, TAKEN_BACK);
            }
        }
        for path in std::mem::take(&mut self.h.fences) {
            self.disconnect(path, DownReason::Fenced);
            let result = FenceResult::Failed;
            self.h.core.handle_fenced(self.h.now, path, result);
        }
        self.climb(2);
    }

    /// Some of the rungs that were asked for are done, or fail, or go on.
    fn climb(&mut self, patience: u64) {
        for (step, dead, via) in std::mem::take(&mut self.h.reinstatements) {
            assert!(self.fence.target.is_barrier());
            if self.random.below(patience) > 0 {
                self.h.reinstatements.push((step, dead, via));
                continue;
            }
            let ways = self.connected.contains(&via) && !self.connected.contains(&dead);
            let done = ways && self.random.below(patience) == 0;
            let (_, ends) = self.h.asked[&step];
            if done {
                self.ghosts
                    .retain(|g| g.path != dead || g.born > ends || g.closed.is_none());
            }
            self.h.core.handle_fence_step(self.h.now, step, done);
            self.h.drain();
        }
        for path in std::mem::take(&mut self.h.to_register) {
            if self.random.below(patience) > 0 {
                self.h.to_register.push(path);
            } else if self.connected.contains(&path) {
                self.register(path);
            }
        }
        for order in std::mem::take(&mut self.h.preemptions) {
            assert!(self.fence.preempt.is_some() && !self.without_keys);
            assert_eq!(order.victim, self.key(order.dead));
            assert_eq!(order.own, self.key(order.via));
            if self.random.below(patience) > 0 {
                self.h.preemptions.push(order);
                continue;
            }
            let knows = |path| self.registered.contains(&path);
            let ways = self.connected.contains(&order.via) && knows(order.via);
            let done = ways && knows(order.dead);
            if done {
                let (at, ends) = self.h.asked[&order.step];
                let arrived =
                    |since: Option<Instant>| since.is_some_and(|since| since + ARRIVAL <= at);
                self.ghosts
                    .retain(|g| g.path != order.dead || g.born > ends || !arrived(g.closed));
                self.registered.remove(&order.dead);
                let under_way = self.h.on(order.dead);
                assert_eq!(under_way, [], "its own commands are aborted");
            }
            // The answer may be lost.
            let result = if done && self.random.below(patience) == 0 {
                Preempted::Done
            } else {
                Preempted::Failed
            };
            self.h.core.handle_preempted(self.h.now, order.step, result);
            self.h.drain();
        }
        for (step, via) in std::mem::take(&mut self.h.resets) {
            assert!(self.fence.unit_reset.is_some());
            if self.random.below(patience) > 0 {
                self.h.resets.push((step, via));
                continue;
            }
            let done = self.connected.contains(&via) && self.random.below(patience) == 0;
            let (at, ends) = self.h.asked[&step];
            let arrived = |since: Option<Instant>| since.is_some_and(|since| since + ARRIVAL <= at);
            if done {
                self.ghosts.retain(|g| g.born > ends || !arrived(g.closed));
                self.former &= !arrived(self.first_login);
            }
            self.h.core.handle_fence_step(self.h.now, step, done);
            self.h.drain();
        }
    }

    /// Those that the model's target has executed, or dropped, by now. And those of whom nobody is
    /// promised anything: their callers were told that nobody knows, when nothing had proven anything.
    fn age(&mut self) {
        let now = self.h.now;
        let fence = self.fence;
        let over =
            |since: Option<Instant>, time: Duration| since.is_some_and(|at| at + time <= now);
        let by_itself = |since| fence.target.quiesce.is_some() && over(since, LINGER);
        let finished = &self.h.finished;
        self.ghosts.retain(|g| {
            let told = matches!(finished.get(&g.io), Some(Verdict::Failed { .. }));
            let limit = if fence.can_fence() {
                LIMIT
            } else {
                Duration::ZERO
            };
            let given_up = told && fence.target.quiesce.is_none() && over(g.closed, limit);
            !by_itself(g.closed) && !given_up
        });
        self.former &= !by_itself(self.first_login);
    }

    /// What was dispatched by the last step.
    fn check_new(&mut self) {
        let flying: HashSet<_> = self.h.flying.iter().map(|flight| flight.1).collect();
        for &(io, attempt, path) in &self.h.flying {
            if self.seen.contains(&attempt) {
                continue;
            }
            assert!(
                !self.strangers.contains(&path),
                "{io} flies to another unit"
            );
            assert!(
                !self.standing_by.contains(&path),
                "{io} flies to a unit on standby"
            );
            assert!(
                !self.unplugged.contains(&path),
                "{io} flies without a carrier"
            );
            assert!(!self.refused.contains(&io), "{io} was refused for good");
            let tries = self.tries.entry(io).or_default();
            *tries += 1;
            assert!(*tries <= MAX_TRIES, "{io} is tried without end");
        }
        self.seen = flying;
        for io in &self.refused {
            assert_ne!(
                self.h.verdict(*io),
                Some(Verdict::Success),
                "{io} was refused"
            );
        }
    }

    fn check(&mut self) {
        self.age();
        self.check_new();
        let now = self.h.now;
        let snapshot = self.h.core.snapshot(now);
        for path in snapshot.paths().filter(|p| p.is_usable()) {
            assert!(self.connected.contains(&path.id), "{} is cut", path.name);
        }
        // Look at what was dispatched by the last step only.
        for &(io, _, path) in &self.h.flying {
            let class = &self.classes[&io];
            let (mpio::core::IoKind::Write, Some(range)) = (class.kind, &class.range) else {
                continue;
            };
            self.checked += 1;
            assert!(self.connected.contains(&path), "{io} flies on a cut path");
            assert!(!self.former, "{io} flies over a former life");
            let keyless = self.fence.preempt.is_none() || self.without_keys;
            assert!(
                keyless || self.registered.contains(&path),
                "{io} without a key"
            );
            for ghost in &self.ghosts {
                let apart = ghost.range.end <= range.start || range.end <= ghost.range.start;
                // The same bytes to the same place do no harm, where nobody else writes there.
                let own = ghost.io == io && self.fence.mode == WriterMode::Single;
                assert!(apart || own, "{io} flies over a ghost of {}", ghost.io);
            }
            for &(other, _, _) in &self.h.flying {
                let class = &self.classes[&other];
                if other != io && class.kind == mpio::core::IoKind::Write {
                    let other = class.range.as_ref().unwrap();
                    assert!(other.end <= range.start || range.end <= other.start);
                }
            }
        }
        let waiting = self.classes.len() - self.h.finished.len() - self.h.flying.len();
        assert_eq!(snapshot.waiting, waiting, "nothing is forgotten");
    }

    /// The network heals; everything must come to an end.
    pub(crate) fn heal(&mut self) {
        for path in self.paths.clone() {
            if self.connected.contains(&path) {
                self.disconnect(path, DownReason::ConnectionLost);
            }
            self.connect_to(path, IdentityCheck::Verified);
        }
        // Twenty seconds for all that is timed, and a round for each I/O: of writes to one range one is carried out at
        // a time.
        for _ in 0..200 + self.classes.len() {
            for (_, attempt, path) in self.h.flying.clone() {
                self.end(attempt, path, Outcome::Success);
            }
            self.obey();
            self.climb(1);
            self.h.probes.clear();
            self.h.pass(100 * MS, &[]);
        }
        assert_eq!(self.h.core.unfinished(), 0);
        assert_eq!(self.h.finished.len(), self.classes.len());
    }
}
