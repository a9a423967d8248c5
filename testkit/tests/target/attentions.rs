//! Unit attentions: who finds them, how often, and through which command.

use std::time::Duration;

use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{Pdu, TaskManagementFunction, TaskManagementRequest},
    scsi::Lun,
    serial::{CmdSn, DataSn},
};
use iscsi_testkit::target::TargetCore;

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config},
};

fn test_unit_ready(script: &mut Script<Direct>) -> Option<(u8, u8)> {
    script.command(0, &[0; 6], 0, Direction::None, &[]);
    let (status, sense) = script.status();
    (status == 2).then(|| (sense[12], sense[13]))
}

fn request_sense(script: &mut Script<Direct>, descriptor: bool) -> Vec<u8> {
    let cdb = [3, u8::from(descriptor), 0, 0, 252, 0];
    script.command(0, &cdb, 252, Direction::Read, &[]);
    script.data().0
}

fn raise(core: &TargetCore, times: usize) {
    for _ in 0..times {
        core.raise_attention(0, 0x2a, 0x09);
    }
}

#[test]
fn every_nexus_finds_one_however_often_it_is_raised() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut other = Script::direct(&core);
    other.isid.0[5] = 2;
    let mut other = other.logged_in(&[]);
    raise(&core, 3);
    for script in [&mut script, &mut other] {
        assert_eq!(test_unit_ready(script), Some((0x2a, 0x09)));
        assert_eq!(test_unit_ready(script), None);
    }
}

#[test]
fn request_sense_reports_one_and_clears_it() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    raise(&core, 1);
    let sense = request_sense(&mut script, false);
    assert_eq!(
        (sense[0], sense[2], sense[12], sense[13]),
        (0x70, 6, 0x2a, 9)
    );
    assert_eq!(
        request_sense(&mut script, true),
        [0x72, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(test_unit_ready(&mut script), None);
    raise(&core, 1);
    let sense = request_sense(&mut script, true);
    assert_eq!(sense, [0x72, 6, 0x2a, 9, 0, 0, 0, 0]);
}

#[test]
fn report_luns_clears_the_attention_about_its_list_and_no_other() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    core.raise_attention(0, 0x3f, 0x0e);
    raise(&core, 1);
    let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
    script.command(0, &cdb, 64, Direction::Read, &[]);
    assert_eq!(script.data().1, 0);
    assert_eq!(test_unit_ready(&mut script), Some((0x2a, 0x09)));
    assert_eq!(test_unit_ready(&mut script), None);
}

#[test]
fn a_unit_that_is_not_mapped_is_not_there_and_the_others_say_so() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
    let list = |script: &mut Script<Direct>| {
        script.command(0, &cdb, 64, Direction::Read, &[]);
        script.data().0
    };
    let all = list(&mut script);
    core.set_mapped(1, false);
    assert_eq!(test_unit_ready(&mut script), Some((0x3f, 0x0e)));
    assert_eq!(
        list(&mut script),
        [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    script.command(1, &[0; 6], 0, Direction::None, &[]);
    let (status, sense) = script.status();
    assert_eq!((status, sense[2], sense[12], sense[13]), (2, 5, 0x25, 0));
    core.set_mapped(1, true);
    assert_eq!(list(&mut script), all);
    // The list itself was the news.
    assert_eq!(test_unit_ready(&mut script), None);
    assert_eq!(core.violations(), []);
}

/// SAM-5 section 5.14.1: it is cleared by being reported, and a task that was aborted reported nothing.
#[test]
fn one_that_an_aborted_task_would_have_reported_stays() {
    for function in [
        TaskManagementFunction::AbortTask,
        TaskManagementFunction::AbortTaskSet,
    ] {
        let core = core(config());
        let mut script = Script::direct(&core).logged_in(&[]);
        raise(&core, 1);
        core.set_delay(0, Duration::from_secs(1));
        let cmd_sn = script.cmd_sn;
        let itt = script.command(0, &[0; 6], 0, Direction::None, &[]);
        let of_one = function == TaskManagementFunction::AbortTask;
        let request = TaskManagementRequest {
            immediate: true,
            function,
            lun: Lun::ZERO,
            itt: script.itt(),
            referenced_task_tag: if of_one {
                itt
            } else {
                InitiatorTaskTag::RESERVED
            },
            cmd_sn: script.cmd_sn,
            exp_stat_sn: script.stat_sn,
            ref_cmd_sn: if of_one { cmd_sn } else { CmdSn(0) },
            exp_data_sn: DataSn(0),
        };
        script.send(&request.emit(), &[]);
        let answer = script.receive().unwrap().0;
        assert!(matches!(answer, Pdu::TaskManagementResponse(_)), "{answer}");
        core.set_delay(0, Duration::ZERO);
        assert_eq!(test_unit_ready(&mut script), Some((0x2a, 0x09)));
        assert_eq!(test_unit_ready(&mut script), None);
        assert_eq!(core.violations(), []);
    }
}
