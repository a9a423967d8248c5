//! What the target does with task management, asynchronous messages, rejects and renegotiation, and
//! what it holds against initiators that get them wrong.

use std::sync::Arc;

use iscsi_proto::{
    InitiatorTaskTag, Instant, TargetTransferTag,
    ids::Cid,
    pdu::{
        AsyncEvent, LogoutReason, LogoutRequest, LogoutResponseCode, NopOut, Pdu, RejectReason,
        ScsiCommand, TaskManagementFunction as Function, TaskManagementRequest,
        TaskManagementResponseCode as Code, TextRequest, opcode,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn},
    text::TaskReporting,
};
use iscsi_testkit::target::{Notice, TargetConfig, TargetCore};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const KEYS: [(&str, &str); 4] = [
    ("ImmediateData", "No"),
    ("InitialR2T", "Yes"),
    ("TaskReporting", "FastAbort,RFC3720"),
    ("iSCSIProtocolLevel", "2"),
];

fn configured(reporting: TaskReporting, level: u8) -> TargetConfig {
    let mut config = config();
    config.limits.task_reporting = reporting;
    config.limits.protocol_level = level;
    config
}

fn function(script: &mut Script<Direct>, function: Function) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::new(0),
        itt: script.itt(),
        referenced_task_tag: InitiatorTaskTag::RESERVED,
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
        ref_cmd_sn: CmdSn(0),
        exp_data_sn: DataSn(0),
    }
}

fn answer(script: &mut Script<Direct>) -> (Code, [u8; 3]) {
    match script.receive().unwrap().0 {
        Pdu::TaskManagementResponse(response) => {
            (response.response, response.additional_response_information)
        }
        other => panic!("{other}"),
    }
}

fn manage(script: &mut Script<Direct>, code: Function) -> Code {
    let request = function(script, code);
    script.send(&request.emit(), &[]);
    answer(script).0
}

/// A write of 1024 bytes of which the target has asked for all.
fn open_write(script: &mut Script<Direct>) -> (InitiatorTaskTag, TargetTransferTag) {
    let itt = script.command(0, &rw10(0x2a, 0, 2), 1024, Direction::Write, &[]);
    match script.receive().unwrap().0 {
        Pdu::R2t(r2t) => (itt, r2t.ttt),
        other => panic!("{other}"),
    }
}

fn held_against(core: &Arc<TargetCore>) -> Vec<String> {
    let violations = core.violations().into_iter();
    violations
        .map(|(_, violation)| violation.to_string())
        .collect()
}

/// Section 4.2.3.3: the answer waits for the data that was asked for.
#[test]
fn a_function_waits_for_open_transfers_unless_fast_abort_was_agreed_on() {
    for reporting in [TaskReporting::Rfc3720, TaskReporting::FastAbort] {
        for code in [
            Function::AbortTaskSet,
            Function::ClearTaskSet,
            Function::LogicalUnitReset,
            Function::TargetWarmReset,
            Function::ITNexusReset,
        ] {
            let core = core(configured(reporting, 2));
            let mut script = Script::direct(&core).logged_in(&KEYS);
            let (itt, ttt) = open_write(&mut script);
            let mut request = function(&mut script, code);
            if matches!(code, Function::TargetWarmReset | Function::ITNexusReset) {
                request.lun = Lun::ZERO;
            }
            script.send(&request.emit(), &[]);
            if reporting == TaskReporting::Rfc3720 {
                assert!(script.receive().is_err(), "{code}: it waits");
                script.data_out(itt, (ttt, 0, 0), &[9; 1024], true);
            }
            assert_eq!(answer(&mut script).0, Code::FunctionComplete, "{code}");
            assert_eq!(held_against(&core), [""; 0]);
            let mut medium = [0; 4];
            core.peek(0, 0, &mut medium);
            assert_ne!(medium, [9; 4], "{code}: the write is no more");
        }
    }
}

/// Section 4.2.3.4: with FastAbort nothing may follow the function.
#[test]
fn data_behind_a_fast_abort_is_held_against_the_initiator() {
    let core = core(configured(TaskReporting::FastAbort, 2));
    let mut script = Script::direct(&core).logged_in(&KEYS);
    let (itt, ttt) = open_write(&mut script);
    assert_eq!(
        manage(&mut script, Function::LogicalUnitReset),
        Code::FunctionComplete
    );
    script.data_out(itt, (ttt, 0, 0), &[9; 1024], true);
    let found = held_against(&core);
    assert!(
        found.len() == 1 && found[0].contains("no such transfer"),
        "{found:?}"
    );
}

#[test]
fn queries_and_refusals_have_their_codes() {
    let core = core(configured(TaskReporting::Rfc3720, 2));
    let mut script = Script::direct(&core).logged_in(&KEYS);
    assert_eq!(
        manage(&mut script, Function::QueryTaskSet),
        Code::FunctionComplete
    );
    let cmd_sn = script.cmd_sn;
    let (itt, _) = open_write(&mut script);
    assert_eq!(
        manage(&mut script, Function::QueryTaskSet),
        Code::FunctionSucceeded
    );
    let mut query = function(&mut script, Function::QueryTask);
    (query.referenced_task_tag, query.ref_cmd_sn) = (itt, cmd_sn);
    script.send(&query.emit(), &[]);
    assert_eq!(answer(&mut script).0, Code::FunctionSucceeded);
    query.itt = script.itt();
    query.referenced_task_tag = InitiatorTaskTag(7);
    script.send(&query.emit(), &[]);
    assert_eq!(answer(&mut script).0, Code::FunctionComplete);
    let mut reassign = function(&mut script, Function::TaskReassign);
    reassign.referenced_task_tag = itt;
    script.send(&reassign.emit(), &[]);
    assert_eq!(answer(&mut script).0, Code::ReassignmentNotSupported);
    assert_eq!(held_against(&core), [""; 0]);
}

#[test]
fn another_initiators_reset_is_an_attention_that_can_be_asked_for() {
    let core = core(configured(TaskReporting::Rfc3720, 2));
    let mut one = Script::direct(&core).logged_in(&KEYS);
    let mut two = Script::direct(&core);
    two.isid.0[5] = 9;
    let mut two = two.logged_in(&KEYS);
    let ask = |script: &mut Script<Direct>| {
        let request = function(script, Function::QueryAsynchronousEvent);
        script.send(&request.emit(), &[]);
        answer(script)
    };
    assert_eq!(ask(&mut one), (Code::FunctionComplete, [0; 3]));
    for (code, attention) in [
        (Function::LogicalUnitReset, (0x29, 0x03)),
        (Function::ClearTaskSet, (0x2f, 0x00)),
    ] {
        assert_eq!(manage(&mut two, code), Code::FunctionComplete);
        let (asc, ascq) = attention;
        assert_eq!(ask(&mut one), (Code::FunctionSucceeded, [6, asc, ascq]));
        one.command(0, &[0], 0, Direction::None, &[]);
        let (status, sense) = one.status();
        assert_eq!((status, sense[12], sense[13]), (2, asc, ascq));
    }
}

#[test]
fn fields_that_do_not_belong_to_a_function_are_held_against_the_initiator() {
    type Change = fn(&mut TaskManagementRequest);
    let cases: [(Function, Change, &str); 6] = [
        (
            Function::LogicalUnitReset,
            |r| r.referenced_task_tag = InitiatorTaskTag(5),
            "a Referenced Task Tag",
        ),
        (
            Function::LogicalUnitReset,
            |r| r.ref_cmd_sn = CmdSn(5),
            "a RefCmdSN",
        ),
        (
            Function::AbortTaskSet,
            |r| r.exp_data_sn = DataSn(5),
            "an ExpDataSN",
        ),
        (Function::TargetWarmReset, |r| r.lun = Lun::new(1), "a LUN"),
        (Function::QueryTaskSet, |_| {}, "needs iSCSIProtocolLevel 2"),
        (Function::Unknown(0x33), |_| {}, "no such function"),
    ];
    for (code, change, expected) in cases {
        let core = core(configured(TaskReporting::Rfc3720, 1));
        let mut script = Script::direct(&core).logged_in(&KEYS);
        let mut request = function(&mut script, code);
        change(&mut request);
        script.send(&request.emit(), &[]);
        answer(&mut script);
        let found = held_against(&core);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{code}: {found:?}"
        );
    }
}

#[test]
fn an_abort_must_name_its_task_truly() {
    for (lun, ahead, expected) in [(1, 0, "the LUN is not"), (0, 1, "RefCmdSN is not")] {
        let core = core(configured(TaskReporting::Rfc3720, 1));
        let mut script = Script::direct(&core).logged_in(&KEYS);
        let cmd_sn = script.cmd_sn;
        let (itt, _) = open_write(&mut script);
        let mut abort = function(&mut script, Function::AbortTask);
        abort.lun = Lun::new(lun);
        (abort.referenced_task_tag, abort.ref_cmd_sn) = (itt, cmd_sn.plus(ahead));
        script.send(&abort.emit(), &[]);
        answer(&mut script);
        let found = held_against(&core);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}

fn async_event(script: &mut Script<Direct>) -> AsyncEvent {
    match script.receive().unwrap().0 {
        Pdu::AsyncMessage(message) => message.event,
        other => panic!("{other}"),
    }
}

fn logout(script: &mut Script<Direct>) {
    let request = LogoutRequest {
        immediate: true,
        reason: LogoutReason::CloseSession,
        cid: Cid(0),
        itt: script.itt(),
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
    };
    script.send(&request.emit(), &[]);
}

/// Section 11.9.1: new commands may be refused, and the logout must come in time.
#[test]
fn a_logout_that_was_asked_for_is_waited_for() {
    for late in [false, true] {
        let core = core(config());
        let mut script = Script::direct(&core).logged_in(&[]);
        core.announce(0, Notice::new(AsyncEvent::LogoutRequested, [0, 0, 2]));
        script.command(0, &[0], 0, Direction::None, &[]);
        assert_eq!(async_event(&mut script), AsyncEvent::LogoutRequested);
        assert_eq!(script.status().0, 0);
        script.command(0, &[0], 0, Direction::None, &[]);
        let (Pdu::Reject(reject), _) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(reject.reason, RejectReason::WaitingForLogout);
        script.stream.1 = Instant::from_nanos(if late { 2_000_000_001 } else { 2_000_000_000 });
        core.answer_logouts(0, Some((LogoutResponseCode::CleanupFailed, 7, 8)));
        logout(&mut script);
        let (Pdu::LogoutResponse(response), _) = script.receive().unwrap() else {
            panic!()
        };
        assert_eq!(response.response, LogoutResponseCode::CleanupFailed);
        assert_eq!((response.time2wait, response.time2retain), (7, 8));
        assert_eq!(held_against(&core).len(), usize::from(late));
    }
}

#[test]
fn terminated_tasks_must_be_acknowledged_under_fast_abort() {
    for acknowledged in [false, true] {
        let core = core(configured(TaskReporting::FastAbort, 1));
        let mut script = Script::direct(&core).logged_in(&KEYS);
        let notice = Notice::new(AsyncEvent::TasksTerminated, [1, 0, 0]);
        core.announce(0, notice.with_lun(Lun::new(0)));
        let (itt, ttt) = {
            let itt = script.command(0, &rw10(0x2a, 0, 2), 1024, Direction::Write, &[]);
            let (Pdu::R2t(r2t), _) = script.receive().unwrap() else {
                panic!()
            };
            (itt, r2t.ttt)
        };
        assert_eq!(async_event(&mut script), AsyncEvent::TasksTerminated);
        if acknowledged {
            let nop = NopOut {
                immediate: true,
                lun: Lun::new(0),
                itt: InitiatorTaskTag::RESERVED,
                ttt: TargetTransferTag::RESERVED,
                cmd_sn: script.cmd_sn,
                exp_stat_sn: script.stat_sn,
                data_segment_length: 0,
            };
            script.send(&nop.emit(), &[]);
            script.data_out(itt, (ttt, 0, 0), &[0; 1024], true);
            let found = held_against(&core);
            assert!(found[0].contains("no such transfer"), "{found:?}");
        } else {
            logout(&mut script);
            let found = held_against(&core);
            assert!(found[0].contains("acknowledgement"), "{found:?}");
        }
    }
}

fn text(script: &mut Script<Direct>, ttt: TargetTransferTag, text: &[u8]) -> Vec<u8> {
    let request = TextRequest {
        immediate: false,
        is_final: true,
        cont: false,
        lun: Lun::ZERO,
        itt: script.itt(),
        ttt,
        cmd_sn: script.cmd_sn(),
        exp_stat_sn: script.stat_sn,
        data_segment_length: text.len() as u32,
    };
    script.send(&request.emit(), text);
    match script.receive().unwrap() {
        (Pdu::TextResponse(response), data) => {
            assert!(response.is_final);
            data
        }
        (other, _) => panic!("{other}"),
    }
}

/// Section 6.4: both sides declare, and the target keeps to what was declared.
#[test]
fn segment_lengths_are_negotiated_anew() {
    let core = core(config());
    core.redeclare(0, 512);
    let mut script = Script::direct(&core).logged_in(&[("ImmediateData", "No")]);
    let none = TargetTransferTag::RESERVED;
    let reply = text(&mut script, none, b"MaxRecvDataSegmentLength=1024\0");
    assert_eq!(reply, b"MaxRecvDataSegmentLength=512\0");
    script.command(0, &rw10(0x28, 0, 8), 4096, Direction::Read, &[]);
    for _ in 0..4 {
        assert_eq!(script.receive().unwrap().1.len(), 1024);
    }
    let (itt, ttt) = open_write(&mut script);
    script.data_out(itt, (ttt, 0, 0), &[0; 1024], true);
    assert_eq!(
        held_against(&core),
        ["data segment of 1024 bytes, limit 512"]
    );
}

#[test]
fn text_that_breaks_the_rules_is_held_against_the_initiator() {
    let none = TargetTransferTag::RESERVED;
    for (ttt, request, expected) in [
        (none, &b"MaxBurstLength=512\0"[..], "for login only"),
        (none, b"MaxRecvDataSegmentLength=1\0", "out of range"),
        (none, b"X-a=1\0X-a=2\0", "a key twice"),
        (TargetTransferTag(3), b"", "not open"),
    ] {
        let core = core(config());
        let mut script = Script::direct(&core).logged_in(&[]);
        text(&mut script, ttt, request);
        let found = held_against(&core);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn rejects_come_on_demand() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    core.reject(0, opcode::SCSI_COMMAND, RejectReason::InvalidPduField, 1);
    script.command(0, &[0], 0, Direction::None, &[]);
    let (Pdu::Reject(reject), header) = script.receive().unwrap() else {
        panic!()
    };
    assert_eq!(reject.reason, RejectReason::InvalidPduField);
    assert_eq!(header[0], ScsiCommand::OPCODE);
    script.command(0, &[0], 0, Direction::None, &[]);
    assert_eq!(script.status().0, 0);
}

/// Section 11.2.2: an extended CDB is taken whole; what is no segment is rejected.
#[test]
fn additional_header_segments_are_read() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    for (segment, rejected) in [
        (&[0, 5, 1, 0, 0xa0, 0xa1, 0xa2, 0xa3][..], false),
        (&[0, 0, 1, 0], true),
    ] {
        let mut command = script.scsi(0, &[0x7f], 0, Direction::None);
        command.total_ahs_length = (segment.len() / 4) as u8;
        // The script sends a header and data; without digests that is header and segment.
        script.send(&command.emit(), segment);
        let (pdu, _) = script.receive().unwrap();
        match pdu {
            Pdu::Reject(reject) if rejected => {
                assert_eq!(reject.reason, RejectReason::InvalidPduField);
            }
            Pdu::ScsiResponse(_) if !rejected => {}
            other => panic!("{other}"),
        }
    }
    let cdbs = core.extended_cdbs();
    assert_eq!(cdbs.len(), 1);
    assert_eq!(
        (cdbs[0][0], &cdbs[0][16..]),
        (0x7f, &[0xa0, 0xa1, 0xa2, 0xa3][..])
    );
    assert_eq!(
        held_against(&core),
        ["malformed additional header segments"]
    );
}

#[test]
fn a_priority_needs_level_two() {
    for level in [1, 2] {
        let core = core(configured(TaskReporting::Rfc3720, level));
        let mut script = Script::direct(&core).logged_in(&KEYS);
        let mut command = script.scsi(0, &[0], 0, Direction::None);
        command.priority = 4;
        script.send(&command.emit(), &[]);
        assert_eq!(script.status().0, 0);
        assert_eq!(held_against(&core).len(), usize::from(level < 2));
    }
}
