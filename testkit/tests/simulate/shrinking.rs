//! What a failing plan fails without is taken away.

use std::time::Duration;

use iscsi_testkit::simulate::{Fault, Place, Plan, What, shrink};

#[test]
fn only_the_fault_that_matters_is_left() {
    let mut plan = Plan::draw(7);
    let at = plan.faults[0].at;
    // The simulator refuses that with a panic.
    let bad = Fault {
        at: at + Duration::from_millis(1),
        lasts: Duration::ZERO,
        what: What::Limit(Place::Portal(0), 0),
    };
    plan.faults.insert(1, bad.clone());
    let shrunk = shrink(&plan, "panic", 60).expect("it panics");
    assert_eq!(shrunk.plan.faults, [bad]);
    assert_eq!(shrunk.edits.faults, Some(vec![1]));
    assert!(shrunk.plan.work.requests < plan.work.requests);
    assert_eq!(shrunk.edits.apply(&plan).unwrap(), shrunk.plan);
    assert_eq!(shrink(&plan, "I1", 60).map(|shrunk| shrunk.runs), None);
}
