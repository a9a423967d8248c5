//! Task management functions that a caller asks for.

use std::{error::Error as _, time::Duration};

use crate::support::{World, assert_pattern, config, poll_once, read, settle, write};
use iscsi_client::{
    error::{ErrorKind, Outcome, Retry},
    session::{Payload, ScsiRequest, SessionOptions, SessionState},
};
use iscsi_proto::{
    ApiMisuse, InitiatorTaskTag,
    pdu::{RejectReason, TaskManagementResponseCode as Code, opcode},
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
    session::TaskManagement,
};
use iscsi_testkit::{
    sim::Link,
    target::{Answer, TargetConfig},
};

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(10);

fn lun() -> Lun {
    Lun::new(0)
}

fn level2() -> TargetConfig {
    let mut config = config();
    config.limits.protocol_level = 2;
    config
}

/// A write that a reset ended can no longer land, and may be repeated anywhere at once.
#[test]
fn a_reset_ends_what_is_under_way_and_says_that_it_is_dead() {
    for request in [
        TaskManagement::LogicalUnitReset(lun()),
        TaskManagement::AbortTaskSet(lun()),
        TaskManagement::ClearTaskSet(lun()),
        TaskManagement::TargetWarmReset,
        TaskManagement::ITNexusReset,
    ] {
        let world = World::with_config(1, level2());
        let session = world.connect(SessionOptions::default());
        world.target.core().set_delay(0, LONG);
        world.sim.block_on(async {
            let mut under_way = session.execute(write(0, vec![7; 64 * 1024]));
            assert!(poll_once(&mut under_way).await.is_pending());
            world.sim.sleep(SOON).await;
            let answer = session.task_management(request, None).await.unwrap();
            assert_eq!(answer.response, Code::FunctionComplete, "{request:?}");
            let error = under_way.await.result.unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome(), error.retry()),
                (ErrorKind::Aborted, Outcome::Unknown, Retry::SamePath)
            );
            assert!(error.is_dead());
            world.target.core().set_delay(0, Duration::ZERO);
            settle(&session).await;
            // Nothing of the write has landed, and nothing will.
            assert_pattern(session.execute(read(0, 128)).await, 0);
        });
        assert_eq!(session.stats().logins, 1);
        world.assert_clean();
    }
}

#[test]
fn a_cold_reset_ends_the_connection_and_the_session_comes_back() {
    let world = World::new(2);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let seen = session.status().generation;
        let answer = session.task_management(TaskManagement::TargetColdReset, None);
        assert_eq!(answer.await.unwrap().response, Code::FunctionComplete);
        let mut status = session.changed(seen).await;
        while !matches!(status.state, SessionState::Down { .. }) {
            status = session.changed(status.generation).await;
        }
        session.wait_up().await.unwrap();
        settle(&session).await;
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    assert_eq!(session.stats().logins, 2);
    world.assert_clean();
}

#[test]
fn queries_tell_what_the_target_has() {
    let mut config = level2();
    config.unit_attention = true;
    let world = World::with_config(3, config);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let ask = |request| session.task_management(request, None);
        let answer = ask(TaskManagement::QueryAsynchronousEvent(lun()))
            .await
            .unwrap();
        assert_eq!(
            (answer.response, answer.additional),
            (Code::FunctionSucceeded, [0x06, 0x29, 0x00]),
            "the unit attention of a new nexus"
        );
        session.execute(read(0, 1)).await.result.unwrap();
        let answer = ask(TaskManagement::QueryAsynchronousEvent(lun()))
            .await
            .unwrap();
        assert_eq!(answer.response, Code::FunctionComplete);

        let answer = ask(TaskManagement::QueryTaskSet(lun())).await.unwrap();
        assert_eq!(answer.response, Code::FunctionComplete, "no task there");
        world.target.core().set_delay(0, Duration::from_secs(1));
        let mut under_way = session.execute(read(0, 1));
        let early = under_way.query(None).await.unwrap();
        assert_eq!(early.response, Code::FunctionComplete, "not submitted yet");
        assert!(poll_once(&mut under_way).await.is_pending());
        world.sim.sleep(SOON).await;
        let answer = ask(TaskManagement::QueryTaskSet(lun())).await.unwrap();
        assert_eq!(answer.response, Code::FunctionSucceeded);
        let answer = under_way.query(None).await.unwrap();
        assert_eq!(answer.response, Code::FunctionSucceeded);
        assert_pattern(under_way.await, 0);
    });
    world.assert_clean();
}

#[test]
fn what_the_session_cannot_do_is_refused_without_asking() {
    let world = World::new(4);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        let tag = InitiatorTaskTag(1);
        for (request, misuse) in [
            (
                TaskManagement::TaskReassign(tag),
                ApiMisuse::ErrorRecoveryLevel,
            ),
            (TaskManagement::AbortTask(tag), ApiMisuse::UnknownTask),
            (TaskManagement::ITNexusReset, ApiMisuse::ProtocolLevel),
            (
                TaskManagement::QueryTaskSet(lun()),
                ApiMisuse::ProtocolLevel,
            ),
        ] {
            let before = session.stats().pdus_sent;
            let error = session.task_management(request, None).await.unwrap_err();
            assert_eq!(
                (error.outcome(), error.retry()),
                (Outcome::NotExecuted, Retry::Never)
            );
            let source = error.source().and_then(|e| e.downcast_ref::<ApiMisuse>());
            assert_eq!(source, Some(&misuse));
            assert_eq!(session.stats().pdus_sent, before);
        }
    });
    world.assert_clean();
}

#[test]
fn every_answer_of_the_target_comes_back_typed() {
    let world = World::new(5);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        for (request, want) in [
            (TaskManagement::ClearAca(lun()), Code::FunctionComplete),
            (
                TaskManagement::LogicalUnitReset(Lun::new(9)),
                Code::LunDoesNotExist,
            ),
        ] {
            let answer = session.task_management(request, None).await.unwrap();
            assert_eq!(answer.response, want);
        }
    });
    world.assert_clean();
}

#[test]
fn a_function_has_a_time_of_its_own_and_the_session_outlives_it() {
    let world = World::new(6);
    let session = world.connect(SessionOptions::default());
    let link = Link::to(crate::support::address());
    world.sim.block_on(async {
        world.sim.net().stall(link);
        let begin = world.sim.elapsed();
        let limit = Duration::from_millis(700);
        let request = TaskManagement::LogicalUnitReset(lun());
        let error = session.task_management(request, Some(limit)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(world.sim.elapsed() - begin, limit);
        assert!(session.state().is_up());
        world.sim.net().heal(link);
        world.sim.sleep(SOON).await;
        settle(&session).await;
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    assert_eq!(session.stats().logins, 1);
}

/// A dropped future takes nothing back, and leaves nothing behind.
#[test]
fn functions_may_be_dropped_at_any_time() {
    let world = World::new(7);
    let session = world.connect(SessionOptions::default());
    world.sim.block_on(async {
        for _ in 0..100 {
            drop(session.task_management(TaskManagement::LogicalUnitReset(lun()), None));
            world.sim.sleep(SOON).await;
        }
        let answer = session.task_management(TaskManagement::ClearAca(lun()), None);
        assert_eq!(answer.await.unwrap().response, Code::FunctionComplete);
        settle(&session).await;
        assert_pattern(session.execute(read(0, 8)).await, 0);
    });
    world.assert_clean();
}

/// Reject reason 0x06: there is room again a little later.
#[test]
fn one_immediate_request_too_many_is_sent_again() {
    let world = World::new(8);
    let session = world.connect(SessionOptions::default());
    let reason = RejectReason::ImmediateCommandReject;
    let core = world.target.core();
    core.reject(0, opcode::TASK_MANAGEMENT_REQUEST, reason, 3);
    world.sim.block_on(async {
        let request = TaskManagement::LogicalUnitReset(lun());
        let answer = session.task_management(request, None).await.unwrap();
        assert_eq!(answer.response, Code::FunctionComplete);
        assert!(world.sim.elapsed() < Duration::from_secs(1));
    });
    assert_eq!(session.stats().pdus_rejected, 3);
    world.assert_clean();
}

#[test]
fn extended_cdbs_arrive_whole() {
    let world = World::new(9);
    let session = world.connect(SessionOptions::default());
    let cdb: Vec<u8> = [0x7f].into_iter().chain(1..32).collect();
    world.sim.block_on(async {
        let request = ScsiRequest::new(lun(), Cdb::test_unit_ready(), Payload::None);
        let request = request.with_extended_cdb(cdb.clone());
        let response = session.execute(request).await.result.unwrap();
        assert_eq!(response.status, ScsiStatus::CheckCondition, "it knows none");
        let short = ScsiRequest::new(lun(), Cdb::test_unit_ready(), Payload::None);
        let error = session.execute(short.with_extended_cdb([0; 16])).await;
        let error = error.result.unwrap_err();
        let source = error.source().and_then(|e| e.downcast_ref::<ApiMisuse>());
        assert_eq!(source, Some(&ApiMisuse::OutOfRange));
    });
    assert_eq!(world.target.core().extended_cdbs(), [cdb]);
    world.assert_clean();
}

#[test]
fn priorities_and_status_qualifiers_need_level_two() {
    for level in [1, 2] {
        let mut config = config();
        config.limits.protocol_level = level;
        let world = World::with_config(10, config);
        let session = world.connect(SessionOptions::default());
        world
            .target
            .core()
            .answer(0, &[0], Answer::Qualified(0x08, 5), 1);
        world.sim.block_on(async {
            let ready = || ScsiRequest::new(lun(), Cdb::test_unit_ready(), Payload::None);
            let busy = session.execute(ready()).await.result.unwrap();
            assert_eq!(busy.status, ScsiStatus::Busy);
            let delay = (level == 2).then(|| Duration::from_millis(500));
            assert_eq!(busy.retry_delay(), delay);
            let mut urgent = ready();
            urgent.priority = 1;
            let result = session.execute(urgent).await.result;
            assert_eq!(result.is_ok(), level == 2, "{result:?}");
        });
        world.assert_clean();
    }
}
