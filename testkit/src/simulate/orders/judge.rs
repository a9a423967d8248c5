//! Judges what was ordered, by the target's list of its changes.

use std::{ops::Range, time::Duration};

use iscsi_proto::{ids::Isid, scsi::ReservationKey};

use crate::{
    simulate::{
        board::State,
        check::{
            Row, Violation, conflict,
            reserved::{self, Span, Standing, Taken},
        },
        names::{self, host_name},
        plan::{Fault, Plan, What},
    },
    target::{Notes, Registrant, Registry},
};

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// I9 and I17.
pub(in crate::simulate) fn judge(
    plan: &Plan,
    notes: &Notes,
    state: &State,
) -> Result<(), Violation> {
    let Some(orders) = plan.orders else {
        return Ok(());
    };
    if is_in_one_life(plan) && !forgets(plan) {
        conflict::has_a_reason(&state.reasons, false)?;
    }
    for device in 0..usize::from(plan.hosts) * plan.units.len() {
        let number = u16::try_from(device).unwrap_or(u16::MAX);
        let standings = standings(plan, device, &notes.registry);
        let others = standings.iter().filter(|one| one.ended_by_others);
        let others: Vec<u64> = others.map(|one| one.during.from).collect();
        let stood = state.book.stood(device, &others);
        let told = state.reasons.conflicts.iter().copied();
        reserved::no_conflict_while_registered(&state.history, told, number, &stood, &standings)?;
        let of_device =
            |one: &&crate::target::Keyless| names::device(plan, &one.by) == Some(device);
        for one in notes.keyless.iter().filter(of_device) {
            let path = format!("device {device}, ISID {}", one.by.isid);
            reserved::writes_have_keys(&path, (nanos(one.since), nanos(one.at)), &stood)?;
        }
        let registering = state.book.registering(device);
        reserved::is_fenced_out(&state.history, number, &standings, &registering)?;
        for done in state.book.done(device) {
            let remained = |at: u64, key: u64| {
                let mut standings = standings.iter();
                standings.any(|one| one.during.contains(at) && one.ours.contains(&key))
            };
            let knew = |key| {
                let (at, remained) = (done.1.to, |at| remained(at, key));
                state.book.knew(device, at, ReservationKey(key), remained)
            };
            reserved::was_carried_out(number, done, orders.kind.to_bits(), &standings, knew)?;
        }
        if is_in_one_life(plan) && state.book.was_lost(device) {
            let what =
                format!("device {device} has lost its registration, and there is no other host");
            let row = Row::I17;
            let account = standings.iter();
            let account = account.map(|one| format!("{} ns: {}", one.during.from, one.text));
            return Err(Violation {
                row,
                what,
                account: account.collect(),
            });
        }
    }
    for taken in taken(plan, &notes.registry) {
        reserved::was_ordered(&taken, state.book.given(taken.by.into()))?;
    }
    for ((device, isid, key), during) in &state.registered {
        let path = format!("device {device}, ISID {isid}");
        let found = keys(plan, *device, *isid, &notes.registry);
        reserved::path_had_its_key(&path, *key, *during, &found)?;
    }
    Ok(())
}

/// There is one host, in one life, so that nobody's reservation is in its way: not even that of its own former devices.
fn is_in_one_life(plan: &Plan) -> bool {
    let ends = |fault: &Fault| {
        let what = &fault.what;
        matches!(what, What::Reopen { .. } | What::CrashHost { .. })
    };
    plan.hosts == 1 && !plan.faults.iter().any(ends)
}

fn forgets(plan: &Plan) -> bool {
    let is_it = |fault: &Fault| matches!(fault.what, What::Forget { .. });
    plan.faults.iter().any(is_it)
}

/// The changes of a device's unit, each with its end.
fn changes(plan: &Plan, device: usize, registry: &[Registry]) -> Vec<(Span, Registry)> {
    let lun = u16::try_from(device % plan.units.len()).unwrap_or(u16::MAX);
    let of_unit = registry.iter().filter(|one| one.lun == lun);
    let mut found: Vec<(Span, Registry)> = Vec::new();
    for one in of_unit {
        let from = nanos(one.at);
        if let Some((span, _)) = found.last_mut() {
            span.to = from;
        }
        found.push((Span { from, to: u64::MAX }, one.clone()));
    }
    found
}

/// Registrations that one host has ended of another one.
fn taken(plan: &Plan, registry: &[Registry]) -> Vec<Taken> {
    let mut found = Vec::new();
    for unit in 0..plan.units.len() {
        let changes = changes(plan, unit, registry);
        for (before, after) in changes.iter().zip(changes.iter().skip(1)) {
            let (before, (during, after)) = (&before.1, after);
            let Some(by) = &after.by else { continue };
            let Some(host) = (0..plan.hosts).position(|host| host_name(host) == *by) else {
                continue;
            };
            let is_left = |old: &Registrant| {
                let mut left = after.registrants.iter();
                left.any(|new| new.port == old.port && new.tpgt == old.tpgt)
            };
            let ended = before.registrants.iter();
            let ended = ended.filter(|old| old.port.initiator != *by && !is_left(old));
            found.extend(ended.map(|old| Taken {
                by: u16::try_from(host * plan.units.len() + unit).unwrap_or(u16::MAX),
                at: during.from,
                key: old.key,
                text: format!("{} from {}", in_words(after), in_words(before)),
            }));
        }
    }
    found
}

/// How a device's unit stood with its host.
fn standings(plan: &Plan, device: usize, registry: &[Registry]) -> Vec<Standing> {
    let name = host_name(u8::try_from(device / plan.units.len()).unwrap_or(u8::MAX));
    let own = |one: &&Registrant| one.port.initiator == name;
    let forgets = forgets(plan);
    let changes = changes(plan, device, registry);
    let first = changes.first().map_or(u64::MAX, |(span, _)| span.from);
    let mut standings = vec![Standing {
        during: Span { from: 0, to: first },
        ours: Vec::new(),
        all: Vec::new(),
        reserved: None,
        holds: false,
        holder: None,
        ended_by_others: false,
        text: String::from("nobody"),
    }];
    let mut before: Vec<Registrant> = Vec::new();
    for (during, one) in changes {
        let ours: Vec<Registrant> = one.registrants.iter().filter(own).cloned().collect();
        let is_left = |old: &Registrant| {
            ours.iter()
                .any(|new| new.port == old.port && new.tpgt == old.tpgt)
        };
        // A target that has forgotten all, and where nobody else can come first.
        let is_empty = one.registrants.is_empty() && one.held.is_none();
        let is_anew = plan.hosts == 1 && one.by.is_none() && is_empty && !forgets;
        let is_own_doing = one.by.as_deref() == Some(&*name) || is_anew;
        let holds = match &one.held {
            Some((_, Some(port))) => port.initiator == name,
            Some((_, None)) => !ours.is_empty(),
            None => false,
        };
        let holder = one.held.as_ref().and_then(|(_, port)| port.as_ref());
        let holder = holder.and_then(|port| {
            let mut registrants = one.registrants.iter();
            registrants.find(|of| of.port == *port).map(|of| of.key)
        });
        standings.push(Standing {
            during,
            holder,
            text: in_words(&one),
            ours: ours.iter().map(|one| one.key).collect(),
            all: one.registrants.iter().map(|one| one.key).collect(),
            reserved: one.held.map(|(kind, _)| kind),
            holds,
            ended_by_others: !is_own_doing && !before.iter().all(is_left),
        });
        before = ours;
    }
    standings
}

/// A change of a unit's registrations.
pub(super) fn in_words(registry: &Registry) -> String {
    let by = registry.by.as_deref().unwrap_or("the target");
    let mut text = format!("by {by}: held {:?}", registry.held);
    for one in &registry.registrants {
        let (port, key) = (&one.port, one.key);
        text += &format!(
            "; {} {} group {} {key:#x}",
            port.initiator, port.isid, one.tpgt
        );
    }
    text
}

/// With what a path was registered, through whichever portal group.
fn keys(
    plan: &Plan,
    device: usize,
    isid: Isid,
    registry: &[Registry],
) -> Vec<(Range<u64>, Option<u64>)> {
    let name = host_name(u8::try_from(device / plan.units.len()).unwrap_or(u8::MAX));
    let mut found = Vec::new();
    for (span, one) in changes(plan, device, registry) {
        let of_path = |one: &&Registrant| one.port.initiator == name && one.port.isid == isid;
        for one in one.registrants.iter().filter(of_path) {
            found.push((span.from..span.to, Some(one.key)));
        }
    }
    found
}
