//! Hosts die with writes under way and start again with the same names: no write of the former life lands
//! after one of the new life was acknowledged.

use std::time::Duration;

use iscsi_proto::planted::{Bug, Planted};
use iscsi_testkit::{
    simulate::{Death, Fault, Fence, Place, Plan, Run, What, run},
    target::{Reinstatement, WriteHold},
};
use mpio::{
    Spares,
    core::{Failback, PathGroupingPolicy},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const SEEDS: u64 = 6;

/// When the hosts die.
const CRASHES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(25),
];

/// One host, which writes to few blocks most of the time, and nothing that goes wrong.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    // What these hosts do at their start is fence, and nothing else that takes time.
    (plan.orders, plan.device.spares) = (None, Spares::None);
    plan.faults.clear();
    plan.hosts = 1;
    plan.units.truncate(1);
    plan.target.hold = WriteHold::default();
    plan.work.locked = false;
    plan.work.span = 16;
    plan.work.writes = 700;
    plan.work.rush = 900;
    plan.work.long = 0;
    plan.work.dropped = 0;
    plan.work.timed = 0;
    plan
}

/// A target whose reinstating login is answered when the old session's commands are done, and nothing
/// else proves anything. Two paths, of which the new life finds only the first.
fn barrier(seed: u64) -> Plan {
    let mut plan = plan(seed);
    (plan.nics, plan.paired) = (2, true);
    plan.portals = vec![1, 1];
    plan.device.grouping = PathGroupingPolicy::Multibus;
    for at in CRASHES {
        let what = What::Refuse(Place::Portal(1));
        fault(&mut plan, at - 5 * MS, 4 * S, what);
    }
    plan.device.fence = Fence::quiet_time(S);
    plan.device.fence.barrier = true;
    plan.device.fence.quiesce = None;
    plan.target.reinstatement = Reinstatement::Waits;
    plan
}

/// A target that minds no reinstatement, and is done with everything after three seconds.
fn quiet_time(seed: u64) -> Plan {
    let mut plan = plan(seed);
    plan.device.fence = Fence::quiet_time(3 * S);
    plan.target.reinstatement = Reinstatement::Ignores;
    plan
}

fn fault(plan: &mut Plan, at: Duration, lasts: Duration, what: What) {
    plan.faults.push(Fault { at, lasts, what });
    plan.faults.sort_by_key(|fault| fault.at);
}

/// The back end holds what it gets for up to `most` from 50 ms before `at` on, then the host dies, and is
/// away for so long.
fn crash(plan: &mut Plan, at: Duration, away: Duration, death: Death, most: Duration) {
    let per_mille = 900;
    fault(plan, at - 50 * MS, 60 * MS, What::Hold { per_mille, most });
    fault(plan, at, away, What::CrashHost { host: 0, death });
}

/// Runs the plans of some seeds, none of which finds anything; with the bug, at least one does.
#[track_caller]
fn proven(make: impl Fn(u64) -> Plan, bug: Bug) -> Vec<Run> {
    let runs: Vec<Run> = (0..SEEDS).map(|seed| run(&make(seed))).collect();
    for run in &runs {
        assert!(run.findings.is_empty(), "{run}");
    }
    let late: u64 = runs.iter().map(|run| run.tallies.late_writes).sum();
    let with_bug = |seed| {
        let mut plan = make(seed);
        plan.planted = Planted::with(bug);
        run(&plan)
    };
    let is_late = |run: Run| run.findings.iter().any(|finding| finding.name() == "I16");
    assert!(
        (0..SEEDS).any(|seed| is_late(with_bug(seed))),
        "nothing is at stake: {late} late writes"
    );
    runs
}

fn lives(runs: &[Run], what: &str) -> u64 {
    let count = |run: &Run| run.tallies.lives.get(what).copied().unwrap_or_default();
    runs.iter().map(count).sum()
}

#[test]
fn in_mid_write_on_a_target_whose_reinstatement_is_a_barrier() {
    let make = |seed| {
        let mut plan = barrier(seed);
        for (at, away) in CRASHES.into_iter().zip([10, 700, 4100]) {
            crash(&mut plan, at, away * MS, Death::Reset, 8 * S);
        }
        plan
    };
    let runs = proven(make, Bug::FirstLoginReinstatesAll);
    assert_eq!(lives(&runs, "restarted"), 3 * SEEDS);
    let fenced = lives(&runs, "fenced by logins");
    assert!(fenced >= 2 * SEEDS, "{fenced} of {}", 3 * SEEDS);
    assert_eq!(lives(&runs, "fenced by time"), 0);
}

#[test]
fn in_mid_write_on_a_target_where_only_time_proves_anything() {
    let make = |seed| {
        let mut plan = quiet_time(seed);
        for (at, away) in CRASHES.into_iter().zip([10, 100, 700]) {
            crash(&mut plan, at, away * MS, Death::Reset, 2500 * MS);
        }
        plan
    };
    let runs = proven(make, Bug::FormerTimeSkipped);
    assert_eq!(lives(&runs, "fenced by time"), 3 * SEEDS);
    assert!(runs.iter().any(|run| run.tallies.late_writes > 0));
}

/// The target is left with connections of which nobody tells it that they are dead.
#[test]
fn power_is_lost_and_the_target_is_told_nothing() {
    for make in [barrier, quiet_time] {
        let make = |seed| {
            let mut plan = make(seed);
            for at in CRASHES {
                crash(&mut plan, at, 20 * MS, Death::Power, 2500 * MS);
            }
            plan
        };
        let runs = proven(make, Bug::FormerLifeForgotten);
        assert_eq!(lives(&runs, "restarted"), 3 * SEEDS);
    }
}

/// The connection of a path is reset, and before it may log in again the host dies with writes under way on its spare.
#[test]
fn with_writes_under_way_on_a_spare_that_was_opened_on_demand() {
    let make = |seed| {
        let mut plan = barrier(seed);
        plan.faults.clear();
        plan.session.time2wait = 2;
        plan.device.spares = Spares::OnDemand;
        // Not all that is written then waits for what the path has lost.
        plan.work.span = 64;
        // All I/O is on the first path or its spare: the logins of the paths have nothing to wait for.
        plan.device.grouping = PathGroupingPolicy::Failover;
        plan.device.failback = Failback::Immediate;
        for at in CRASHES {
            fault(&mut plan, at - S, S, What::Reset(Place::Portal(0)));
            // From when the spare is there, so that all of the host's programs have a write under way there.
            let (per_mille, most) = (900, 8 * S);
            fault(
                &mut plan,
                at - 700 * MS,
                710 * MS,
                What::Hold { per_mille, most },
            );
            let (host, death) = (0, Death::Power);
            fault(&mut plan, at, 10 * MS, What::CrashHost { host, death });
        }
        plan
    };
    let runs = proven(make, Bug::FormerSparesForgotten);
    assert_eq!(lives(&runs, "restarted"), 3 * SEEDS);
}

/// The second life dies while the first one is being fenced, and has written nothing; the third one has
/// to fence what the first one left.
#[test]
fn the_next_life_dies_while_the_former_one_is_being_fenced() {
    let make = |seed| {
        let mut plan = quiet_time(seed);
        for at in CRASHES {
            crash(&mut plan, at, 10 * MS, Death::Reset, 2900 * MS);
            let again = What::CrashHost {
                host: 0,
                death: Death::Power,
            };
            fault(&mut plan, at + 500 * MS, 10 * MS, again);
        }
        plan
    };
    let runs = proven(make, Bug::FormerTimeSkipped);
    assert!(
        lives(&runs, "died fencing") >= SEEDS,
        "{:?}",
        runs[0].tallies.lives
    );
    assert_eq!(lives(&runs, "fenced by time"), 3 * SEEDS);
}

/// A login that was answered, or only begun, in a life that is over reinstates for the next one only what
/// the target did about it.
#[test]
fn the_next_lives_die_in_their_logins() {
    let make = |seed| {
        let mut plan = barrier(seed);
        plan.device.fence.sibling = false;
        for at in CRASHES {
            crash(&mut plan, at, 10 * MS, Death::Power, 8 * S);
            for again in 1..4 {
                let death = [Death::Reset, Death::Finish, Death::Power][again as usize % 3];
                let what = What::CrashHost { host: 0, death };
                fault(&mut plan, at + again * 11 * MS, 10 * MS, what);
            }
        }
        plan
    };
    let runs = proven(make, Bug::FormerLifeForgotten);
    assert!(
        lives(&runs, "died starting") > SEEDS,
        "{:?}",
        runs[0].tallies.lives
    );
}

/// A stalled link holds what the dead program's kernel has not been able to send.
fn stalled(seed: u64, death: Death) -> Plan {
    let mut plan = quiet_time(seed);
    for at in CRASHES {
        let stall = What::Stall(Place::Portal(0));
        fault(&mut plan, at - 20 * MS, 8 * S, stall);
        let what = What::CrashHost { host: 0, death };
        fault(&mut plan, at, 10 * MS, what);
    }
    plan
}

#[test]
fn what_a_kernel_goes_on_sending_is_why_connections_are_reset() {
    let is_late = |run: &Run| run.findings.iter().any(|finding| finding.name() == "I16");
    let mut found = false;
    for seed in 0..4 * SEEDS {
        let run_reset = run(&stalled(seed, Death::Reset));
        assert!(run_reset.findings.is_empty(), "{run_reset}");
        found |= is_late(&run(&stalled(seed, Death::Finish)));
    }
    assert!(
        found,
        "no write came late from the kernel of a dead program"
    );
}
