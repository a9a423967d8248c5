//! Portals that are known by names, which cannot be resolved for a while.

use std::time::Duration;

use iscsi_testkit::simulate::{Fault, Place, Plan, What, run};

#[test]
fn a_path_that_is_lost_while_names_are_unknown_comes_back_with_them() {
    let mut unresolved = 0;
    for seed in 0..5 {
        let mut plan = Plan::draw(seed);
        plan.names = true;
        plan.faults.clear();
        for (at, lasts, what) in [
            (5, 5, What::BreakNames),
            (6, 0, What::Reset(Place::Portal(0))),
            (20, 8, What::BreakNames),
            (21, 2, What::Cut(Place::Portal(0))),
        ] {
            let (at, lasts) = (Duration::from_secs(at), Duration::from_secs(lasts));
            plan.faults.push(Fault { at, lasts, what });
        }
        let run = run(&plan);
        assert!(run.findings.is_empty(), "{run}");
        assert_eq!(run.tallies.faults["broken names"], 2);
        unresolved += run
            .tallies
            .met
            .get("unresolved")
            .copied()
            .unwrap_or_default();
    }
    assert!(unresolved > 0);
}
