//! What requests and decisions leave to the driver.

use std::{fmt, future::Future, pin::Pin, time::Instant};

use super::{join::Opening, vessel::Vessel};
use crate::core::{AttemptId, FenceStepId, PathId, ProbeKind};

/// A PREEMPT AND ABORT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preempt {
    pub(super) step: FenceStepId,
    pub(super) dead: PathId,
    pub(super) via: PathId,
    pub(super) own: u64,
    pub(super) victim: u64,
}

/// Something for the driver to do.
pub(super) enum Job<P> {
    Probe(PathId, ProbeKind),
    /// How far the bytes of the path have come.
    AskProgress(PathId),
    ReportPortGroups(PathId),
    /// The port group of the path.
    Activate(PathId, u16),
    Fence(PathId),
    /// The nexus of the first path, through the second.
    Reinstate(FenceStepId, PathId, PathId),
    /// The nexus of a path is to be registered, whatever is known of it.
    Register(PathId),
    Preempt(Preempt),
    /// What a call has ordered.
    Call(Pin<Box<dyn Future<Output = ()> + Send>>),
    ResetUnit(FenceStepId, PathId),
    Close(PathId),
    /// A write whose caller is gone, to be seen to its end.
    Finish(AttemptId, Box<dyn Vessel<P>>),
    /// A path that has joined: watch it.
    Watch(PathId),
    /// A path may lead to another unit than before.
    Verify(PathId),
    /// A path that could not be opened so far.
    Open(Opening<P>),
    /// For a place, of no use any more after that.
    OpenSpare(usize, Opening<P>, Instant),
    /// To look later whether it may leave.
    WatchSpare(usize, PathId),
}

impl<P> fmt::Debug for Job<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe(path, kind) => write!(f, "Probe({path}, {kind:?})"),
            Self::AskProgress(path) => write!(f, "AskProgress({path})"),
            Self::ReportPortGroups(path) => write!(f, "ReportPortGroups({path})"),
            Self::Activate(path, group) => write!(f, "Activate({path}, {group})"),
            Self::Fence(path) => write!(f, "Fence({path})"),
            Self::Reinstate(_, dead, via) => write!(f, "Reinstate({dead}, {via})"),
            Self::Register(path) => write!(f, "Register({path})"),
            Self::Preempt(Preempt { dead, via, .. }) => write!(f, "Preempt({dead}, {via})"),
            Self::Call(_) => f.write_str("Call"),
            Self::ResetUnit(_, via) => write!(f, "ResetUnit({via})"),
            Self::Close(path) => write!(f, "Close({path})"),
            Self::Finish(attempt, _) => write!(f, "Finish({attempt})"),
            Self::Watch(path) => write!(f, "Watch({path})"),
            Self::Verify(path) => write!(f, "Verify({path})"),
            Self::Open(opening) => write!(f, "Open({})", opening.name),
            Self::OpenSpare(_, opening, _) => write!(f, "OpenSpare({})", opening.name),
            Self::WatchSpare(_, id) => write!(f, "WatchSpare({id})"),
        }
    }
}
