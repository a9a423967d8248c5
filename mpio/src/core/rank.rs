//! What the round trips of its checks say of one path: its class of latency, and whether it is about to have another.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::latency;

/// What is known of one path.
#[derive(Debug, Default)]
pub(crate) struct Rank {
    /// Microseconds, the oldest first.
    round_trips: VecDeque<u64>,
    /// Of these, once there are enough.
    median: Option<u64>,
    class: Option<u32>,
    /// It would have another one, since then.
    differs: Option<Instant>,
}

impl Rank {
    pub(super) fn measured(&mut self, took: Duration, most: usize) {
        while self.round_trips.len() >= most {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(latency::micros(took));
        if self.round_trips.len() == most {
            let mut sorted: Vec<_> = self.round_trips.iter().copied().collect();
            let (_, median, _) = sorted.select_nth_unstable((most - 1) / 2);
            self.median = Some(*median);
        }
    }

    /// What was measured is of another connection, or of before a silence. The class stays until another one is known.
    pub(crate) fn restart(&mut self) {
        self.round_trips.clear();
        self.median = None;
        self.differs = None;
    }

    /// Microseconds; none until there are enough round trips.
    pub(super) const fn median(&self) -> Option<u64> {
        self.median
    }

    pub(crate) const fn class(&self) -> Option<u32> {
        self.class
    }

    /// The round trip that it is ranked by.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.median.map(Duration::from_micros)
    }

    /// It would have another class, and has not had it for long enough.
    pub(super) const fn is_changing(&self) -> bool {
        self.differs.is_some()
    }

    /// Whether it would have another class than it has.
    pub(super) const fn is_in_doubt(&self, class: u32) -> bool {
        match self.class {
            Some(own) => own != class,
            None => true,
        }
    }

    /// Takes a class if it is the first one, or another one has held for long enough and `may_change`. True if it did.
    pub(super) fn take(
        &mut self,
        now: Instant,
        class: u32,
        hold: Duration,
        may_change: bool,
    ) -> bool {
        if !self.is_in_doubt(class) {
            self.differs = None;
            return false;
        }
        let since = *self.differs.get_or_insert(now);
        let is_due = may_change && now.saturating_duration_since(since) >= hold;
        if self.class.is_some() && !is_due {
            return false;
        }
        self.class = Some(class);
        self.differs = None;
        true
    }
}
