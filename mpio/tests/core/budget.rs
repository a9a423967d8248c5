use std::time::Duration;

use mpio::core::{Config, Execution, FailReason, Outcome, Retry, Scope, Verdict};

use super::harness::{Harness, LOST, MS, failed};

#[test]
fn a_read_that_kills_every_connection_is_given_up() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let poison = h.read(0..1);
    let mut killed = 0;
    while let Some(path) = h.path_of(poison) {
        h.down(path, LOST);
        h.up(path);
        killed += 1;
    }
    assert_eq!(killed, 17, "16 moves, on {a} and {b}");
    let reason = FailReason::RetriesExhausted;
    let execution = Execution::Unknown;
    assert_eq!(
        h.verdict(poison),
        Some(Verdict::Failed { reason, execution })
    );
}

#[test]
fn a_busy_target_gets_its_pause_and_five_more_tries() {
    let busy = failed(
        Scope::Device,
        Execution::NotExecuted,
        true,
        Retry::After(100 * MS),
    );
    let (mut h, [_, _]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    for _ in 0..5 {
        h.end_io(io, busy);
        h.pass(99 * MS, &[]);
        assert_eq!(h.path_of(io), None);
        h.pass(MS, &[]);
    }
    h.end_io(io, busy);
    let reason = FailReason::RetriesExhausted;
    let execution = Execution::NotExecuted;
    assert_eq!(h.verdict(io), Some(Verdict::Failed { reason, execution }));
}

#[test]
fn an_error_that_would_come_again_is_told_at_once() {
    let medium = failed(Scope::Device, Execution::Executed, true, Retry::Never);
    let (mut h, [_, _]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    h.end_io(io, medium);
    let reason = FailReason::Error;
    let execution = Execution::Executed;
    assert_eq!(h.verdict(io), Some(Verdict::Failed { reason, execution }));
}

#[test]
fn advice_for_the_same_path_is_followed() {
    let again = failed(Scope::Device, Execution::NotExecuted, true, Retry::SamePath);
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let io = h.read(0..1);
    assert_eq!(h.path_of(io), Some(a));
    h.end_io(io, again);
    assert_eq!(h.path_of(io), Some(a), "although it is the turn of {b}");
    h.pass(Duration::ZERO, &[]);
    h.end_io(io, Outcome::Success);
}
