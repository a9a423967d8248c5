//! The target alone, fed with the PDUs that the other workloads feed it with: what to subtract.

use iscsi_proto::{
    InitiatorTaskTag, Lun,
    pdu::{ScsiCommand, TaskAttribute},
    scsi::Cdb,
    serial::{CmdSn, StatSn},
};

use super::{
    Workload,
    io::{Io, K},
    login,
};
use crate::{
    failure::Failure,
    target::{Settings, Target},
};

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "target/read-4k",
        about: "what of a 4 KiB read the target itself costs",
        warm: 320,
        counted: 3200,
        run: |ops| run(Io::read(4 * K, 32), ops),
    },
    Workload {
        name: "target/write-4k",
        about: "what of a 4 KiB write the target itself costs",
        warm: 320,
        counted: 3200,
        run: |ops| run(Io::write(4 * K, 32), ops),
    },
];

fn run(io: Io, ops: u64) -> Result<(), Failure> {
    let mut target = Target::new(Settings::PLAIN);
    let login = login::logged_in(&mut target)?;
    let cdb = match io.write {
        true => Cdb::write16(0, io.blocks(), false),
        false => Cdb::read16(0, io.blocks(), false),
    };
    let mut command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: !io.write,
        write: io.write,
        attribute: TaskAttribute::Simple,
        priority: 0,
        total_ahs_length: 0,
        data_segment_length: 0,
        lun: Lun::ZERO,
        itt: InitiatorTaskTag(1),
        expected_data_transfer_length: io.len,
        cmd_sn: CmdSn(0),
        exp_stat_sn: StatSn(0),
        cdb: [0; 16],
    };
    command.cdb.copy_from_slice(&cdb.as_bytes()[..16]);
    if io.write {
        command.data_segment_length = io.len;
    }
    let header = *command.emit().as_bytes();
    let data = vec![0; io.len as usize];
    let mut answers = vec![0; 64 << 10];
    drop(login);
    for op in 1..=ops {
        target.feed(&header);
        if io.write {
            target.feed(&data);
        }
        if op % u64::from(io.depth) == 0 || op == ops {
            while target.pending() > 0 {
                target.fill(&mut answers);
            }
        }
    }
    match target.confused() {
        None => Ok(()),
        Some(opcode) => Err(Failure::new(format!("no answer to opcode {opcode:#04x}"))),
    }
}
