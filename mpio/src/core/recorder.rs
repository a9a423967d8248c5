//! Writes decisions down. They are made elsewhere; what is kept is what they looked at.

use std::{collections::VecDeque, time::Instant};

use super::{
    Attempt, FailReason, Failure, IoId, Multipath, PathId, Steer,
    path::{Path, Standing},
    retry::{Disposition, TakenBack, Wish},
    trace::{Candidate, Choice, Considered, Decision, Next, Trace, TraceEntry},
};

/// The ring.
#[derive(Debug)]
pub(crate) struct Recorder {
    entries: VecDeque<TraceEntry>,
    capacity: usize,
    last: u64,
    made: Instant,
    now: Instant,
    /// How many of the last entries have no time yet: most inputs tell it at their end.
    unstamped: usize,
    /// Of an entry that has gone.
    spare: Vec<Candidate>,
}

impl Recorder {
    /// `None` without a capacity.
    pub(crate) fn new(made: Instant, now: Instant, capacity: usize) -> Option<Box<Self>> {
        (capacity > 0).then(|| {
            Box::new(Self {
                entries: VecDeque::new(),
                capacity,
                last: 0,
                made,
                now,
                unstamped: 0,
                spare: Vec::new(),
            })
        })
    }

    pub(crate) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        while self.entries.len() > capacity {
            self.forget();
        }
        self.entries.shrink_to(capacity);
    }

    fn forget(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            if let Decision::Dispatched { candidates, .. } | Decision::NoPath { candidates, .. } =
                entry.decision
            {
                self.spare = candidates;
            }
        }
        self.unstamped = self.unstamped.min(self.entries.len());
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        while self.entries.len() >= self.capacity {
            self.forget();
        }
        self.last += 1;
        self.unstamped += 1;
        self.entries.push_back(TraceEntry {
            number: self.last,
            at: self.now,
            uptime: self.now.saturating_duration_since(self.made),
            decision,
        });
    }

    /// What was decided since the last call was decided now.
    pub(crate) fn stamp(&mut self, now: Instant) {
        self.now = now;
        for entry in self.entries.iter_mut().rev().take(self.unstamped) {
            entry.at = now;
            entry.uptime = now.saturating_duration_since(self.made);
        }
        self.unstamped = 0;
    }

    /// Said already, and nothing since.
    fn has_just_missed(&self, io: IoId) -> bool {
        let last = self.entries.back().map(|entry| &entry.decision);
        matches!(last, Some(Decision::NoPath { io: other, .. }) if *other == io)
    }

    fn snapshot(&self) -> Trace {
        Trace {
            entries: self.entries.iter().cloned().collect(),
            forgotten: self.last - self.entries.len() as u64,
        }
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        let candidates = self.entries.iter().map(|entry| match &entry.decision {
            Decision::Dispatched { candidates, .. } | Decision::NoPath { candidates, .. } => {
                candidates.capacity()
            }
            _ => 0,
        });
        let candidates = candidates.sum::<usize>() + self.spare.capacity();
        let bytes =
            candidates * size_of::<Candidate>() + self.entries.capacity() * size_of::<TraceEntry>();
        bytes as u64
    }
}

impl Multipath {
    /// The last decisions; none unless [`decision_trace`](super::ConfigBuilder::decision_trace) is set. Allocates; meant
    /// for operators.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let recorder = self.events.trace.as_ref();
        recorder.map_or_else(Trace::default, |recorder| recorder.snapshot())
    }

    /// Before the attempt is booked: the load is what the selector has seen.
    #[cold]
    pub(super) fn trace_dispatch(&mut self, now: Instant, io: IoId, to: PathId) {
        let Some(entry) = self.ios.get(io.0) else {
            return;
        };
        let (io_kind, bytes, steer) = (entry.class.kind, entry.class.bytes, entry.steer);
        let candidates = self.consider(steer, Some(to));
        let is_eligible =
            |c: &&Candidate| matches!(c.result, Considered::Chosen | Considered::NotChosen);
        let choice = match steer {
            Steer::Prefer(path) if path == to => Choice::SamePath,
            Steer::Avoid(path) if path == to => Choice::NowhereElse,
            _ if candidates.iter().filter(is_eligible).count() > 1 => Choice::Selector,
            _ => Choice::Only,
        };
        if let Some(recorder) = &mut self.events.trace {
            recorder.push(Decision::Dispatched {
                io,
                io_kind,
                bytes,
                path: to,
                choice,
                candidates,
            });
            recorder.stamp(now);
        }
    }

    #[cold]
    pub(super) fn trace_no_path(&mut self, io: IoId) {
        let recorder = self.events.trace.as_ref();
        if recorder.is_none_or(|recorder| recorder.has_just_missed(io)) {
            return;
        }
        let steer = self.ios.get(io.0).map_or(Steer::Any, |entry| entry.steer);
        let candidates = self.consider(steer, None);
        if let Some(recorder) = &mut self.events.trace {
            recorder.push(Decision::NoPath { io, candidates });
        }
    }

    #[cold]
    pub(super) fn trace_failure(&mut self, ended: &Attempt, failure: Failure, then: Disposition) {
        let next = match then {
            Disposition::Again(Wish::Same) => Next::SamePath,
            Disposition::Again(Wish::Other | Wish::Equal) => Next::OtherPath,
            Disposition::After(delay) => Next::After { delay },
            Disposition::Fail(reason) => Next::GiveUp { reason },
            Disposition::Fence if self.config.fence.can_fence() => Next::Fence,
            Disposition::Fence => Next::GiveUp {
                reason: FailReason::Unfenced,
            },
            Disposition::Succeed => return,
        };
        if let Some(recorder) = &mut self.events.trace {
            recorder.push(Decision::Failed {
                io: ended.io,
                path: ended.path,
                scope: failure.scope,
                execution: failure.execution,
                recalled: ended.taken_back != TakenBack::No,
                next,
            });
        }
    }

    /// All paths as [`choose`](Self::choose) sees them.
    fn consider(&mut self, steer: Steer, chosen: Option<PathId>) -> Vec<Candidate> {
        let spare = self.events.trace.as_mut().map(|t| &mut t.spare);
        let mut all = spare.map(std::mem::take).unwrap_or_default();
        all.clear();
        let group_of_chosen = chosen.and_then(|path| self.groups.of(path));
        for (index, group) in self.groups.list().iter().enumerate() {
            for &id in &group.paths {
                let Some(path) = self.paths.get(id.0) else {
                    continue;
                };
                let result = match path.standing() {
                    _ if Some(id) == chosen => Considered::Chosen,
                    Standing::Out(reason) => Considered::Down(reason),
                    Standing::Doubtful(cause) => Considered::Suspect(cause),
                    Standing::Usable if matches!(steer, Steer::Avoid(from) | Steer::Leave(from) if from == id) => {
                        Considered::Avoided
                    }
                    Standing::Usable if path.rests() => Considered::StandsBy,
                    Standing::Usable if Some(index) != group_of_chosen => Considered::OtherGroup,
                    Standing::Usable if path.suspicion.is_asked() => Considered::Silent,
                    Standing::Usable => Considered::NotChosen,
                };
                all.push(candidate(id, path, result));
            }
        }
        all
    }
}

const fn candidate(id: PathId, path: &Path, result: Considered) -> Candidate {
    Candidate {
        path: id,
        result,
        in_flight: path.in_flight,
        load: path.throughput.load(),
        throughput: path.throughput.rate(),
        service_time: path.service.time(),
    }
}
