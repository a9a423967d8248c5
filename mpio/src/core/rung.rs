//! The rungs of the fencing ladder, as an operator sees them.

use std::fmt;

/// A way to learn that a lost write cannot land any more, cheapest first. `docs/fencing.md` says of
/// each what it removes and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FenceRung {
    /// The connection was closed so that nothing in a send buffer of ours is delivered.
    AbortiveClose,
    /// Not a byte of the write had left the process: it was not executed, and moves at once.
    Accounting,
    /// The lost path logged in again by itself, with its own ISID, on a target where that is a barrier.
    Reinstatement,
    /// The same through another portal of the portal group, while the lost path stays away.
    SiblingReinstatement,
    /// PREEMPT AND ABORT through another path, with the key of the lost one.
    PreemptAndAbort,
    /// LOGICAL UNIT RESET through another path.
    UnitReset,
    /// The target's quiesce time passes.
    TimedWait,
    /// Nothing proved anything within the limit: the caller is told that nobody knows.
    OutcomeUnknown,
}

impl FenceRung {
    /// All of them, in the order of the ladder.
    pub const ALL: &'static [Self] = &[
        Self::AbortiveClose,
        Self::Accounting,
        Self::Reinstatement,
        Self::SiblingReinstatement,
        Self::PreemptAndAbort,
        Self::UnitReset,
        Self::TimedWait,
        Self::OutcomeUnknown,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for FenceRung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AbortiveClose => "abortive close",
            Self::Accounting => "accounting",
            Self::Reinstatement => "reinstatement",
            Self::SiblingReinstatement => "reinstatement through a sibling",
            Self::PreemptAndAbort => "preempt and abort",
            Self::UnitReset => "logical unit reset",
            Self::TimedWait => "timed wait",
            Self::OutcomeUnknown => "outcome unknown",
        })
    }
}

/// Why a rung was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum SkipReason {
    /// The configuration does not allow it.
    NotAllowed,
    /// A reinstating login proves nothing with this target, or it is not known to.
    NotBarrier,
    /// No usable path leads to the portal group of the lost one.
    NoSibling,
    /// There is no usable path.
    NoPath,
    /// The path's logins have led to another portal group since: what they reinstate is another nexus.
    OtherNexus,
    /// The path is in use again, or its nexus is: to preempt it would abort what is under way.
    InUse,
    /// The path was not registered; [`Event::KeyRefused`](super::Event::KeyRefused) has told why.
    NotRegistered,
    /// Others use persistent reservations there.
    OthersReserve,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAllowed => "not allowed",
            Self::NotBarrier => "proves nothing with this target",
            Self::NoSibling => "no usable path to the same portal group",
            Self::NoPath => "no usable path",
            Self::OtherNexus => "the path has been with another portal group since",
            Self::InUse => "the path is in use again",
            Self::NotRegistered => "the path has no key",
            Self::OthersReserve => "others use persistent reservations",
        })
    }
}

/// What became of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", content = "reason", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum RungStep {
    /// It is being tried, or waited for.
    Started,
    /// It did what it is for.
    Done,
    /// It did not; the next one is tried.
    Failed,
    /// It was not tried.
    Skipped(SkipReason),
}

impl fmt::Display for RungStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Done => f.write_str("done"),
            Self::Failed => f.write_str("failed"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// How often a rung was what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RungCounters {
    /// Tried.
    pub started: u64,
    /// Did what it is for.
    pub done: u64,
    /// Did not.
    pub failed: u64,
    /// Was not tried where it might have been.
    pub skipped: u64,
}

/// How often each rung was what, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FenceCounters([RungCounters; FenceRung::ALL.len()]);

impl FenceCounters {
    /// Those of one rung. `AbortiveClose`, `Reinstatement` and the rungs after it count fences (a lost
    /// path is one); `Accounting` and `OutcomeUnknown` count writes, as `done`.
    #[must_use]
    pub const fn of(&self, rung: FenceRung) -> RungCounters {
        self.0[rung as usize]
    }

    pub(crate) const fn count(&mut self, rung: FenceRung, step: RungStep) {
        let counters = &mut self.0[rung as usize];
        match step {
            RungStep::Started => counters.started += 1,
            RungStep::Done => counters.done += 1,
            RungStep::Failed => counters.failed += 1,
            RungStep::Skipped(_) => counters.skipped += 1,
        }
    }
}

/// By the name of the rung.
#[cfg(feature = "serde")]
impl serde::Serialize for FenceCounters {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(FenceRung::ALL.iter().map(|&rung| (rung, self.of(rung))))
    }
}

/// Which rungs something was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told(u16);

impl Told {
    /// True the first time.
    pub(crate) const fn first(&mut self, rung: FenceRung) -> bool {
        let is_first = self.0 & rung.bit() == 0;
        self.0 |= rung.bit();
        is_first
    }
}
