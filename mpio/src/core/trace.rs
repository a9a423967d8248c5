//! Why an I/O went where it went: the last decisions, for whoever asks for them.
//!
//! Off by default, and then a branch per decision is all that it costs (`recorder.rs`).

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{DownReason, Event, Execution, FailReason, IoId, IoKind, PathId, Scope, SuspectCause};

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
    /// It is a spare, and the path that it is for takes I/O, or it has not shown yet that it works itself.
    StandsBy,
    /// Its group is not the one in use, which has a path that works.
    OtherGroup,
    /// The I/O has failed there just before.
    Avoided,
    /// Nothing comes from it, and it has been asked for a sign of life: one that is not silent is preferred.
    Silent,
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
            Considered::StandsBy => return f.write_str("stands by"),
            Considered::OtherGroup => return f.write_str("of another group"),
            Considered::Avoided => return f.write_str("avoided"),
            Considered::Silent => return f.write_str("silent"),
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
