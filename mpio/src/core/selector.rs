//! Choosing a path within a group.

use std::fmt;

use super::{action::IoClass, arena::PathId, config};

/// A path that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathId,
    /// I/Os in flight there.
    pub(crate) in_flight: u32,
}

/// Chooses. It sees only usable paths, in the group's order, and is never asked about none.
pub(crate) trait Select: fmt::Debug + Send {
    fn select(&mut self, candidates: &[Candidate], io: &IoClass) -> Option<PathId>;
}

/// The selector of a configuration.
pub(crate) fn new(selector: config::PathSelector) -> Box<dyn Select> {
    match selector {
        config::PathSelector::RoundRobin => Box::new(RoundRobin { last: None }),
        config::PathSelector::QueueLength => Box::new(QueueLength {
            turn: RoundRobin { last: None },
        }),
    }
}

/// One after the other.
#[derive(Debug)]
struct RoundRobin {
    last: Option<PathId>,
}

impl RoundRobin {
    /// The first eligible candidate after the one chosen last.
    fn next(
        &mut self,
        candidates: &[Candidate],
        eligible: impl Fn(&Candidate) -> bool,
    ) -> Option<PathId> {
        let start = candidates
            .iter()
            .position(|c| Some(c.path) == self.last)
            .map_or(0, |at| at + 1);
        let (before, after) = candidates.split_at(start);
        let chosen = after.iter().chain(before).find(|c| eligible(c))?.path;
        self.last = Some(chosen);
        Some(chosen)
    }
}

impl Select for RoundRobin {
    fn select(&mut self, candidates: &[Candidate], _: &IoClass) -> Option<PathId> {
        self.next(candidates, |_| true)
    }
}

/// The fewest in flight. Equals take turns: at depth one all paths are equal all the time.
#[derive(Debug)]
struct QueueLength {
    turn: RoundRobin,
}

impl Select for QueueLength {
    fn select(&mut self, candidates: &[Candidate], _: &IoClass) -> Option<PathId> {
        let fewest = candidates.iter().map(|c| c.in_flight).min()?;
        self.turn.next(candidates, |c| c.in_flight == fewest)
    }
}
