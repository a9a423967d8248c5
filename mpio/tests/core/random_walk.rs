//! Random paths, outages, answers and cancellations; the promises of `Multipath` hold at every step.

use std::collections::HashMap;

use mpio::core::{
    AttemptId, Config, DownReason, Execution, FenceResult, IdentityCheck, IoClass, IoId,
    NoPathRetry, Outcome, PathGroupingPolicy, PathId, ProbeReport, ProbeResult, Retry, Scope,
};

use super::harness::{Harness, LOST, MS, S, TAKEN_BACK, UNSENT, failed};

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let n = from.len() as u64;
        (n > 0).then(|| from[self.below(n) as usize])
    }
}

/// What the target of the model may still do with a write whose outcome was unknown.
struct LivingGhost {
    attempt: AttemptId,
    path: PathId,
    range: std::ops::Range<u64>,
    /// The model's target executes nothing later than this after the close of the connection; just
    /// under the quiet time.
    deadline: Option<std::time::Instant>,
}

struct Walk {
    h: Harness,
    random: XorShift,
    paths: Vec<PathId>,
    connected: Vec<PathId>,
    classes: HashMap<IoId, IoClass>,
    ghosts: Vec<LivingGhost>,
    checked: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut random = XorShift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let policies = [
            NoPathRetry::Fail,
            NoPathRetry::QueueFor(3 * S),
            NoPathRetry::Queue,
        ];
        let grouping = [PathGroupingPolicy::Failover, PathGroupingPolicy::Multibus];
        let config = Config::builder()
            .no_path_retry(random.pick(&policies).unwrap())
            .path_grouping_policy(random.pick(&grouping).unwrap())
            .build()
            .unwrap();
        let mut h = Harness::new(config);
        h.short_way = seed % 4 != 0;
        let paths: Vec<_> = (0..3).map(|i| h.add(&format!("p{i}"), 1)).collect();
        Self {
            h,
            random,
            paths,
            connected: Vec::new(),
            classes: HashMap::new(),
            ghosts: Vec::new(),
            checked: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=4 => self.submit(),
            5..=8 => self.end_something(),
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
                attempt,
                path,
                range: class.range.clone().unwrap(),
                deadline: (!open).then(|| self.h.now + 9 * S),
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
        for ghost in self.ghosts.iter_mut().filter(|g| g.path == path) {
            ghost.deadline.get_or_insert(self.h.now + 9 * S);
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
        self.connected.push(path);
        self.h.core.handle_path_up(self.h.now, path, identity);
        self.h.drain();
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
            ProbeResult::ConnectionLost,
        ];
        let result = self.random.pick(&results).unwrap();
        if let Some((path, kind)) = self.random.pick(&self.h.probes) {
            self.h.probes.retain(|&probe| probe != (path, kind));
            let report = ProbeReport { kind, result };
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
    }

    fn check(&mut self) {
        let now = self.h.now;
        self.ghosts
            .retain(|g| g.deadline.is_none_or(|deadline| deadline > now));
        let snapshot = self.h.core.snapshot(now);
        for path in snapshot.paths().filter(|p| p.is_usable()) {
            assert!(self.connected.contains(&path.id), "{} is cut", path.name);
        }
        // Look at what was dispatched by the last step only.
        for &(io, attempt, path) in &self.h.flying {
            let class = &self.classes[&io];
            let (mpio::core::IoKind::Write, Some(range)) = (class.kind, &class.range) else {
                continue;
            };
            self.checked += 1;
            assert!(self.connected.contains(&path), "{io} flies on a cut path");
            for ghost in &self.ghosts {
                let apart = ghost.range.end <= range.start || range.end <= ghost.range.start;
                assert!(apart || ghost.attempt == attempt, "{io} flies over a ghost");
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
    fn heal(&mut self) {
        for path in self.paths.clone() {
            if self.connected.contains(&path) {
                self.disconnect(path, DownReason::ConnectionLost);
            }
            self.connected.push(path);
            self.h.up(path);
        }
        for _ in 0..200 {
            for (_, attempt, path) in self.h.flying.clone() {
                self.end(attempt, path, Outcome::Success);
            }
            self.obey();
            self.h.probes.clear();
            self.h.pass(100 * MS, &[]);
        }
        assert_eq!(self.h.core.unfinished(), 0);
        assert_eq!(self.h.finished.len(), self.classes.len());
    }
}

#[test]
fn every_io_ends_once_and_no_write_flies_over_a_ghost() {
    let (mut checked, mut ghosts) = (0, 0);
    for seed in 1..=200 {
        let mut walk = Walk::new(seed);
        for _ in 0..400 {
            walk.step();
        }
        checked += walk.checked;
        ghosts += walk.h.core.snapshot(walk.h.now).counters.ambiguous_writes;
        walk.heal();
    }
    assert!(checked > 20_000, "{checked} writes looked at");
    assert!(ghosts > 1_000, "{ghosts} ghosts");
}
