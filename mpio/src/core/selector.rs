//! Choosing a path within a group.

use std::fmt;

use super::{action::IoClass, arena::PathId, config, lots::Lots, throughput::weight};

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
    /// How long an I/O takes there by itself, in nanoseconds; 0 while that is unknown.
    pub(crate) service: u64,
    /// It was left out for so long that an I/O has to find out how fast it is.
    pub(crate) is_curious: bool,
}

/// Chooses. It sees only usable paths, in the group's order, and is never asked about none.
pub(crate) trait Select: fmt::Debug + Send {
    fn select(&mut self, candidates: &[Candidate], io: &IoClass) -> Option<PathId>;
}

/// The selector of a configuration. `seed` is for those that draw lots.
pub(crate) fn new(selector: config::PathSelector, seed: u64) -> Box<dyn Select> {
    let turn = RoundRobin { last: None };
    match selector {
        config::PathSelector::RoundRobin => Box::new(turn),
        config::PathSelector::QueueLength => Box::new(QueueLength { turn }),
        config::PathSelector::ServiceTime => Box::new(ServiceTime { turn }),
        config::PathSelector::HistoricalServiceTime => Box::new(HistoricalServiceTime { turn }),
        config::PathSelector::PowerOfTwoChoices => Box::new(PowerOfTwoChoices { lots: Lots(seed) }),
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

/// How long what is in flight and one more would take, from the time that one takes by itself. A path of which that is
/// not known is as good as the best one.
fn wait(c: &Candidate, best: u64) -> u64 {
    let service = if c.service == 0 { best } else { c.service };
    service.saturating_mul(u64::from(c.in_flight) + 1)
}

/// The shortest service time there is.
fn best_service(candidates: &[Candidate]) -> u64 {
    let known = candidates.iter().map(|c| c.service).filter(|&s| s != 0);
    known.min().unwrap_or(1)
}

/// Where this I/O would be over first, by how long they took so far. Those that are nearly as good take turns.
#[derive(Debug)]
struct HistoricalServiceTime {
    turn: RoundRobin,
}

impl Select for HistoricalServiceTime {
    fn select(&mut self, candidates: &[Candidate], _: &IoClass) -> Option<PathId> {
        if candidates.iter().any(|c| c.is_curious) {
            return self.turn.next(candidates, |c| c.is_curious);
        }
        let best = best_service(candidates);
        let least = candidates.iter().map(|c| wait(c, best)).min()?;
        let bound = least.saturating_add(least / 4);
        self.turn.next(candidates, |c| wait(c, best) <= bound)
    }
}

/// A number less than `below`, or 0. As even as 2^64 allows, which is as even as it has to be.
const fn draw(lots: &mut Lots, below: usize) -> usize {
    (lots.next() % if below == 0 { 1 } else { below as u64 }) as usize
}

/// The better of two that the lot names.
#[derive(Debug)]
struct PowerOfTwoChoices {
    lots: Lots,
}

impl Select for PowerOfTwoChoices {
    fn select(&mut self, candidates: &[Candidate], _: &IoClass) -> Option<PathId> {
        let curious = candidates.iter().filter(|c| c.is_curious).count();
        if curious > 0 {
            // What a path takes is asked now and then, or one slow answer would count for ever.
            let at = draw(&mut self.lots, curious);
            let mut curious = candidates.iter().filter(|c| c.is_curious);
            return curious.nth(at).map(|c| c.path);
        }
        let count = candidates.len();
        let first = draw(&mut self.lots, count);
        // Another one than the first.
        let step = 1 + draw(&mut self.lots, count.saturating_sub(1));
        let second = (first + step) % count.max(1);
        let (first, second) = (candidates.get(first)?, candidates.get(second)?);
        let best = best_service(candidates);
        let better = match wait(second, best) < wait(first, best) {
            true => second,
            false => first,
        };
        Some(better.path)
    }
}
