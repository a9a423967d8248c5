//! The timeout ladder: ABORT TASK, LOGICAL UNIT RESET, the end of the connection.

use super::*;
use crate::{
    error::TimedOut,
    pdu::{TaskManagementFunction as Function, TaskManagementResponseCode as Code},
    session::{Rung, TaskErrorKind, TimeoutLadder},
};

const SECOND: Duration = Duration::from_secs(1);

fn ladder(abort: Option<u64>, reset: Option<u64>) -> SessionConfig {
    SessionConfig {
        nop_interval: None,
        acknowledge_after: None,
        ladder: TimeoutLadder {
            abort_task: abort.map(Duration::from_secs),
            logical_unit_reset: reset.map(Duration::from_secs),
            ..TimeoutLadder::default()
        },
        ..SessionConfig::default()
    }
}

/// A write that is due after one second, and another of the same unit that is not.
fn late(config: SessionConfig) -> (Harness, InitiatorTaskTag, InitiatorTaskTag) {
    let mut h = Harness::with(parameters(), config);
    let bystander = h.write(512);
    let mut command = Command::new(Lun::new(1), Cdb::write16(0, 1, false), DataLength::Out(512));
    command.deadline = Some(h.now.saturating_add(SECOND));
    let itt = h.session.submit(h.now, &command).unwrap();
    h.memory.0.insert(itt.0, pattern(0, 512));
    h.sent();
    h.advance(SECOND);
    (h, itt, bystander)
}

/// Which rungs were reported for `itt`.
fn rungs(h: &mut Harness, itt: InitiatorTaskTag) -> Vec<Rung> {
    let rungs = h.events().into_iter().map(|event| match event {
        Event::CommandLate {
            itt: late, rung, ..
        } if late == itt => rung,
        other => panic!("{other:?}"),
    });
    rungs.collect()
}

#[test]
fn the_default_is_abort_then_the_end_of_the_connection() {
    let (mut h, itt, _) = late(SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    });
    h.session.handle_timeout(h.now).unwrap();
    assert_eq!(function_in(&h.sent()).function, Function::AbortTask);
    h.advance(5 * SECOND);
    let error = h.session.handle_timeout(h.now);
    assert_eq!(error, Err(TimedOut::TaskManagement.into()));
    assert_eq!(rungs(&mut h, itt), [Rung::AbortTask, Rung::DropConnection]);
}

#[test]
fn an_unanswered_abort_is_followed_by_a_reset_that_ends_the_unit() {
    let (mut h, itt, bystander) = late(ladder(Some(2), Some(3)));
    h.session.handle_timeout(h.now).unwrap();
    let abort = function_in(&h.sent());
    h.advance(2 * SECOND);
    assert_eq!(h.session.poll_timeout(), Some(h.now));
    h.session.handle_timeout(h.now).unwrap();
    assert_eq!(
        rungs(&mut h, itt),
        [Rung::AbortTask, Rung::LogicalUnitReset]
    );
    let reset = function_in(&h.sent());
    assert_eq!(
        (reset.function, reset.lun),
        (Function::LogicalUnitReset, Lun::new(1))
    );
    let response = h.managed(reset.itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    let ends: BTreeMap<_, _> = h
        .events()
        .into_iter()
        .map(|event| match event {
            Event::CommandDone { itt, result } => (itt, result.unwrap_err()),
            other => panic!("{other:?}"),
        })
        .collect();
    let terminated = TaskErrorKind::Terminated(Function::LogicalUnitReset);
    assert_eq!(
        ends[&itt],
        TaskError::unknown(TaskErrorKind::TimedOut, true)
    );
    assert_eq!(ends[&bystander], TaskError::unknown(terminated, true));
    // The answer to the abort may still come, and says nothing new.
    let response = h.managed(abort.itt, Code::TaskDoesNotExist);
    h.feed(response, &[]).unwrap();
    assert!(h.events().is_empty());
    let stats = h.session.stats();
    assert_eq!((stats.timeouts, stats.aborts, stats.resets), (1, 1, 1));
}

#[test]
fn a_refused_rung_leads_to_the_next_at_once() {
    for code in [
        Code::NotSupported,
        Code::FunctionRejected,
        Code::AuthorizationFailed,
        Code::TaskStillAllegiant,
    ] {
        let (mut h, itt, _) = late(ladder(Some(60), Some(60)));
        h.session.handle_timeout(h.now).unwrap();
        let abort = function_in(&h.sent());
        let response = h.managed(abort.itt, code);
        h.feed(response, &[]).unwrap();
        let reset = function_in(&h.sent());
        assert_eq!(reset.function, Function::LogicalUnitReset);
        let response = h.managed(reset.itt, code);
        let error = h.feed(response, &[]);
        assert_eq!(error, Err(TimedOut::Command.into()));
        assert_eq!(
            rungs(&mut h, itt),
            [
                Rung::AbortTask,
                Rung::LogicalUnitReset,
                Rung::DropConnection
            ]
        );
    }
}

#[test]
fn every_rung_but_the_last_can_be_left_out() {
    let (mut h, itt, _) = late(ladder(None, Some(3)));
    h.session.handle_timeout(h.now).unwrap();
    assert_eq!(function_in(&h.sent()).function, Function::LogicalUnitReset);
    h.advance(3 * SECOND);
    let error = h.session.handle_timeout(h.now);
    assert_eq!(error, Err(TimedOut::TaskManagement.into()));
    assert_eq!(
        rungs(&mut h, itt),
        [Rung::LogicalUnitReset, Rung::DropConnection]
    );

    let (mut h, itt, _) = late(ladder(None, None));
    let error = h.session.handle_timeout(h.now);
    assert_eq!(error, Err(TimedOut::Command.into()));
    assert_eq!(rungs(&mut h, itt), [Rung::DropConnection]);
}

#[test]
fn one_reset_serves_all_late_commands_of_a_unit() {
    let mut h = Harness::with(parameters(), ladder(None, Some(3)));
    let mut command = Command::new(Lun::new(1), Cdb::test_unit_ready(), DataLength::None);
    command.deadline = Some(h.now.saturating_add(SECOND));
    for _ in 0..3 {
        h.session.submit(h.now, &command).unwrap();
    }
    h.sent();
    h.advance(SECOND);
    h.session.handle_timeout(h.now).unwrap();
    let reset = function_in(&h.sent());
    h.events();
    let response = h.managed(reset.itt, Code::FunctionComplete);
    h.feed(response, &[]).unwrap();
    assert_eq!(h.events().len(), 3);
}

/// All that the reset was for was answered meanwhile: nothing is lost by its failure.
#[test]
fn a_reset_that_nobody_needs_any_more_may_fail() {
    let (mut h, itt, bystander) = late(ladder(None, Some(3)));
    h.session.handle_timeout(h.now).unwrap();
    h.sent();
    h.events();
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
    h.advance(3 * SECOND);
    h.session.handle_timeout(h.now).unwrap();
    h.good(bystander).unwrap();
    assert!(h.done(bystander).is_ok());
}

/// The same for an abort: the command was answered, the function never.
#[test]
fn an_abort_that_nobody_needs_any_more_may_stay_unanswered() {
    let (mut h, itt, _) = late(ladder(Some(2), None));
    h.session.handle_timeout(h.now).unwrap();
    h.sent();
    h.events();
    h.good(itt).unwrap();
    assert!(h.done(itt).is_ok());
    h.advance(2 * SECOND);
    h.session.handle_timeout(h.now).unwrap();
    assert!(h.events().is_empty());
}

/// Without the abort rung a dropped command is left to run: its slot waits for the answer.
#[test]
fn an_abandoned_command_is_not_aborted_without_that_rung() {
    let mut h = Harness::with(parameters(), ladder(None, None));
    let itt = h.write(512);
    h.sent();
    h.session.abandon(h.now, itt);
    assert!(h.done(itt).is_err());
    assert!(h.sent().is_empty());
    h.good(itt).unwrap();
    assert_eq!(h.events(), [Event::TaskDead { itt }]);
}
