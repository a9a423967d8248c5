//! The incoming stream cut into PDUs, without a session behind it.

use iscsi_proto::{
    InitiatorTaskTag, Lun, TargetTransferTag, digest,
    framing::{DataRef, DataStore, Destination, Receiver, ReceiverConfig, Step},
    pdu::{DataIn, Residual},
    scsi::ScsiStatus,
    serial::{CmdSn, DataSn, StatSn},
};

use super::Workload;
use crate::failure::Failure;

pub(super) const WORKLOADS: &[Workload] = &[
    of("framing/512", "a Data-In of 512 B", 2000, |ops| {
        stream(512, false, ops)
    }),
    of(
        "framing/512-digests",
        "the same, both digests",
        2000,
        |ops| stream(512, true, ops),
    ),
    of("framing/64k", "a Data-In of 64 KiB", 50, |ops| {
        stream(64 << 10, false, ops)
    }),
    of("framing/64k-digests", "the same, both digests", 50, |ops| {
        stream(64 << 10, true, ops)
    }),
];

const fn of(
    name: &'static str,
    about: &'static str,
    counted: u64,
    run: fn(u64) -> Result<(), Failure>,
) -> Workload {
    Workload {
        name,
        about,
        warm: 16,
        counted,
        run,
    }
}

/// One buffer, which every task has.
struct Memory(Vec<u8>);

impl Memory {
    fn slice(&mut self, at: DataRef) -> &mut [u8] {
        &mut self.0[at.offset as usize..][..at.len as usize]
    }
}

impl DataStore for Memory {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        self.slice(at).copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        visitor(&self.0[at.offset as usize..][..at.len as usize]);
    }
}

/// What a socket does that always has something: as much as fits, from a ring of the same PDU.
struct Stream {
    pdu: Vec<u8>,
    at: usize,
    left: usize,
}

impl Stream {
    fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() && self.left > 0 {
            let n = (buf.len() - done).min(self.pdu.len() - self.at);
            buf[done..done + n].copy_from_slice(&self.pdu[self.at..self.at + n]);
            done += n;
            self.left -= n;
            self.at = (self.at + n) % self.pdu.len();
        }
        done
    }
}

fn pdu(len: usize, digests: bool) -> Vec<u8> {
    let header = DataIn {
        is_final: true,
        acknowledge: false,
        status: Some(ScsiStatus::Good),
        residual: Residual::None,
        lun: Lun::ZERO,
        itt: InitiatorTaskTag(7),
        ttt: TargetTransferTag::RESERVED,
        stat_sn: StatSn(1),
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(128),
        data_sn: DataSn(0),
        buffer_offset: 0,
        data_segment_length: len as u32,
    };
    let bhs = header.emit();
    let mut pdu = bhs.as_bytes().to_vec();
    let data = vec![0x5a; len];
    if digests {
        pdu.extend(digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
    }
    pdu.extend(&data);
    if digests {
        pdu.extend(digest::to_wire(digest::crc32c(0, &data)));
    }
    pdu
}

fn stream(len: usize, digests: bool, ops: u64) -> Result<(), Failure> {
    let pdu = pdu(len, digests);
    let left = pdu.len() * ops as usize;
    let mut stream = Stream { pdu, at: 0, left };
    let mut memory = Memory(vec![0; len]);
    let config = ReceiverConfig {
        header_digest: digests,
        data_digest: digests,
        max_recv_data_segment_length: 262_144,
        scratch: 64 << 10,
        read_ahead: 64 << 10,
        read_ahead_large: 512,
    };
    let mut receiver = Receiver::new(config, &[]);
    let mut complete = 0;
    while stream.left > 0 {
        let plan = receiver.plan();
        let mut n = 0;
        if let Some(at) = plan.payload {
            n = stream.read(memory.slice(at));
        }
        n += stream.read(plan.scratch);
        receiver.received(n, &memory).map_err(Failure::new)?;
        loop {
            let step = receiver.step(&mut memory, |_| {
                Ok(Destination::Task {
                    itt: InitiatorTaskTag(7),
                    offset: 0,
                })
            });
            match step.map_err(Failure::new)? {
                Step::NeedMore => break,
                Step::Complete => complete += 1,
            }
        }
    }
    if complete == ops {
        return Ok(());
    }
    Err(Failure::new(format!("{complete} PDUs of {ops} arrived")))
}
