//! Plans: data that can be read and changed.

use std::time::Duration;

use iscsi_testkit::simulate::{Edits, Plan};

#[test]
fn a_plan_is_told_in_a_few_lines_and_one_per_fault() {
    for seed in 0..200 {
        let plan = Plan::draw(seed);
        let text = plan.to_string();
        assert_eq!(text, Plan::draw(seed).to_string());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("seed {seed}"));
        // One more says which orders are given, where there are any.
        let head = 8 + usize::from(plan.orders.is_some());
        assert_eq!(lines.len(), head + plan.faults.len(), "{text}");
        for (line, fault) in lines[head..].iter().zip(&plan.faults) {
            assert_eq!(line.trim_start(), fault.to_string());
        }
    }
}

#[test]
fn a_world_has_faults_paths_and_requests_enough() {
    let mut most_paths = 0;
    for seed in 0..500 {
        let plan = Plan::draw(seed);
        let paths = plan.paths().len();
        most_paths = most_paths.max(paths);
        assert!((1..=8).contains(&paths), "seed {seed}: {paths}");
        assert!(plan.faults.len() >= 3, "seed {seed}");
        assert!(plan.work.requests >= 2000, "seed {seed}");
        assert!(
            plan.faults.is_sorted_by_key(|fault| fault.at),
            "seed {seed}"
        );
        for fault in &plan.faults {
            assert!(fault.at + fault.lasts <= plan.calm, "seed {seed}: {fault}");
        }
        assert!(plan.calm <= Duration::from_secs(50), "seed {seed}");
    }
    assert_eq!(most_paths, 8);
}

#[test]
fn edits_keep_the_faults_that_they_name() {
    let plan = Plan::draw(5);
    let edits = Edits {
        faults: Some(vec![1]),
        simpler: vec!["clients/2".into(), "units=1".into()],
    };
    assert_eq!(edits.to_string(), "--faults 1 --simpler clients/2,units=1");
    let edited = edits.apply(&plan).unwrap();
    assert_eq!(edited.faults, plan.faults[1..2]);
    assert_eq!(edited.units.len(), 1);
    assert!(edited.work.clients <= plan.work.clients);
    let none = Edits {
        faults: Some(vec![10_000]),
        simpler: Vec::new(),
    };
    assert!(none.apply(&plan).is_err());
    let unknown = Edits {
        faults: None,
        simpler: vec!["nicer".into()],
    };
    let error = unknown.apply(&plan).unwrap_err();
    assert_eq!(error.to_string(), "the plan has no \"nicer\" to be changed");
}
