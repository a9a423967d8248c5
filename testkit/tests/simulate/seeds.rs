//! Drawn worlds: no rule is broken, and a seed is a run.

use iscsi_testkit::simulate::{Plan, Run, Tallies, run};

/// How many worlds are run here; `.ci/run` has more.
const SEEDS: u64 = 20;

#[test]
fn no_rule_is_broken_and_every_world_is_worth_it() {
    let mut all = Tallies::default();
    for seed in 0..SEEDS {
        let run = run(&Plan::draw(seed));
        assert!(run.findings.is_empty(), "{run}");
        assert!(run.trace.is_empty(), "nobody asked for it");
        let tallies = &run.tallies;
        assert!(tallies.checked >= 2000, "seed {seed}: {}", tallies.checked);
        assert!(tallies.faults.values().sum::<u64>() >= 3, "seed {seed}");
        assert!(tallies.simulated.as_secs() >= 60, "seed {seed}");
        all.add(tallies);
    }
    assert!(all.failovers > 0 && all.held > 0, "{all:?}");
    assert!(all.fences.len() >= 2, "{all:?}");
    assert!(all.faults.len() >= 10, "{all:?}");
    // Errors reach callers, and they are the exception.
    assert!(all.failed > 0 && all.failed < all.checked / 4, "{all:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 4, 11] {
        let plan = Plan::draw(seed);
        assert_eq!(plan, Plan::draw(seed));
        let (first, second) = (run(&plan), Run::traced(&plan));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.tallies, second.tallies, "seed {seed}");
        assert!(second.trace.len() > 2000, "seed {seed}");
        assert_eq!(second.trace, Run::traced(&plan).trace, "seed {seed}");
    }
    assert_ne!(run(&Plan::draw(1)).hash, run(&Plan::draw(2)).hash);
}
