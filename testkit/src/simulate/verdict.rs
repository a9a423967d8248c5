//! Judges what was noted at both ends of a run, beside the history.

use std::{collections::BTreeMap, time::Duration};

use iscsi_proto::{ids::Isid, session::SessionConfig};

use super::{
    board::State,
    check::{
        Violation,
        attention::{self, Reported},
        conflict::{self, Conflict},
        delivery, held, pace,
        port_state::{self, DeafAccess},
    },
    names::{device, host_name},
    orders,
    plan::{Fault, Plan, What},
    watched::Watched,
};
use crate::target::{Extent, LoginAttempt, Notes, TargetCore, Told};

/// Commands, logins and events of one path of one device in a second, at most: ten logins, with what is
/// looked at after each, and its checks.
const UPKEEP: u64 = 150;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn blocks(extent: Extent) -> std::ops::Range<u64> {
    extent.block..extent.block + u64::from(extent.blocks)
}

/// All that the notes of a target say, together with the state of a board.
pub(super) fn judge(plan: &Plan, core: &TargetCore, state: &State) -> Vec<Violation> {
    let notes = core.notes();
    let attempts = core.login_attempts();
    let judged = [
        port_states(plan, &notes, state),
        conflicts(plan, &notes, state),
        attentions(plan, &notes, state),
        losses(plan, &attempts, state),
        work(plan, &notes, &attempts, state),
        memory(plan, state),
        orders::judge::judge(plan, &notes, state),
        delivery::ends_have_a_reason(&state.silences.ends),
        state.overspent.clone().map_or(Ok(()), Err),
    ];
    judged.into_iter().filter_map(Result::err).collect()
}

/// I8.
fn port_states(plan: &Plan, notes: &Notes, state: &State) -> Result<(), Violation> {
    notes.deaf.iter().try_for_each(|deaf| {
        let Some(device) = device(plan, &deaf.by) else {
            return Ok(());
        };
        let access = DeafAccess {
            device: u16::try_from(device).unwrap_or(u16::MAX),
            path: format!("device {device}, ISID {}", deaf.by.isid),
            at_ns: nanos(deaf.at),
            heard_ns: nanos(deaf.heard),
            blocks: (deaf.extent.blocks > 0).then(|| blocks(deaf.extent)),
        };
        port_state::was_under_way(&state.history, &access)
    })
}

/// I9.
fn conflicts(plan: &Plan, notes: &Notes, state: &State) -> Result<(), Violation> {
    let patience = nanos(plan.session.command_timeout);
    // Without keys of its own a device tells whoever has registered the unit what became of that.
    let mut tellings = notes.tellings.iter();
    let is_reserved = plan.device.fence.preempt.is_none()
        || tellings.any(|telling| matches!(telling.told, Told::Conflict(_)));
    conflict::has_a_reason(&state.reasons, is_reserved)?;
    notes.tellings.iter().try_for_each(|telling| {
        let (Told::Conflict(extent), Some(heard)) = (telling.told, telling.heard) else {
            return Ok(());
        };
        let Some(device) = device(plan, &telling.to).filter(|_| extent.writes) else {
            return Ok(());
        };
        if notes.is_left_out(&telling.to, telling.at) {
            return Ok(());
        }
        let conflict = Conflict {
            device: u16::try_from(device).unwrap_or(u16::MAX),
            blocks: blocks(extent),
            told_ns: nanos(telling.at),
            heard_ns: nanos(heard),
        };
        conflict::reaches_the_caller(&state.history, &state.reasons, &conflict, patience)
    })
}

/// I12.
fn attentions(plan: &Plan, notes: &Notes, state: &State) -> Result<(), Violation> {
    let mut told: BTreeMap<(usize, Isid), Vec<_>> = BTreeMap::new();
    for telling in &notes.tellings {
        if let (Told::Attention(asc, ascq), Some(device)) =
            (telling.told, device(plan, &telling.to))
        {
            let one = (nanos(telling.at), telling.heard.is_some(), (asc, ascq));
            told.entry((device, telling.to.isid)).or_default().push(one);
        }
    }
    state.watched.iter().try_for_each(|watched: &Watched| {
        let told = told.get(&(watched.device, watched.isid));
        attention::are_passed_on_once(&Reported {
            path: watched.name.clone(),
            told: told.cloned().unwrap_or_default(),
            passed_on: watched.attentions.clone(),
            listened: watched.listened(),
        })
    })
}

/// I10.
fn memory(plan: &Plan, state: &State) -> Result<(), Violation> {
    let scratch = SessionConfig::default().scratch;
    let session = held::session_cap(scratch, plan.session.queue_depth);
    for watched in &state.watched {
        held::is_bounded(&watched.name, watched.held_bytes, session)?;
    }
    let device = held::device_cap(plan.work.clients);
    held::is_bounded("a device", state.held_bytes, device)
}

/// I6, Time2Wait. Not where a login of the same name may be another's (a sibling reinstates the session of
/// a lost path, a device that is opened again, or a host that has died, has sessions of the same names), or an
/// old one that was held up, nor where the target asks for another time.
fn losses(plan: &Plan, attempts: &[LoginAttempt], state: &State) -> Result<(), Violation> {
    let time2wait = u64::from(plan.session.time2wait) * 1_000_000_000;
    let asks = |fault: &Fault| {
        matches!(
            fault.what,
            What::Notice { .. }
                | What::Reopen { .. }
                | What::RemovePath { .. }
                | What::CrashHost { .. }
        )
    };
    let has_siblings = plan.device.fence.barrier && plan.device.fence.sibling;
    if time2wait == 0 || has_siblings || plan.holds_up() || plan.faults.iter().any(asks) {
        return Ok(());
    }
    state.watched.iter().try_for_each(|watched| {
        let host = u8::try_from(watched.device / plan.units.len()).unwrap_or_default();
        let (name, isid) = (host_name(host), watched.isid);
        let own = attempts.iter();
        let own = own.filter(|at| at.isid == isid && at.initiator == name);
        let own: Vec<u64> = own.map(|attempt| nanos(attempt.at)).collect();
        let mut losses = watched.losses.iter();
        losses.try_for_each(|loss| pace::waits_after_a_loss(loss, &own, time2wait))
    })
}

/// L4, second half.
fn work(
    plan: &Plan,
    notes: &Notes,
    attempts: &[LoginAttempt],
    state: &State,
) -> Result<(), Violation> {
    let mut events = notes.commands.clone();
    let seconds = attempts.iter().map(|attempt| attempt.at.as_secs());
    for second in seconds.chain(state.reported.iter().copied()) {
        let second = usize::try_from(second).unwrap_or_default();
        if events.len() <= second {
            events.resize(second + 1, 0);
        }
        events[second] += 1;
    }
    let paths = plan.sessions_per_device() * usize::from(plan.hosts) * plan.units.len();
    let upkeep = UPKEEP * u64::try_from(paths).unwrap_or(u64::MAX);
    pace::work_is_bounded(&state.history, &events, upkeep)
}
