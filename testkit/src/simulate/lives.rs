//! Hosts that die and start again: drawn by itself, so that the worlds without it are as they were.

use std::time::Duration;

use mpio::core::WriterMode;

use super::{
    dice::{pick, small, time},
    plan::{Death, Fault, Place, Plan, What},
};
use crate::sim::Rng;

const MS: Duration = Duration::from_millis(1);

/// Adds what befalls hosts, to one world of six.
pub(super) fn add(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x00c4_a54e_d011_fe5a);
    let rng = &mut rng;
    match rng.below(42) {
        0..=2 => crashes(plan, rng),
        3 => {
            crashes(plan, rng);
            broken_names(plan, rng);
        }
        4 => broken_names(plan, rng),
        5 | 6 => {
            share(plan, rng);
            if rng.chance(500) {
                crashes(plan, rng);
            }
        }
        _ => {}
    }
    plan.faults.sort_by_key(|fault| fault.at);
}

/// Two hosts write to the same blocks, under locks. Where the fence cannot prove anything they could never
/// give a lock back after a loss.
fn share(plan: &mut Plan, rng: &mut Rng) {
    let mut fence = plan.device.fence;
    // It would end the commands of the other host as well.
    fence.unit_reset = None;
    if !fence.proves() {
        return;
    }
    fence.mode = WriterMode::Shared;
    // Longer than anything of what is drawn takes, so that `Unknown` comes of other causes only.
    fence.limit = Duration::from_secs(60);
    plan.device.fence = fence;
    plan.hosts = 2;
    plan.work.locked = true;
    plan.work.span = pick(rng, &[16, 64, 256]);
}

/// Names fail to resolve while paths come back, which is when they are asked for.
fn broken_names(plan: &mut Plan, rng: &mut Rng) {
    plan.names = true;
    let latest = plan.calm.saturating_sub(Duration::from_secs(5));
    let span = u64::try_from(latest.as_millis()).unwrap_or(u64::MAX);
    for _ in 0..pick(rng, &[1, 2, 4]) {
        let at = time(rng, MS, 500, span);
        let longest = pick(rng, &[300, 3000, 10_000]);
        let lasts = time(rng, MS, 1, longest).min(plan.calm.saturating_sub(at));
        let what = What::BreakNames;
        plan.faults.push(Fault { at, lasts, what });
        let portal = small(rng, 0, plan.portals.len() as u8 - 1);
        plan.faults.push(Fault {
            at: at + lasts / 3,
            lasts: MS.min(lasts),
            what: What::Reset(Place::Portal(portal)),
        });
    }
}

fn crashes(plan: &mut Plan, rng: &mut Rng) {
    // A process that dies cannot tell its successor which groups its sessions were with, so a barrier is
    // said to be one only of hosts that are not sent to others.
    if plan.device.fence.barrier {
        let groups = plan.portals.clone();
        let group = |portal: u8| groups.get(usize::from(portal)).copied();
        plan.faults.retain(|fault| match fault.what {
            What::Redirect { portal, to } => group(portal) == group(to),
            _ => true,
        });
    }
    let latest = plan.calm.saturating_sub(Duration::from_secs(5));
    for _ in 0..pick(rng, &[1, 1, 2, 3, 6]) {
        let host = small(rng, 0, plan.hosts - 1);
        let span = u64::try_from(latest.as_millis()).unwrap_or(u64::MAX);
        let mut at = time(rng, MS, 500, span);
        // The next one comes while the former life is being fenced, or when it is forgotten.
        for _ in 0..pick(rng, &[1, 1, 2, 4]) {
            let longest = pick(rng, &[1, 300, 3000, 10_000]);
            let lasts = time(rng, MS, 0, longest).min(plan.calm.saturating_sub(at));
            let death = death(plan, rng);
            if rng.chance(500) {
                plan.faults.push(held_back(plan, rng, at, lasts));
            }
            let what = What::CrashHost { host, death };
            plan.faults.push(Fault { at, lasts, what });
            let pause = pick(rng, &[20, 500, 5000]);
            at = at + lasts + time(rng, MS, 1, pause);
            if at > latest {
                break;
            }
        }
    }
}

fn death(plan: &Plan, rng: &mut Rng) -> Death {
    let fence = &plan.device.fence;
    // What a kernel goes on sending is ended by the login that reinstates its session, and by no time.
    let by_login_only = fence.quiesce.is_none() && fence.unit_reset.is_none();
    let last = if by_login_only { 4 } else { 3 };
    match rng.below(last) {
        0 | 1 => Death::Reset,
        2 => Death::Power,
        _ => Death::Finish,
    }
}

/// The back end keeps what it is given at the time of a crash.
fn held_back(plan: &Plan, rng: &mut Rng, at: Duration, lasts: Duration) -> Fault {
    let longest = match plan.device.fence.quiesce {
        Some(time) => time / 4,
        None => Duration::from_secs(12),
    };
    let lead = time(rng, MS, 1, 200).min(at);
    let begin = at.saturating_sub(lead);
    Fault {
        at: begin,
        lasts: (lead + lasts).min(plan.calm.saturating_sub(begin)),
        what: What::Hold {
            per_mille: pick(rng, &[100, 400, 900]),
            most: longest,
        },
    }
}
