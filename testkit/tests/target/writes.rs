//! Writes: immediate, unsolicited and solicited data, aborts, resets, reinstatement.

use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag,
    pdu::{
        Pdu, R2t, TaskManagementFunction as Function, TaskManagementRequest,
        TaskManagementResponseCode as Outcome,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn},
};
use iscsi_testkit::{pattern, sim::Rng, target::TargetCore};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const UNASKED: TargetTransferTag = TargetTransferTag::RESERVED;

fn random(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    Rng::new(len as u64).fill(&mut data);
    data
}

fn peek(core: &TargetCore, offset: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    core.peek(0, offset, &mut data);
    data
}

fn r2t(script: &mut Script<Direct>) -> R2t {
    let (Pdu::R2t(r2t), _) = script.receive().unwrap() else {
        panic!()
    };
    r2t
}

#[test]
fn immediate_data_alone_is_written_at_once() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let data = random(1024);
    script.command(0, &rw10(0x2a, 5, 2), 1024, Direction::Write, &data);
    assert_eq!(script.status().0, 0);
    assert_eq!(peek(&core, 5 * 512, 1024), data);
    assert_eq!(
        pattern::verify(1, 4 * 512, &peek(&core, 4 * 512, 512)),
        Ok(())
    );
    assert_eq!(script.read_blocks(5, 2), data);
    assert_eq!(core.violations(), []);
}

#[test]
fn unsolicited_data_goes_up_to_first_burst_and_r2ts_ask_for_the_rest() {
    let core = core(config());
    let keys = [
        ("FirstBurstLength", "2048"),
        ("MaxBurstLength", "2048"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxOutstandingR2T", "2"),
    ];
    let mut script = Script::direct(&core).logged_in(&keys);
    let data = random(8192);
    let mut command = script.scsi(0, &rw10(0x2a, 0, 16), 8192, Direction::Write);
    (command.is_final, command.data_segment_length) = (false, 512);
    script.send(&command.emit(), &data[..512]);
    script.data_out(command.itt, (UNASKED, 0, 512), &data[512..1024], false);
    script.data_out(command.itt, (UNASKED, 1, 1024), &data[1024..2048], true);
    let (one, two) = (r2t(&mut script), r2t(&mut script));
    assert_eq!(
        (
            one.r2t_sn.0,
            one.buffer_offset,
            one.desired_data_transfer_length
        ),
        (0, 2048, 2048)
    );
    assert_eq!(
        (
            two.r2t_sn.0,
            two.buffer_offset,
            two.desired_data_transfer_length
        ),
        (1, 4096, 2048)
    );
    assert!(
        script.receive().is_err(),
        "no third one while two are outstanding"
    );
    script.data_out(command.itt, (one.ttt, 0, 2048), &data[2048..3000], false);
    script.data_out(command.itt, (one.ttt, 1, 3000), &data[3000..4096], true);
    let three = r2t(&mut script);
    assert_eq!((three.r2t_sn.0, three.buffer_offset), (2, 6144));
    script.data_out(command.itt, (two.ttt, 0, 4096), &data[4096..6144], true);
    script.data_out(command.itt, (three.ttt, 0, 6144), &data[6144..], true);
    assert_eq!(script.status().0, 0);
    assert_eq!(peek(&core, 0, 8192), data);
    assert_eq!(core.violations(), []);
}

fn manage(
    script: &mut Script<Direct>,
    function: Function,
    referenced_task_tag: InitiatorTaskTag,
) -> Outcome {
    let request = TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::ZERO,
        itt: script.itt(),
        referenced_task_tag,
        cmd_sn: script.cmd_sn,
        exp_stat_sn: script.stat_sn,
        ref_cmd_sn: CmdSn(0),
        exp_data_sn: DataSn(0),
    };
    script.send(&request.emit(), &[]);
    let (Pdu::TaskManagementResponse(response), _) = script.receive().unwrap() else {
        panic!()
    };
    response.response
}

#[test]
fn an_aborted_write_never_lands() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[("ImmediateData", "No")]);
    let itt = script.command(0, &rw10(0x2a, 0, 8), 4096, Direction::Write, &[]);
    let r2t = r2t(&mut script);
    assert_eq!(
        manage(&mut script, Function::AbortTask, itt),
        Outcome::FunctionComplete
    );
    assert_eq!(
        manage(&mut script, Function::AbortTask, itt),
        Outcome::TaskDoesNotExist
    );
    script.data_out(itt, (r2t.ttt, 0, 0), &random(4096), true);
    assert!(script.receive().is_err(), "no answer");
    assert_eq!(pattern::verify(1, 0, &peek(&core, 0, 4096)), Ok(()));
    assert_eq!(
        core.violations(),
        [],
        "data that was under way is nobody's fault"
    );
    assert_eq!(script.read_blocks(0, 1).len(), 512);
}

#[test]
fn a_unit_reset_ends_the_tasks_of_every_session_and_tells_them_all() {
    let core = core(config());
    let mut one = Script::direct(&core).logged_in(&[("ImmediateData", "No")]);
    let mut two = Script::direct(&core);
    two.isid.0[5] = 9;
    let mut two = two.logged_in(&[]);
    let itt = one.command(0, &rw10(0x2a, 0, 8), 4096, Direction::Write, &[]);
    let r2t = r2t(&mut one);
    let none = InitiatorTaskTag::RESERVED;
    assert_eq!(
        manage(&mut two, Function::LogicalUnitReset, none),
        Outcome::FunctionComplete
    );
    one.data_out(itt, (r2t.ttt, 0, 0), &random(4096), true);
    assert!(one.receive().is_err());
    assert_eq!(pattern::verify(1, 0, &peek(&core, 0, 4096)), Ok(()));
    for session in [&mut one, &mut two] {
        session.command(0, &[0], 0, Direction::None, &[]);
        let (_, sense) = session.status();
        assert_eq!((sense[2], sense[12], sense[13]), (6, 0x29, 3));
        assert_eq!(session.read_blocks(0, 1).len(), 512);
    }
}

#[test]
fn a_write_of_a_session_that_was_taken_over_never_lands() {
    let core = core(config());
    let mut old = Script::direct(&core).logged_in(&[("ImmediateData", "No")]);
    let itt = old.command(0, &rw10(0x2a, 0, 8), 4096, Direction::Write, &[]);
    let r2t = r2t(&mut old);
    let mut new = Script::direct(&core);
    new.login(&[]);
    new.command(0, &[0], 0, Direction::None, &[]);
    let (_, sense) = new.status();
    assert_eq!(
        (sense[2], sense[12], sense[13]),
        (6, 0x29, 7),
        "nexus loss, not power on"
    );
    old.data_out(itt, (r2t.ttt, 0, 0), &random(4096), true);
    assert!(old.receive().is_err());
    assert_eq!(pattern::verify(1, 0, &peek(&core, 0, 4096)), Ok(()));
}
