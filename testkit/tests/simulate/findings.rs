//! What is wrong is found and told.

use std::time::Duration;

use iscsi_testkit::simulate::{
    Fault, Fence, Finding, Place, Plan, What,
    check::{End, History, Kind, Op, Row, Rules, Stamp, check},
    run,
};

#[test]
fn a_history_that_no_disk_can_have_is_a_violation() {
    let mut history = History::new();
    let op = |kind| Op {
        client: 1,
        unit: 0,
        kind,
        blocks: 0..2,
    };
    let stamp = Stamp::new(1, 1);
    let write = history.invoke(1, op(Kind::Write { stamp }));
    history.respond(2, write, End::Wrote);
    let read = history.invoke(3, op(Kind::Read));
    history.respond(4, read, End::Read(vec![Ok(stamp), Ok(Stamp::INITIAL)]));
    let violation = check(&history, Rules::default()).unwrap_err();
    assert_eq!(violation.row, Row::I1, "{violation}");
}

/// The tool goes on with the next seed, and tells what panicked where.
#[test]
fn a_panic_in_a_world_is_a_finding_with_its_trace() {
    let mut plan = Plan::draw(1);
    plan.faults.truncate(1);
    let at = plan.faults[0].at + Duration::from_secs(1);
    plan.faults.push(Fault {
        at,
        lasts: Duration::ZERO,
        // The simulator refuses that.
        what: What::Limit(Place::Portal(0), 0),
    });
    let run = run(&plan);
    let [Finding::Panic(message)] = &run.findings[..] else {
        panic!("{run}");
    };
    assert!(message.contains("carries nothing"), "{message}");
    assert!(run.trace.iter().any(|line| line.contains("fault: ")));
    assert!(run.to_string().contains("seed 1: 1 findings"));
}

/// A quiet time that is not true: the target is done with what it was given long after it.
#[test]
fn a_fence_that_lies_is_found() {
    let broken = (0..40).any(|seed| {
        let mut plan = Plan::draw(seed);
        plan.hosts = 1;
        plan.device.fence = Fence::quiet_time(Duration::from_millis(100));
        plan.work.writes = 700;
        plan.work.rush = 900;
        plan.work.span = 16;
        plan.faults.clear();
        for second in [5, 15, 25] {
            let at = Duration::from_secs(second);
            let by = Duration::from_secs(4);
            plan.faults.push(Fault {
                at: at - Duration::from_millis(20),
                lasts: Duration::from_secs(5),
                what: What::Delay { portal: 0, by },
            });
            plan.faults.push(Fault {
                at,
                lasts: Duration::from_secs(5),
                what: What::Cut(Place::Portal(0)),
            });
        }
        let run = run(&plan);
        let is_late = |finding: &Finding| matches!(&*finding.name(), "I1" | "I16");
        run.findings.iter().any(is_late)
    });
    assert!(broken, "no late write was seen");
}
