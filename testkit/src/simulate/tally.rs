//! What runs did, in numbers.

use std::{collections::BTreeMap, time::Duration};

use mpio::core::{Event, FencedBy, MarginalCause};

/// What became of hosts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    DiedRunning,
    DiedStarting,
    DiedFencing,
    Restarted,
}

/// What one run did, or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tallies {
    /// Requests whose results were checked.
    pub checked: u64,
    /// Of these, requests that did not succeed.
    pub failed: u64,
    /// Requests that were dropped by their callers.
    pub dropped: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Faults, by their kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the faults of the network met, by what it was.
    pub met: BTreeMap<&'static str, u64>,
    /// Deaths of hosts, by what they were doing, their restarts, and by what it was proven that nothing of a
    /// former life can land any more.
    pub lives: BTreeMap<&'static str, u64>,
    /// Losses of a path after which its I/O went elsewhere.
    pub failovers: u64,
    /// How often a path became marginal, by the reason, and sound again.
    pub marginal: BTreeMap<&'static str, u64>,
    /// What networks told of silent paths, and connections that were ended early.
    pub silences: BTreeMap<&'static str, u64>,
    /// Orders of programs about persistent reservations that were carried out, by what they were.
    pub orders: BTreeMap<&'static str, u64>,
    /// Writes of lost paths that were proven dead, by the proof.
    pub fences: BTreeMap<&'static str, u64>,
    /// Writes that waited for one whose outcome was unknown.
    pub held: u64,
    /// Writes that the target carried out after their connection had ended: the ghosts.
    pub late_writes: u64,
    /// Logins that reached full feature phase.
    pub logins: u64,
    /// Commands that the target received.
    pub commands: u64,
}

impl Tallies {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.checked += other.checked;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.simulated += other.simulated;
        self.failovers += other.failovers;
        self.held += other.held;
        self.late_writes += other.late_writes;
        self.logins += other.logins;
        self.commands += other.commands;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (what, count) in &other.met {
            *self.met.entry(what).or_default() += count;
        }
        for (what, count) in &other.lives {
            *self.lives.entry(what).or_default() += count;
        }
        for (why, count) in &other.marginal {
            *self.marginal.entry(why).or_default() += count;
        }
        for (what, count) in &other.silences {
            *self.silences.entry(what).or_default() += count;
        }
        for (what, count) in &other.orders {
            *self.orders.entry(what).or_default() += count;
        }
        for (by, count) in &other.fences {
            *self.fences.entry(by).or_default() += count;
        }
    }

    pub(super) fn live(&mut self, life: Life) {
        let what = match life {
            Life::DiedRunning => "died running",
            Life::DiedStarting => "died starting",
            Life::DiedFencing => "died fencing",
            Life::Restarted => "restarted",
        };
        *self.lives.entry(what).or_default() += 1;
    }

    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::FormerLifeFenced { by } => {
                let by = match by {
                    FencedBy::Reinstated => "fenced by logins",
                    FencedBy::UnitReset => "fenced by reset",
                    FencedBy::QuietTime => "fenced by time",
                    _ => "fenced otherwise",
                };
                *self.lives.entry(by).or_default() += 1;
            }
            Event::PathMarginal { cause, .. } => {
                let why = match cause {
                    MarginalCause::Flapping { .. } => "flapping",
                    MarginalCause::PathErrors { .. } => "errors",
                    MarginalCause::Latency { .. } => "latency",
                    _ => "other",
                };
                *self.marginal.entry(why).or_default() += 1;
            }
            Event::PathSound { .. } => *self.marginal.entry("sound again").or_default() += 1,
            Event::Failover { .. } => self.failovers += 1,
            Event::WriteHeld { .. } => self.held += 1,
            Event::FenceDone { by, .. } => {
                let by = match by {
                    FencedBy::Confirmed => "confirmed",
                    FencedBy::Reinstated => "reinstated",
                    FencedBy::SiblingReinstated => "sibling",
                    FencedBy::Preempted => "preempted",
                    FencedBy::UnitReset => "unit reset",
                    FencedBy::QuietTime => "quiet time",
                    FencedBy::Unfenced => "unfenced",
                    _ => "other",
                };
                *self.fences.entry(by).or_default() += 1;
            }
            _ => {}
        }
    }
}
