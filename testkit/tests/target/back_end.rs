//! What the back end keeps outlives its connection; who calls it off, and who does not.

use std::{sync::Arc, time::Duration};

use iscsi_proto::{
    InitiatorTaskTag, Instant,
    ids::Cid,
    pdu::{
        LogoutReason, LogoutRequest, Pdu, TaskManagementFunction as Function,
        TaskManagementRequest, TaskManagementResponseCode as Code,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn},
};
use iscsi_testkit::target::{Crash, Reinstatement, TargetCore, TcpTarget, WriteHold};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Instant {
    Instant::ZERO.saturating_add(SECOND * seconds)
}

/// A target whose back end keeps every write for ten seconds.
fn slow() -> Arc<TargetCore> {
    let core = core(config());
    core.hold_writes(WriteHold::new(1000, SECOND * 10, SECOND * 10));
    core
}

fn block(core: &TargetCore) -> u8 {
    let mut block = [0; 512];
    core.peek(0, 0, &mut block);
    assert!(block == [block[0]; 512] || block != [7; 512]);
    block[0]
}

/// Sends a write of the first block, which the back end keeps.
fn write(script: &mut Script<Direct>, byte: u8) -> InitiatorTaskTag {
    let cdb = rw10(0x2a, 0, 1);
    let itt = script.command(0, &cdb, 512, Direction::Write, &[byte; 512]);
    assert!(script.receive().is_err(), "not answered yet");
    itt
}

fn another(core: &Arc<TargetCore>) -> Script<Direct> {
    let mut script = Script::direct(core);
    script.isid.0[5] = 9;
    script.logged_in(&[])
}

#[test]
fn a_write_is_answered_when_it_is_done() {
    let core = slow();
    let mut script = Script::direct(&core).logged_in(&[]);
    let original = block(&core);
    write(&mut script, 7);
    script.stream.1 = at(9);
    assert!(script.receive().is_err());
    assert_eq!(block(&core), original);
    script.stream.1 = at(10);
    assert_eq!(script.status().0, 0);
    assert_eq!((block(&core), core.late_writes()), (7, 0));
}

#[test]
fn it_lands_after_its_connection_is_gone() {
    let core = slow();
    let mut script = Script::direct(&core).logged_in(&[]);
    let original = block(&core);
    write(&mut script, 7);
    drop(script);
    assert_eq!(core.run_back_end(at(9)), Some(at(10)));
    assert_eq!(block(&core), original);
    assert_eq!(core.run_back_end(at(10)), None);
    assert_eq!((block(&core), core.late_writes()), (7, 1));
}

/// A connection that is stuck (its peer takes nothing) does not keep a command from its time, and one that
/// ends after that time leaves nothing that would land then.
#[test]
fn it_is_done_in_time_whatever_its_connection_does() {
    let core = slow();
    let mut script = Script::direct(&core).logged_in(&[]);
    write(&mut script, 7);
    assert_eq!(core.run_back_end(at(9)), Some(at(10)));
    assert_eq!(core.run_back_end(at(10)), None);
    assert_eq!((block(&core), core.late_writes()), (7, 0));
    let mut other = another(&core);
    core.hold_writes(WriteHold::default());
    let cdb = rw10(0x2a, 0, 1);
    other.command(0, &cdb, 512, Direction::Write, &[8; 512]);
    assert_eq!(other.status().0, 0);
    // The first one is told when it listens again, or never.
    script.stream.1 = at(20);
    assert_eq!(script.status().0, 0);
    drop(script);
    core.run_back_end(at(30));
    assert_eq!((block(&core), core.late_writes()), (8, 0));
}

#[test]
fn what_a_reinstatement_does_about_it_can_be_set() {
    for (what, before, after) in [
        (Reinstatement::Ends, None, None),
        (Reinstatement::Waits, Some(7), Some(7)),
        (Reinstatement::Ignores, None, Some(7)),
    ] {
        // Once with the old connection still there, once without.
        for dropped in [true, false] {
            let core = slow();
            core.set_reinstatement(what);
            let mut old = Script::direct(&core).logged_in(&[]);
            let original = block(&core);
            write(&mut old, 7);
            let old = (!dropped).then_some(old);
            let _new = Script::direct(&core).logged_in(&[]);
            assert_eq!(block(&core), before.unwrap_or(original), "{what:?}");
            drop(old);
            core.run_back_end(at(10));
            assert_eq!(block(&core), after.unwrap_or(original), "{what:?}");
        }
    }
}

/// The old connection may have it in its socket still when the login that reinstates its nexus was answered.
#[test]
fn what_comes_after_a_reinstatement_is_not_taken() {
    for (what, lands) in [
        (Reinstatement::Ends, false),
        (Reinstatement::Waits, false),
        (Reinstatement::Ignores, true),
    ] {
        let core = slow();
        core.set_reinstatement(what);
        let mut old = Script::direct(&core).logged_in(&[]);
        let original = block(&core);
        let _new = Script::direct(&core).logged_in(&[]);
        write(&mut old, 7);
        // Nor is it answered when its time comes.
        old.stream.1 = at(10);
        assert_eq!(old.receive().is_ok(), lands, "{what:?}");
        drop(old);
        core.run_back_end(at(10));
        assert_eq!(block(&core), if lands { 7 } else { original }, "{what:?}");
        assert_eq!(core.violations(), []);
    }
}

#[test]
fn another_nexus_reinstates_nothing() {
    let core = slow();
    let mut old = Script::direct(&core).logged_in(&[]);
    write(&mut old, 7);
    drop(old);
    let _other = another(&core);
    core.run_back_end(at(10));
    assert_eq!(block(&core), 7);
}

fn manage(script: &mut Script<Direct>, function: Function, task: InitiatorTaskTag) -> Code {
    let itt = script.itt();
    let is_one = function == Function::AbortTask;
    let request = TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::new(0),
        itt,
        referenced_task_tag: task,
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
        ref_cmd_sn: if is_one {
            CmdSn(script.cmd_sn.0.wrapping_sub(1))
        } else {
            CmdSn(0)
        },
        exp_data_sn: DataSn(0),
    };
    script.send(&request.emit(), &[]);
    match script.receive().unwrap().0 {
        Pdu::TaskManagementResponse(response) => response.response,
        other => panic!("{other}"),
    }
}

#[test]
fn an_abort_calls_off_what_its_own_nexus_has_there() {
    let core = slow();
    let mut script = Script::direct(&core).logged_in(&[]);
    let original = block(&core);
    let task = write(&mut script, 7);
    assert_eq!(
        manage(&mut script, Function::AbortTask, task),
        Code::FunctionComplete
    );
    drop(script);
    core.run_back_end(at(10));
    assert_eq!(block(&core), original);
    assert_eq!(core.violations(), []);
}

#[test]
fn a_reset_of_the_unit_calls_off_everything() {
    let core = slow();
    let mut one = Script::direct(&core).logged_in(&[]);
    let original = block(&core);
    write(&mut one, 7);
    drop(one);
    let mut two = another(&core);
    let reserved = InitiatorTaskTag::RESERVED;
    let reset = manage(&mut two, Function::LogicalUnitReset, reserved);
    assert_eq!(reset, Code::FunctionComplete);
    core.run_back_end(at(10));
    assert_eq!(block(&core), original);
    assert_eq!(core.violations(), []);
}

/// PERSISTENT RESERVE OUT: action, type, key, service action key.
fn reserve(script: &mut Script<Direct>, action: u8, kind: u8, keys: [u64; 2]) -> u8 {
    let mut list = keys[0].to_be_bytes().to_vec();
    list.extend(keys[1].to_be_bytes());
    list.resize(24, 0);
    let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    script.command(0, &cdb, 24, Direction::Write, &list);
    script.status().0
}

#[test]
fn preempt_and_abort_calls_off_what_the_preempted_have_there() {
    const REGISTER: u8 = 0;
    const RESERVE: u8 = 1;
    const PREEMPT: u8 = 4;
    const PREEMPT_AND_ABORT: u8 = 5;
    const WRITE_REGISTRANTS: u8 = 5;
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        let core = slow();
        let mut one = Script::direct(&core).logged_in(&[]);
        let mut two = another(&core);
        let original = block(&core);
        assert_eq!(reserve(&mut one, REGISTER, 0, [0, 1]), 0);
        assert_eq!(reserve(&mut two, REGISTER, 0, [0, 2]), 0);
        assert_eq!(reserve(&mut two, RESERVE, WRITE_REGISTRANTS, [2, 0]), 0);
        write(&mut one, 7);
        assert_eq!(reserve(&mut two, action, WRITE_REGISTRANTS, [2, 1]), 0);
        // What is still on its way from there finds the door shut.
        let cdb = rw10(0x2a, 0, 1);
        one.command(0, &cdb, 512, Direction::Write, &[8; 512]);
        let (attention, _) = one.status();
        one.command(0, &cdb, 512, Direction::Write, &[8; 512]);
        assert_eq!((attention, one.status().0), (2, 0x18));
        drop(one);
        core.run_back_end(at(10));
        let aborted = action == PREEMPT_AND_ABORT;
        assert_eq!(block(&core), if aborted { original } else { 7 });
        assert_eq!(core.violations(), []);
    }
}

#[test]
fn a_logout_ends_it() {
    let core = slow();
    let mut script = Script::direct(&core).logged_in(&[]);
    let original = block(&core);
    write(&mut script, 7);
    let logout = LogoutRequest {
        immediate: true,
        reason: LogoutReason::CloseSession,
        itt: script.itt(),
        cid: Cid(0),
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
    };
    script.send(&logout.emit(), &[]);
    script.receive().unwrap();
    drop(script);
    core.run_back_end(at(10));
    assert_eq!(block(&core), original);
}

#[test]
fn a_crash_loses_it_or_not() {
    for keeps in [true, false] {
        let core = slow();
        let mut script = Script::direct(&core).logged_in(&[]);
        let original = block(&core);
        write(&mut script, 7);
        let mut crash = Crash::default();
        crash.keeps_back_end = keeps;
        core.crash(crash);
        assert_eq!(core.sessions(), 0);
        drop(script);
        core.run_back_end(at(10));
        assert_eq!(block(&core), if keeps { 7 } else { original });
        // As after power on, not as after the loss of a nexus.
        let _again = Script::direct(&core).logged_in(&[]);
    }
}

#[test]
fn over_tcp_it_lands_by_itself() {
    let target = TcpTarget::start(config()).unwrap();
    let core = target.core();
    let hold = Duration::from_millis(200);
    core.hold_writes(WriteHold::new(1000, hold, hold));
    let mut script = Script::tcp(&target, 0).logged_in(&[]);
    script.command(0, &rw10(0x2a, 0, 1), 512, Direction::Write, &[7; 512]);
    // Answered after the write was taken.
    assert!(script.is_silent());
    target.reset(0);
    drop(script);
    while core.late_writes() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(block(core), 7);
}
