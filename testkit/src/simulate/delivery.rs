//! Worlds whose network tells how far the bytes of connections have come, and what devices make of that.

use std::time::Duration;

use iscsi_client::runtime::Runtime;
use mpio::core::{Delivery, DownReason, Event, PathId, SuspectCause};

use super::{
    board::State,
    check::delivery::{Ended, Suspected, is_called_dead_rightly},
    finding::Finding,
    plan::Plan,
    silences::Silence,
    world::World,
};
use crate::sim::Rng;

/// Decides whether the network tells. From numbers of its own, so that all else in a world is as it was without this.
pub(super) fn draw(plan: &mut Plan) {
    plan.tells_progress = Rng::new(plan.seed ^ 0x0ac4_0f0b_17e5_2e11).chance(300);
}

impl World {
    /// A device has told something, just now.
    pub(super) fn look_at_delivery(&self, (index, opening): (usize, u32), event: &Event) {
        self.board.with(|state| {
            // An event of a device that is closed since.
            if state.openings.get(index) != Some(&opening) {
                return;
            }
            let key = |path| (index, opening, path);
            let (now, silences) = (self.now(), &mut state.silences.paths);
            let hidden = Silence::hidden(now);
            match *event {
                Event::Suspect { path, cause } => {
                    if cause == SuspectCause::PathError {
                        // A silence goes before that, so there is none.
                        silences.remove(&key(path));
                    } else {
                        let silence = silences.entry(key(path)).or_default();
                        silence.since = silence.since.or(Some(now));
                        silence.is_told = cause == SuspectCause::Silence;
                    }
                }
                // Of one that was asked only, as well, which may answer: nothing is told of that.
                Event::Delivery { path, delivery } => {
                    let silence = silences.entry(key(path)).or_default();
                    let is_dead = delivery == Delivery::Unacknowledged;
                    silence.dead = is_dead.then_some(now);
                    self.judge_delivery(state, index, path, delivery);
                }
                Event::PathDown { path, reason } => {
                    let silence = silences.insert(key(path), hidden);
                    if reason == DownReason::Fenced {
                        self.note_end(state, index, path, silence.unwrap_or(hidden));
                    }
                }
                // Of one that was out already: it may have been silent, and nobody has told.
                Event::StillDown {
                    path,
                    reason: DownReason::Fenced,
                } => self.note_end(state, index, path, hidden),
                Event::Cleared { path } | Event::PathUp { path } | Event::PathRemoved { path } => {
                    silences.remove(&key(path));
                }
                _ => {}
            }
        });
    }

    fn judge_delivery(&self, state: &mut State, index: usize, path: PathId, delivery: Delivery) {
        let told = match delivery {
            Delivery::Acknowledged => "acknowledged",
            _ => "not acknowledged",
        };
        *state.tallies.silences.entry(told).or_default() += 1;
        // After the end there are none.
        let device = state.devices.get(index).and_then(Option::as_ref);
        let unit = device.and_then(|device| device.path(path));
        // Its connection may be gone, for that very reason.
        let Some(progress) = unit.and_then(|unit| unit.session().network_progress()) else {
            return;
        };
        let who = format!("device {index}, path {path}");
        if delivery == Delivery::Unacknowledged {
            let judged = is_called_dead_rightly(&who, self.now(), progress.in_flight());
            if let Err(violation) = judged {
                state.find(Finding::Rule(violation));
            }
        }
    }

    fn note_end(&self, state: &mut State, index: usize, path: PathId, silence: Silence) {
        let Some(device) = state.devices.get(index).cloned().flatten() else {
            return;
        };
        let Some(unit) = device.path(path) else {
            return;
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, clock) = (self.now(), self.handle.now());
        let snapshot = device.snapshot();
        let others: Vec<_> = snapshot.paths().filter(|one| one.id != path).collect();
        let heard = others.iter().filter_map(|other| {
            let unit = device.path(other.id)?;
            let ago = clock.saturating_duration_since(unit.session().last_receive());
            Some(now.saturating_sub(nanos(ago)))
        });
        let terms = &self.plan.device;
        // Else the witness may have been taken out.
        let are_all_here = others.len() + 1 >= self.plan.sessions_per_device();
        let since = silence.since.filter(|_| silence.is_told && are_all_here);
        let suspected = since.map(|suspected_ns| {
            let question = nanos(terms.nop_timeout);
            // Not if it has answered since.
            let is_of_now = |dead: u64| dead.saturating_add(2 * question) >= suspected_ns;
            Suspected {
                asked_ns: suspected_ns.saturating_sub(question),
                suspected_ns,
                full_ns: nanos(terms.tear_down),
                is_dead: silence.dead.is_some_and(is_of_now),
                others_heard_ns: heard.max(),
            }
        });
        if suspected.is_some_and(|suspected| suspected.is_early(now)) {
            *state.tallies.silences.entry("ended early").or_default() += 1;
        }
        state.silences.ends.push(Ended {
            session: (self.host_of(index), unit.session().isid()),
            by: index,
            at_ns: now,
            suspected,
        });
    }
}
