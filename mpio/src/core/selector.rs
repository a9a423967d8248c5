//! Choosing a path within a group.

use std::fmt;

use super::{action::IoClass, arena::PathId, config, throughput::weight};

/// A path that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) path: PathId,
    /// I/Os in flight there.
    pub(crate) in_flight: u32,
    /// Their weight.
    pub(crate) load: u64,
    /// What loads are divided by; 0 while it is unknown.
    pub(crate) speed: u64,
    /// It was left out for so long that an I/O has to find out how fast it is.
    pub(crate) is_curious: bool,
}

/// Chooses. It sees only usable paths, in the group's order, and is never asked about none.
pub(crate) trait Select: fmt::Debug + Send {
    fn select(&mut self, candidates: &[Candidate], io: &IoClass) -> Option<PathId>;
}

/// The selector of a configuration.
pub(crate) fn new(selector: config::PathSelector) -> Box<dyn Select> {
    let turn = RoundRobin { last: None };
    match selector {
        config::PathSelector::RoundRobin => Box::new(turn),
        config::PathSelector::QueueLength => Box::new(QueueLength { turn }),
        config::PathSelector::ServiceTime => Box::new(ServiceTime { turn }),
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

/// Where the I/O would be over first: what is in flight and the I/O itself, divided by what the path
/// gets done (`throughput.rs`). Those that are nearly as good as the best take turns, since a
/// measurement is never exact, and at depth one nothing but the measurement would tell equal paths
/// apart.
#[derive(Debug)]
struct ServiceTime {
    turn: RoundRobin,
}

impl Select for ServiceTime {
    fn select(&mut self, candidates: &[Candidate], io: &IoClass) -> Option<PathId> {
        if candidates.iter().any(|c| c.is_curious) {
            return self.turn.next(candidates, |c| c.is_curious);
        }
        let fastest = candidates.iter().map(|c| c.speed).max()?.max(1);
        let own = weight(io.bytes);
        // A time as a fraction: weight and speed.
        let time = |c: &Candidate| {
            let speed = if c.speed == 0 { fastest } else { c.speed };
            (u128::from(c.load.saturating_add(own)), u128::from(speed))
        };
        let (least, of) = candidates.iter().map(time).min_by(|a, b| {
            let (left, right) = (a.0 * b.1, b.0 * a.1);
            left.cmp(&right)
        })?;
        self.turn.next(candidates, |c| {
            let (weight, speed) = time(c);
            // At most a quarter more than the least.
            weight * of * 4 <= least * speed * 5
        })
    }
}
