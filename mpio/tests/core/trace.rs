use mpio::core::{
    Config, DownReason, Event, Execution, Outcome, PathGroupingPolicy, PathSelector,
    trace::{Choice, Considered, Decision, Next},
};

use super::harness::{Harness, LOST, MS, S};

fn config(capacity: usize) -> Config {
    Config::builder().decision_trace(capacity).build().unwrap()
}

fn last_dispatch(h: &Harness) -> (Choice, Vec<Considered>) {
    let trace = h.core.trace();
    let mut entries = trace.entries.into_iter().rev();
    entries
        .find_map(|entry| match entry.decision {
            Decision::Dispatched {
                choice, candidates, ..
            } => Some((choice, candidates.iter().map(|c| c.result).collect())),
            _ => None,
        })
        .expect("a dispatch")
}

#[test]
fn it_is_off_unless_asked_for() {
    let (mut h, [_, b]) = Harness::with_paths(Config::default());
    h.read(0..1);
    h.down(b, LOST);
    assert!(h.core.trace().entries.is_empty());
    // And can be switched on and off while I/O goes on.
    h.core.reconfigure(h.now, config(8));
    h.read(0..1);
    assert!(!h.core.trace().entries.is_empty());
    h.core.reconfigure(h.now, Config::default());
    assert!(h.core.trace().entries.is_empty());
}

#[test]
fn it_says_what_the_selector_saw() {
    let config = config(64)
        .to_builder()
        .path_selector(PathSelector::QueueLength)
        .build()
        .unwrap();
    for short_way in [true, false] {
        let (mut h, [a, b]) = Harness::with_paths(config.clone());
        h.short_way = short_way;
        h.read(0..4096);
        h.now += 5 * MS;
        let io = h.read(4096..8192);
        let trace = h.core.trace();
        let entry = trace.entries.last().unwrap();
        assert_eq!(entry.uptime, 5 * MS);
        let Decision::Dispatched {
            io: of,
            path,
            bytes: 4096,
            choice: Choice::Selector,
            candidates,
            ..
        } = &entry.decision
        else {
            panic!("{entry}");
        };
        assert_eq!((*of, Some(*path)), (io, h.path_of(io)));
        let seen: Vec<_> = candidates.iter().map(|c| (c.path, c.in_flight)).collect();
        let busy = if *path == b { [1, 0] } else { [0, 1] };
        assert_eq!(seen, [(a, busy[0]), (b, busy[1])]);
        assert!(
            candidates
                .iter()
                .all(|c| c.load == u64::from(c.in_flight) * 8192)
        );
        let text = entry.decision.to_string();
        assert!(text.contains("by the selector: path0 "), "{text}");
    }
}

#[test]
fn it_says_why_the_others_were_left_out() {
    let config = config(64)
        .to_builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .build()
        .unwrap();
    let (mut h, [a, b]) = Harness::with_paths(config);
    h.read(0..1);
    assert_eq!(
        last_dispatch(&h),
        (
            Choice::Only,
            vec![Considered::Chosen, Considered::OtherGroup]
        )
    );
    h.core.fail_path(h.now, a);
    h.drain();
    h.read(0..1);
    assert_eq!(
        last_dispatch(&h),
        (
            Choice::Only,
            vec![Considered::Down(DownReason::Operator), Considered::Chosen]
        )
    );
    // The group that is in use comes first of those that work, but the order is that of the priorities.
    h.down(b, LOST);
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), None);
    let trace = h.core.trace();
    let waits = trace.entries.iter().rev().find_map(|e| match &e.decision {
        Decision::NoPath { candidates, .. } => Some(candidates.clone()),
        _ => None,
    });
    let results: Vec<_> = waits.unwrap().iter().map(|c| c.result).collect();
    let lost = Considered::Down(DownReason::ConnectionLost);
    assert_eq!(results, [Considered::Down(DownReason::Operator), lost]);
}

#[test]
fn a_failure_and_what_followed_are_one_story() {
    let (mut h, [a, b]) = Harness::with_paths(config(64));
    let io = h.write(0..4096);
    let (first, second) = match h.path_of(io) == Some(a) {
        true => (a, b),
        false => (b, a),
    };
    h.now += 7 * MS;
    h.down(first, LOST);
    let trace = h.core.trace();
    let mut story = trace.entries.iter().map(|entry| &entry.decision);
    let down = Event::PathDown {
        path: first,
        reason: DownReason::ConnectionLost,
    };
    assert!(
        story.any(|d| *d == Decision::Told { event: down }),
        "{trace}"
    );
    let failed = story.find_map(|d| match d {
        Decision::Failed {
            path,
            execution,
            recalled,
            next,
            ..
        } => Some((*path, *execution, *recalled, *next)),
        _ => None,
    });
    assert_eq!(
        failed,
        Some((first, Execution::Unknown, false, Next::Fence)),
        "{trace}"
    );
    assert!(trace.entries.iter().all(|e| e.uptime <= 7 * MS), "{trace}");
    assert_eq!(trace.entries.last().unwrap().uptime, 7 * MS);
    assert_eq!(trace.to_string().lines().count(), trace.entries.len());

    // A read moves, and does not return to where it failed though that is back.
    let read = loop {
        let read = h.read(0..4096);
        if h.path_of(read) == Some(second) {
            break read;
        }
        h.end_io(read, Outcome::Success);
    };
    h.up(first);
    h.end_io(read, LOST);
    let (choice, results) = last_dispatch(&h);
    assert_eq!(choice, Choice::Only);
    assert!(results.contains(&Considered::Chosen));
    let left_out =
        |result: &Considered| matches!(result, Considered::Avoided | Considered::Suspect(_));
    assert!(results.iter().any(left_out), "{results:?}");
}

#[test]
fn it_is_bounded_and_forgets_the_oldest() {
    let (mut h, [a]) = Harness::with_paths(config(10));
    for _ in 0..100 {
        let io = h.read(0..4096);
        h.now += MS;
        h.end_io(io, Outcome::Success);
    }
    let trace = h.core.trace();
    assert_eq!(trace.entries.len(), 10);
    let first = trace.entries.first().unwrap().number;
    assert_eq!(trace.forgotten + 1, first);
    let numbers = trace.entries.iter().map(|entry| entry.number);
    assert!(numbers.eq(first..first + 10));
    let held = h.core.snapshot(h.now).held_bytes;
    for _ in 0..1000 {
        let io = h.read(0..4096);
        h.end_io(io, Outcome::Success);
    }
    assert_eq!(h.core.snapshot(h.now).held_bytes, held);
    // Who waits is said once, however often it is looked at.
    h.down(a, LOST);
    h.read(0..1);
    for _ in 0..50 {
        h.pass(S / 10, &[]);
        h.core.fail_path(h.now, a);
        h.drain();
    }
    let said = h.core.trace().entries;
    let waits = said
        .iter()
        .filter(|e| matches!(e.decision, Decision::NoPath { .. }));
    assert_eq!(waits.count(), 1);
    h.core.reconfigure(h.now, config(3));
    assert_eq!(h.core.trace().entries.len(), 3);
    let too_many = Config::builder().decision_trace(65_537).build();
    assert_eq!(too_many.unwrap_err().field, "decision_trace");
}

#[test]
fn a_path_that_stays_down_for_another_reason_says_so() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.down(a, LOST);
    h.core.handle_path_down(h.now, a, DownReason::LoginFailed);
    h.core.handle_path_down(h.now, a, DownReason::LoginFailed);
    h.drain();
    let told: Vec<String> = h.events.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "path0 is down: connection lost",
            "path0 is still down: login failed"
        ]
    );
}
