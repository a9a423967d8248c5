//! What a fault has done to the callers of a device: the longest waits, and when which path was back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mpio::core::{DownReason, Event, PathId, PathSnapshot, Snapshot, SpareState};
use serde::Serialize;

use crate::{
    marks::Fault,
    report::round,
    stamped::{Done, Kind, Totals},
};

/// An I/O that has been under way for longer than this waits for something.
const LATE: Duration = Duration::from_millis(200);

/// What a fault came to; the keys are those of the JSON, times are milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// `round`.
    pub event: &'static str,
    /// What the fault was called.
    pub fault: String,
    /// I/Os that were completed from the fault on.
    pub ios: u64,
    /// The longest time from submission to completion of a read.
    pub read_ms: f64,
    /// Of a write that overlapped none which was not proven dead.
    pub write_ms: f64,
    /// The longer of the two.
    pub stall_ms: f64,
    /// Writes that overlapped one which was not proven dead, and the longest of them.
    pub overlapping: u64,
    /// See there.
    pub overlapping_ms: f64,
    /// From the fault until its path was given no new I/O.
    pub lost_ms: Option<f64>,
    /// From the fault to its end.
    pub healed_ms: Option<f64>,
    /// From there until its path or the spare of that (each path, if it hit none in particular) had carried I/O.
    pub used_ms: Option<f64>,
    /// From there until its path itself had.
    pub back_ms: Option<f64>,
    /// I/Os that failed.
    pub errors: u64,
    /// Blocks that were read as what they must not be.
    pub wrong: u64,
    /// How often no path took I/O any more.
    pub all_paths_down: u64,
    /// How often a path went down that the fault did not hit.
    pub false_deaths: u64,
}

/// A fault that is being looked at.
#[derive(Debug)]
pub struct Round {
    fault: Fault,
    begun: Instant,
    before: Totals,
    /// The paths that it hits; if it hits none in particular, all.
    victims: Vec<Victim>,
    healed: Option<Instant>,
    lost: Option<Instant>,
    used: Option<Instant>,
    back: Option<Instant>,
    told_lost: bool,
    told_settled: bool,
    told_fenced: bool,
    ios: u64,
    read: Duration,
    write: Duration,
    overlapping: (u64, Duration),
    all_paths_down: u64,
    false_deaths: u64,
}

#[derive(Debug)]
struct Victim {
    path: PathId,
    name: Arc<str>,
    /// I/Os that it had carried when it was healed, or was last back.
    ios: Option<u64>,
    /// I/Os that its spare had carried when it was healed.
    of_spare: u64,
    used: Option<Instant>,
    back: Option<Instant>,
}

impl Victim {
    fn spare<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a PathSnapshot> {
        let name = self.name.to_string() + " spare";
        snapshot.paths().find(|path| *path.name == *name)
    }

    fn look(&mut self, now: Instant, snapshot: &Snapshot) {
        let path = snapshot.paths().find(|path| path.id == self.path);
        let is_back = path
            .zip(self.ios)
            .is_some_and(|(path, before)| path.is_usable() && path.counters.ios > before);
        if is_back {
            self.back.get_or_insert(now);
        }
        let is_replaced = self.spare(snapshot).is_some_and(|spare| {
            let is_in_use = spare.is_usable() && spare.spare == Some(SpareState::InUse);
            is_in_use && spare.counters.ios > self.of_spare
        });
        if is_back || is_replaced {
            self.used.get_or_insert(now);
        }
    }
}

/// A stage that whoever causes the faults waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// All that is under way was begun after the share of reads was changed.
    Mixed,
    /// It is known that a fault comes: what is caused from now on belongs to it.
    Noted,
    /// The path that was hit takes no new I/O.
    Lost,
    /// The outage has had its length, and no I/O waits any more.
    Settled,
    /// What was hit carries I/O again, or the spare of that does.
    Used,
    /// What was hit carries I/O again itself.
    Back,
    /// Nothing that was under way at the fault can land any more, and all that waited for it is done.
    Fenced,
}

impl Round {
    /// A fault is about to be caused; `None` if no path has such a name.
    #[must_use]
    pub fn begin(fault: Fault, now: Instant, before: Totals, snapshot: &Snapshot) -> Option<Self> {
        let is_hit = |name: &str| fault.victim.as_deref().is_none_or(|v| name.contains(v));
        let victims: Vec<Victim> = snapshot
            .paths()
            .filter(|path| path.spare.is_none() && is_hit(&path.name))
            .map(|path| Victim {
                path: path.id,
                name: Arc::clone(&path.name),
                ios: None,
                of_spare: 0,
                used: None,
                back: None,
            })
            .collect();
        (!victims.is_empty()).then_some(Self {
            fault,
            begun: now,
            before,
            victims,
            healed: None,
            lost: None,
            used: None,
            back: None,
            told_lost: false,
            told_settled: false,
            told_fenced: false,
            ios: 0,
            read: Duration::ZERO,
            write: Duration::ZERO,
            overlapping: (0, Duration::ZERO),
            all_paths_down: 0,
            false_deaths: 0,
        })
    }

    /// How long ago that was.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// An I/O is over.
    pub fn done(&mut self, done: &Done) {
        let took = done.completed.saturating_duration_since(done.submitted);
        self.ios += 1;
        self.took(done.kind, took);
        self.overlapping.0 += u64::from(done.kind == Kind::Overlapping);
    }

    fn took(&mut self, kind: Kind, took: Duration) {
        let longest = match kind {
            Kind::Read => &mut self.read,
            Kind::Write | Kind::Flush => &mut self.write,
            Kind::Overlapping => &mut self.overlapping.1,
        };
        *longest = took.max(*longest);
    }

    /// Something happened to the device.
    pub fn event(&mut self, at: Instant, event: Event, snapshot: &Snapshot) {
        match event {
            // A spare that is not needed any more.
            Event::PathDown {
                reason: DownReason::Removed,
                ..
            } => {}
            Event::PathDown { path, .. } => {
                let hit = self.victims.iter().any(|victim| victim.path == path);
                if hit {
                    self.lost.get_or_insert(at);
                }
                let is_their_spare = |victim: &Victim| {
                    let spare = victim.spare(snapshot);
                    spare.is_some_and(|spare| spare.id == path)
                };
                let hit = hit || self.victims.iter().any(is_their_spare);
                if !hit || self.fault.victim.is_none() {
                    self.false_deaths += 1;
                }
            }
            Event::Suspect { path, .. } if self.victims.iter().any(|v| v.path == path) => {
                self.lost.get_or_insert(at);
            }
            Event::PathUp { path } | Event::Cleared { path } if self.healed.is_some() => {
                self.count_from_now(Some(path), snapshot);
            }
            Event::AllPathsDown => self.all_paths_down += 1,
            _ => {}
        }
    }

    /// The fault is about to be healed.
    pub fn heal(&mut self, now: Instant, snapshot: &Snapshot) {
        self.healed = Some(now);
        self.count_from_now(None, snapshot);
    }

    fn count_from_now(&mut self, path: Option<PathId>, snapshot: &Snapshot) {
        for victim in &mut self.victims {
            if path.is_none_or(|path| path == victim.path) && victim.back.is_none() {
                let now = snapshot.paths().find(|path| path.id == victim.path);
                victim.ios = now.map(|path| path.counters.ios);
            }
            if path.is_none() {
                let spare = victim.spare(snapshot);
                victim.of_spare = spare.map_or(0, |spare| spare.counters.ios);
            }
        }
    }

    /// Whether the places are to be written again now whose writes the fault hit.
    #[must_use]
    pub const fn rewrites(&self) -> bool {
        self.fault.overlap && self.lost.is_some()
    }

    /// Looks what has been reached since the last look. `outage` is the least length of a fault.
    pub fn look(
        &mut self,
        now: Instant,
        outage: Duration,
        under_way: &[(Kind, Instant)],
        snapshot: &Snapshot,
    ) -> Vec<(Stage, f64)> {
        let mut reached = Vec::new();
        let is_late = |(kind, since): &(Kind, Instant)| {
            *kind != Kind::Overlapping && now.saturating_duration_since(*since) > LATE
        };
        if let (Some(lost), false) = (self.lost, self.told_lost) {
            self.told_lost = true;
            reached.push((Stage::Lost, ms(lost.saturating_duration_since(self.begun))));
        }
        let age = self.age(now);
        if self.told_lost && !self.told_settled && age >= outage {
            self.told_settled = !under_way.iter().any(is_late);
            if self.told_settled {
                reached.push((Stage::Settled, ms(age)));
            }
        }
        if let (Some(healed), None) = (self.healed, self.back) {
            let victims = self.victims.iter_mut();
            victims.for_each(|victim| victim.look(now, snapshot));
            let all = |at: fn(&Victim) -> Option<Instant>| {
                let all: Option<Vec<Instant>> = self.victims.iter().map(at).collect();
                all.and_then(|all| all.into_iter().max())
            };
            let (used, back) = (all(|victim| victim.used), all(|victim| victim.back));
            if self.used.is_none() {
                reached.extend(used.map(|used| (Stage::Used, ms(used - healed))));
            }
            reached.extend(back.map(|back| (Stage::Back, ms(back - healed))));
            (self.used, self.back) = (used, back);
        }
        let waits = |(kind, _): &(Kind, Instant)| *kind == Kind::Overlapping;
        let fenced = snapshot.ghosts == 0 && !under_way.iter().any(waits);
        if self.back.is_some() && fenced && !self.told_fenced {
            self.told_fenced = true;
            reached.push((Stage::Fenced, ms(now - self.begun)));
        }
        reached
    }

    /// The record is complete. What is still under way counts with what it has waited so far.
    #[must_use]
    pub fn end(mut self, now: Instant, after: &Totals, under_way: &[(Kind, Instant)]) -> Record {
        for (kind, since) in under_way {
            self.took(*kind, now.saturating_duration_since(*since));
            self.overlapping.0 += u64::from(*kind == Kind::Overlapping);
        }
        let since_begun = |at: Instant| ms(at.saturating_duration_since(self.begun));
        let since_healed =
            |at: Option<Instant>| at.zip(self.healed).map(|(at, healed)| ms(at - healed));
        Record {
            event: "round",
            fault: self.fault.name,
            ios: self.ios,
            read_ms: ms(self.read),
            write_ms: ms(self.write),
            stall_ms: ms(self.read.max(self.write)),
            overlapping: self.overlapping.0,
            overlapping_ms: ms(self.overlapping.1),
            lost_ms: self.lost.map(since_begun),
            healed_ms: self.healed.map(since_begun),
            used_ms: since_healed(self.used),
            back_ms: since_healed(self.back),
            errors: after.errors - self.before.errors,
            wrong: after.wrong - self.before.wrong,
            all_paths_down: self.all_paths_down,
            false_deaths: self.false_deaths,
        }
    }
}

/// Milliseconds, as they stand in a record.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1e3, 2)
}
