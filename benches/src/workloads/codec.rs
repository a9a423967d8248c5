//! The headers of the data path, written and read back.

use std::{fmt::Debug, hint::black_box};

use iscsi_proto::{
    DecodeError, InitiatorTaskTag, Lun, TargetTransferTag,
    pdu::{
        Bhs, DataIn, DataOut, NopIn, NopOut, R2t, Residual, ScsiCommand, ScsiResponse,
        ServiceResponse, TaskAttribute,
    },
    scsi::ScsiStatus,
    serial::{CmdSn, DataSn, R2tSn, StatSn},
};

use super::Workload;
use crate::failure::Failure;

pub(super) const WORKLOADS: &[Workload] = &[
    of("codec/scsi-command", |ops| {
        turns(ops, scsi_command(), ScsiCommand::emit, ScsiCommand::parse)
    }),
    of("codec/data-in", |ops| {
        turns(ops, data_in(), DataIn::emit, DataIn::parse)
    }),
    of("codec/data-out", |ops| {
        turns(ops, data_out(), DataOut::emit, DataOut::parse)
    }),
    of("codec/scsi-response", |ops| {
        turns(
            ops,
            scsi_response(),
            ScsiResponse::emit,
            ScsiResponse::parse,
        )
    }),
    of("codec/r2t", |ops| turns(ops, r2t(), R2t::emit, R2t::parse)),
    of("codec/nop-out", |ops| {
        turns(ops, nop_out(), NopOut::emit, NopOut::parse)
    }),
    of("codec/nop-in", |ops| {
        turns(ops, nop_in(), NopIn::emit, NopIn::parse)
    }),
];

const fn of(name: &'static str, run: fn(u64) -> Result<(), Failure>) -> Workload {
    Workload {
        name,
        about: "a header emitted and parsed",
        warm: 10,
        counted: 10_000,
        run,
    }
}

fn turns<T: Copy + Debug + PartialEq>(
    ops: u64,
    pdu: T,
    emit: impl Fn(&T) -> Bhs,
    parse: impl Fn(&Bhs) -> Result<T, DecodeError>,
) -> Result<(), Failure> {
    for _ in 0..ops {
        let bhs = emit(black_box(&pdu));
        let parsed = parse(black_box(&bhs)).map_err(Failure::new)?;
        black_box(&parsed);
    }
    match parse(&emit(&pdu)) {
        Ok(back) if back == pdu => Ok(()),
        other => Err(Failure::new(format!("{pdu:?} came back as {other:?}"))),
    }
}

const ITT: InitiatorTaskTag = InitiatorTaskTag(0x0010_0007);
const EXP_CMD_SN: CmdSn = CmdSn(0x1002);
const MAX_CMD_SN: CmdSn = CmdSn(0x1081);
const STAT_SN: StatSn = StatSn(0x2001);

fn scsi_command() -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        is_final: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        priority: 0,
        total_ahs_length: 0,
        data_segment_length: 0,
        lun: Lun::new(1),
        itt: ITT,
        expected_data_transfer_length: 4096,
        cmd_sn: CmdSn(0x1001),
        exp_stat_sn: STAT_SN,
        cdb: [0x88, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 8, 0, 0],
    }
}

fn data_in() -> DataIn {
    DataIn {
        is_final: true,
        acknowledge: false,
        status: Some(ScsiStatus::Good),
        residual: Residual::None,
        lun: Lun::ZERO,
        itt: ITT,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: STAT_SN,
        exp_cmd_sn: EXP_CMD_SN,
        max_cmd_sn: MAX_CMD_SN,
        data_sn: DataSn(0),
        buffer_offset: 0,
        data_segment_length: 4096,
    }
}

fn data_out() -> DataOut {
    DataOut {
        is_final: true,
        lun: Lun::new(1),
        itt: ITT,
        ttt: TargetTransferTag(3),
        exp_stat_sn: STAT_SN,
        data_sn: DataSn(0),
        buffer_offset: 65_536,
        data_segment_length: 262_144,
    }
}

fn scsi_response() -> ScsiResponse {
    ScsiResponse {
        response: ServiceResponse::CompletedAtTarget,
        status: ScsiStatus::Good,
        status_qualifier: 0,
        bidi_residual: Residual::None,
        residual: Residual::None,
        itt: ITT,
        snack_tag: 0,
        stat_sn: STAT_SN,
        exp_cmd_sn: EXP_CMD_SN,
        max_cmd_sn: MAX_CMD_SN,
        exp_data_sn: DataSn(1),
        data_segment_length: 0,
    }
}

fn r2t() -> R2t {
    R2t {
        lun: Lun::new(1),
        itt: ITT,
        ttt: TargetTransferTag(3),
        stat_sn: STAT_SN,
        exp_cmd_sn: EXP_CMD_SN,
        max_cmd_sn: MAX_CMD_SN,
        r2t_sn: R2tSn(0),
        buffer_offset: 65_536,
        desired_data_transfer_length: 262_144,
    }
}

fn nop_out() -> NopOut {
    NopOut {
        immediate: true,
        lun: Lun::ZERO,
        itt: ITT,
        ttt: TargetTransferTag::RESERVED,
        cmd_sn: CmdSn(0x1001),
        exp_stat_sn: STAT_SN,
        data_segment_length: 0,
    }
}

fn nop_in() -> NopIn {
    NopIn {
        lun: Lun::ZERO,
        itt: ITT,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: STAT_SN,
        exp_cmd_sn: EXP_CMD_SN,
        max_cmd_sn: MAX_CMD_SN,
        data_segment_length: 0,
    }
}
