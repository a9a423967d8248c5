//! What the core asks its shell to do, and what an I/O is to the core.

use std::{fmt, ops::Range, time::Duration};

use super::arena::{AttemptId, IoId, PathId};

/// What kind of command an I/O is; decides what may be done with it when its path is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum IoKind {
    /// Changes nothing: may be moved and repeated at will.
    Read,
    /// Changes its range. Repeating it is harmless only while nothing that overlaps it was
    /// acknowledged in between.
    Write,
    /// SYNCHRONIZE CACHE: may be repeated at will.
    Flush,
    /// Anything else.
    Other {
        /// Whether executing it twice is the same as executing it once. One that is not (COMPARE
        /// AND WRITE, PERSISTENT RESERVE OUT) is never repeated unless it was not executed.
        idempotent: bool,
    },
}

impl fmt::Display for IoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Other { .. } => "other",
        })
    }
}

/// What the core needs to know of an I/O. It never sees the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoClass {
    /// The kind.
    pub kind: IoKind,
    /// The bytes of the device that it touches; `None` where it touches none (a flush, a
    /// reservation). A range of a kind that writes keeps overlapping writes apart.
    pub range: Option<Range<u64>>,
    /// Bytes that it moves, for selectors and counters.
    pub bytes: u64,
}

impl IoClass {
    /// A read of `range`.
    #[must_use]
    pub fn read(range: Range<u64>) -> Self {
        Self::with(IoKind::Read, range)
    }

    /// A write of `range`.
    #[must_use]
    pub fn write(range: Range<u64>) -> Self {
        Self::with(IoKind::Write, range)
    }

    /// A flush of the whole device.
    #[must_use]
    pub const fn flush() -> Self {
        Self {
            kind: IoKind::Flush,
            range: None,
            bytes: 0,
        }
    }

    fn with(kind: IoKind, range: Range<u64>) -> Self {
        let bytes = range.end.saturating_sub(range.start);
        Self {
            kind,
            range: Some(range),
            bytes,
        }
    }

    /// The range that it changes.
    pub(crate) fn modifies(&self) -> Option<Range<u64>> {
        match self.kind {
            IoKind::Write | IoKind::Other { .. } => self.range.clone(),
            IoKind::Read | IoKind::Flush => None,
        }
    }
}

/// How far a failed attempt got in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Execution {
    /// It was not executed, not even in part: proven, for instance because it was never sent.
    NotExecuted,
    /// Nobody knows.
    Unknown,
    /// It was executed (and failed in its own right).
    Executed,
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotExecuted => "not executed",
            Self::Unknown => "execution unknown",
            Self::Executed => "executed",
        })
    }
}

/// Whom a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Scope {
    /// This request only.
    Request,
    /// The path: other requests will meet it there, and not elsewhere.
    Path,
    /// The device, whatever the path.
    Device,
}

/// What the path advises after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// At once, where it was.
    SamePath,
    /// At once, elsewhere.
    OtherPath,
    /// Anywhere, after a while.
    After(Duration),
}

/// How an attempt ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whom it concerns.
    pub scope: Scope,
    /// How far it got.
    pub execution: Execution,
    /// The target confirmed that it can no longer execute it (the answer to an ABORT TASK, a
    /// status). Says nothing about what it has executed already.
    pub dead: bool,
    /// Its connection was lost before a byte of it had left the process (`execution` says
    /// `NotExecuted` then).
    pub unsent: bool,
    /// The path's advice.
    pub retry: Retry,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target reported success.
    Success,
    /// Anything else.
    Failed(Failure),
}

/// What the caller of an I/O is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Success,
    /// Not done, or not known to be.
    Failed {
        /// Why no further attempt was made.
        reason: FailReason,
        /// How far the attempts together got: `Unknown` as soon as one of them was.
        execution: Execution,
    },
}

/// Why an I/O was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FailReason {
    /// The last attempt's own error stands: the device said no.
    Error,
    /// The error might pass, but the number of attempts is used up.
    RetriesExhausted,
    /// There is no path, and the no-path policy ended the wait.
    NoPath,
    /// A write of a lost path that nothing proved dead; or, as not executed, one that overlaps such a
    /// write.
    Unfenced,
    /// A write of a device whose registration somebody has ended.
    Preempted,
    /// The caller cancelled it.
    Cancelled,
    /// The device was closed.
    Closed,
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "the error stands",
            Self::RetriesExhausted => "tried too often",
            Self::NoPath => "no path",
            Self::Unfenced => "it could not be proven dead",
            Self::Preempted => "somebody has ended the registration",
            Self::Cancelled => "cancelled",
            Self::Closed => "closed",
        })
    }
}

/// A question to a path that costs it next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbeKind {
    /// TEST UNIT READY: asks the logical unit.
    Tur,
    /// TEST UNIT READY, and a READ of the first block.
    Read,
    /// REPORT TARGET PORT GROUPS: asks the logical unit, and for its access states.
    Rtpg,
    /// NOP-Out: asks the connection.
    Nop,
}

/// What a probe found. A probe never fails, it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbeResult {
    /// Answered; unless it was a NOP-Out, the logical unit is ready (a reservation conflict counts as ready: the
    /// path works).
    Ready,
    /// The logical unit answers here but takes no I/O (standby, unavailable).
    Ghost,
    /// The port group is between two states (SPC-4 section 5.15.2.6): I/O waits for a minute at most, or takes
    /// another path.
    Transitioning,
    /// The logical unit is not ready.
    NotReady,
    /// There is no such logical unit behind this path.
    Disconnected,
    /// Not asked, or not answered, because there is no connection.
    ConnectionLost,
}

/// The answer to an [`Action::Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeReport {
    /// What was asked.
    pub kind: ProbeKind,
    /// What was found.
    pub result: ProbeResult,
}

/// What became of an [`Action::Fence`]; several reports may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FenceResult {
    /// The old connection is closed abortively: nothing of it is in our send buffers any more.
    Closed,
    /// The nexus was reinstated: the same target answered a login with the same ISID.
    Reinstated,
    /// The login failed. The path goes on trying by itself, so this changes nothing.
    Failed,
}

/// A try of a rung of the fencing ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceStepId(pub(crate) u64);

/// What the shell has to do, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Give the I/O to the path, and report by `handle_outcome`.
    Dispatch {
        /// The I/O.
        io: IoId,
        /// This try of it.
        attempt: AttemptId,
        /// Where.
        path: PathId,
    },
    /// Take the attempt back from its path, so that its buffer is free; the outcome is reported by
    /// `handle_outcome` as always (it may still be a success).
    Recall {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Take the attempt, a read, back from its path as by `Recall`, but leave the command to its end there instead of
    /// aborting it: the path is silent, and it may be that it is merely slow.
    Detach {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Ask the path, and report by `handle_probe`; what [`ProbeKind::Rtpg`] has brought by `handle_port_groups` before
    /// that, as if it were for [`Action::ReportPortGroups`].
    Probe {
        /// Whom.
        path: PathId,
        /// What.
        kind: ProbeKind,
    },
    /// Ask the path's platform how far the bytes of its connection have come, without waiting for anything, and report
    /// by `handle_progress`.
    AskProgress {
        /// Whose.
        path: PathId,
    },
    /// Ask the unit for its target port groups (REPORT TARGET PORT GROUPS) through this path, within the checker's
    /// timeout; report by `handle_port_groups`.
    ReportPortGroups {
        /// Through which path.
        path: PathId,
    },
    /// Ask the target to make a port group active/optimized (SET TARGET PORT GROUPS) through this path, within the
    /// checker's timeout; report by `handle_activated`.
    Activate {
        /// Through which path, which is one of the group.
        path: PathId,
        /// The group.
        group: u16,
    },
    /// Close the path's connection abortively and log in again with the same ISID; report by
    /// `handle_fenced`.
    Fence {
        /// The path.
        path: PathId,
    },
    /// Reinstate the nexus of a lost path through another one: log in to the portal of `via`, from its
    /// local end, with the ISID of `dead`, see that the portal group is the same, and close that
    /// connection; report by `handle_fence_step`. If `dead` gets its own login done meanwhile, give up:
    /// this one would end its session.
    Reinstate {
        /// To be reported.
        step: FenceStepId,
        /// Whose nexus.
        dead: PathId,
        /// Through which path.
        via: PathId,
    },
    /// Register the path's present nexus with its key; report by `handle_registered`, after
    /// `handle_nexus`. It stays out until then. If that cannot be found out, try again.
    Register {
        /// The path, which has a connection.
        path: PathId,
    },
    /// Send a PREEMPT AND ABORT, unless others use persistent reservations there by now; report by
    /// `handle_preempted`, after `handle_nexus` for `dead`.
    Preempt {
        /// To be reported.
        step: FenceStepId,
        /// Whose commands are to be aborted.
        dead: PathId,
        /// Through which path.
        via: PathId,
        /// The key of `via`.
        own: u64,
        /// The key of `dead`.
        victim: u64,
    },
    /// Send a LOGICAL UNIT RESET; report by `handle_fence_step` whether the target said that it is
    /// complete.
    ResetUnit {
        /// To be reported.
        step: FenceStepId,
        /// Through which path.
        via: PathId,
    },
    /// The path was removed and nothing is in flight on it: unregister its [key](super::Multipath::registered_key)
    /// if it has one and a connection, close it, then report `handle_path_down`.
    Close {
        /// The path.
        path: PathId,
    },
    /// Tell the caller. No attempt of this I/O exists any more; this is its last mention.
    Finish {
        /// The I/O.
        io: IoId,
        /// What to tell.
        verdict: Verdict,
    },
}
