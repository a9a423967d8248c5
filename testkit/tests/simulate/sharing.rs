//! Two hosts write to the same blocks, under locks: no write of one lands once it has given its lock back.

use std::time::Duration;

use iscsi_testkit::{
    simulate::{Death, Fault, Fence, Place, Plan, What, run},
    target::{Reinstatement, WriteHold},
};
use mpio::core::{PathGroupingPolicy, WriterMode};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Two hosts with two paths each, and a target that is done with everything after three seconds and
/// minds no reinstatement.
fn plan(seed: u64, mode: WriterMode) -> Plan {
    let mut plan = Plan::draw(seed);
    plan.hosts = 2;
    plan.units.truncate(1);
    (plan.nics, plan.paired) = (2, true);
    plan.portals = vec![1, 1];
    plan.target.reinstatement = Reinstatement::Ignores;
    plan.target.hold = WriteHold::default();
    plan.device.grouping = PathGroupingPolicy::Multibus;
    plan.device.fence = Fence::quiet_time(3 * S);
    plan.device.fence.mode = mode;
    plan.work.locked = true;
    plan.work.span = 16;
    plan.work.writes = 700;
    plan.work.rush = 900;
    plan.work.long = 0;
    plan.work.dropped = 0;
    plan.work.timed = 0;
    plan.faults.clear();
    for second in [5, 15, 25, 35] {
        let at = second * S;
        let (per_mille, most) = (900, 2500 * MS);
        let hold = What::Hold { per_mille, most };
        let nic = Place::Nic { host: 0, nic: 0 };
        for (at, lasts, what) in [
            (at - 50 * MS, 60 * MS, hold),
            (at, 100 * MS, What::Cut(nic)),
        ] {
            plan.faults.push(Fault { at, lasts, what });
        }
    }
    plan
}

#[test]
fn a_write_that_is_unlocked_is_over_with_shared_and_not_with_single() {
    let mut single_is_found = false;
    for seed in 0..10 {
        let shared = run(&plan(seed, WriterMode::Shared));
        assert!(shared.findings.is_empty(), "{shared}");
        let single = run(&plan(seed, WriterMode::Single));
        single_is_found |= single.findings.iter().any(|found| found.name() == "I1");
    }
    assert!(single_is_found, "nothing is at stake");
}

/// Its locks are kept for the next life, which gives them back when a write of its own under them was
/// acknowledged.
#[test]
fn the_locks_of_a_host_that_dies_outlive_what_it_left() {
    for seed in 0..10 {
        let mut plan = plan(seed, WriterMode::Shared);
        for (index, death) in [Death::Reset, Death::Power]
            .into_iter()
            .cycle()
            .take(4)
            .enumerate()
        {
            let at = (5 + 10 * index as u32) * S + MS;
            let what = What::CrashHost { host: 0, death };
            plan.faults.push(Fault {
                at,
                lasts: 300 * MS,
                what,
            });
        }
        plan.faults.sort_by_key(|fault| fault.at);
        let run = run(&plan);
        assert!(run.findings.is_empty(), "{run}");
        assert_eq!(run.tallies.lives["restarted"], 4);
    }
}
