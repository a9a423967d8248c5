//! Why an I/O went where it went: the last decisions, for whoever asks for them.
//!
//! Off by default, and then a branch per decision is all that it costs. The decisions themselves are made elsewhere;
//! what is written down here is what they looked at.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use super::{
    Attempt, DownReason, Event, Execution, FailReason, Failure, IoId, IoKind, Multipath, PathId,
    Scope, Steer, SuspectCause,
    path::{Path, Standing},
    retry::{Disposition, Wish},
};

/// A decision of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Decision {
    /// An I/O is tried on a path.
    Dispatched {
        /// The I/O.
        io: IoId,
        /// What it does.
        io_kind: IoKind,
        /// Bytes that it moves.
        bytes: u64,
        /// The path.
        path: PathId,
        /// Why this one.
        choice: Choice,
        /// All paths, in the order of the groups.
        candidates: Vec<Candidate>,
    },
    /// There is no path for an I/O at the moment.
    NoPath {
        /// The I/O.
        io: IoId,
        /// All paths, and why none of them is one.
        candidates: Vec<Candidate>,
    },
    /// An attempt has failed.
    Failed {
        /// The I/O.
        io: IoId,
        /// Where it was tried.
        path: PathId,
        /// Whom the failure concerns.
        scope: Scope,
        /// How far it got.
        execution: Execution,
        /// It was taken back, since its path was silent.
        recalled: bool,
        /// What follows.
        next: Next,
    },
    /// Something that was told as an event: verdicts on paths with their causes, groups, rungs of the fence.
    Told {
        /// The event.
        event: Event,
    },
}

/// Why this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Choice {
    /// It was the only one.
    Only,
    /// The selector chose it among several.
    Selector,
    /// It is to be tried again there, after an error that had nothing to do with the path.
    SamePath,
    /// It failed there, and there is no other one.
    NowhereElse,
}

/// A path that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Candidate {
    /// The path.
    pub path: PathId,
    /// What became of it.
    pub result: Considered,
    /// I/Os in flight there, before this one.
    pub in_flight: u32,
    /// What they weigh: their bytes, and 4 KiB for each.
    pub load: u64,
    /// Bytes per second that it was measured to get done; what `load` is divided by. Zero if that is not known.
    pub throughput: u64,
    /// How long an I/O takes there by itself; zero if that is not known, and with selectors that do not ask.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "service_time_ns", serialize_with = "crate::serial::nanos")
    )]
    pub service_time: Duration,
}

/// What became of a path when an I/O looked for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", content = "cause", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Considered {
    /// It was chosen.
    Chosen,
    /// It could have been chosen, and another one was.
    NotChosen,
    /// Its group is not the one in use, which has a path that works.
    OtherGroup,
    /// The I/O has failed there just before.
    Avoided,
    /// It is given no new I/O for the moment.
    Suspect(SuspectCause),
    /// It takes no I/O: standby is [`DownReason::Ghost`].
    Down(DownReason),
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Next {
    /// Another attempt, on the same path.
    SamePath,
    /// Another attempt, on another path if there is one.
    OtherPath,
    /// Another attempt, after a while.
    After {
        /// How long.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "delay_ns", serialize_with = "crate::serial::nanos")
        )]
        delay: Duration,
    },
    /// It may still land, and is being proven dead. Another attempt comes before that or after it, as the
    /// [`WriterMode`](super::WriterMode) says.
    Fence,
    /// None: the caller is told.
    GiveUp {
        /// Why.
        reason: FailReason,
    },
}

/// A decision, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TraceEntry {
    /// Its number, from 1.
    pub number: u64,
    /// When, by the runtime's clock.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub at: Instant,
    /// How long after the device was made.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "uptime_ns", serialize_with = "crate::serial::nanos")
    )]
    pub uptime: Duration,
    /// What.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub decision: Decision,
}

/// The last decisions of a device, the oldest first. `Display` is one line for each, with the ids of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Trace {
    /// The decisions: as many as [`decision_trace`](super::ConfigBuilder::decision_trace) says.
    pub entries: Vec<TraceEntry>,
    /// Those that were before them.
    pub forgotten: u64,
}

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
            Disposition::Again(Wish::Other) => Next::OtherPath,
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
                recalled: ended.recalled,
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
                    Standing::Usable if steer == Steer::Avoid(id) => Considered::Avoided,
                    Standing::Usable if Some(index) != group_of_chosen => Considered::OtherGroup,
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

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only => "the only one",
            Self::Selector => "by the selector",
            Self::SamePath => "where it was",
            Self::NowhereElse => "there is no other one",
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path)?;
        match self.result {
            Considered::Chosen => f.write_str("chosen")?,
            Considered::NotChosen => f.write_str("not chosen")?,
            Considered::OtherGroup => return f.write_str("of another group"),
            Considered::Avoided => return f.write_str("avoided"),
            Considered::Suspect(cause) => return write!(f, "suspected: {cause}"),
            Considered::Down(reason) => return write!(f, "down: {reason}"),
        }
        write!(f, " ({} in flight, load {}", self.in_flight, self.load)?;
        if self.throughput > 0 {
            write!(f, ", {} MB/s", self.throughput / 1_000_000)?;
        }
        if !self.service_time.is_zero() {
            write!(f, ", {:?} each", self.service_time)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SamePath => f.write_str("again, there"),
            Self::OtherPath => f.write_str("again, elsewhere"),
            Self::After { delay } => write!(f, "again, after {delay:?}"),
            Self::Fence => f.write_str("to be proven dead"),
            Self::GiveUp { reason } => write!(f, "given up: {reason}"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, candidates: &[Candidate]| {
            for (index, candidate) in candidates.iter().enumerate() {
                let before = if index == 0 { ": " } else { "; " };
                write!(f, "{before}{candidate}")?;
            }
            Ok(())
        };
        match self {
            Self::Dispatched {
                io,
                io_kind,
                bytes,
                path,
                choice,
                candidates,
            } => {
                write!(f, "{io} ({io_kind}, {bytes} bytes) to {path}, {choice}")?;
                list(f, candidates)
            }
            Self::NoPath { io, candidates } => {
                write!(f, "{io} finds no path")?;
                list(f, candidates)
            }
            Self::Failed {
                io,
                path,
                scope,
                execution,
                recalled,
                next,
            } => {
                let how = match (recalled, scope) {
                    (true, _) => "was taken back from",
                    (false, Scope::Path) => "failed because of",
                    (false, Scope::Device) => "failed, as it would anywhere, on",
                    (false, Scope::Request) => "failed on",
                };
                write!(f, "{io} {how} {path}, {execution}: {next}")
            }
            Self::Told { event } => event.fmt(f),
        }
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.uptime.as_secs_f64();
        write!(f, "{seconds:>12.6} {}", self.decision)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}
