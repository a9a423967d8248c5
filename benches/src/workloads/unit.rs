//! Reads and writes of a logical unit over one session.

use bytes::{Bytes, BytesMut};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{ReadOptions, WriteOptions},
    logical_unit::LogicalUnit,
};

use super::{
    Workload,
    io::{Io, K, Turns},
};
use crate::{failure::Failure, machine::Local, rig::Rig, target::Settings};

pub(super) const WORKLOADS: &[Workload] = &[
    of("unit/read-4k-qd1", 1000, |ops| run(Io::read(4 * K, 1), ops)),
    of("unit/read-4k-qd32", 3200, |ops| {
        run(Io::read(4 * K, 32), ops)
    }),
    of("unit/write-4k-qd1", 1000, |ops| {
        run(Io::write(4 * K, 1), ops)
    }),
    of("unit/write-4k-qd32", 3200, |ops| {
        run(Io::write(4 * K, 32), ops)
    }),
];

const fn of(name: &'static str, counted: u64, run: fn(u64) -> Result<(), Failure>) -> Workload {
    Workload {
        name,
        about: "an I/O through `LogicalUnit`, the target's work included",
        warm: 320,
        counted,
        run,
    }
}

fn run(io: Io, ops: u64) -> Result<(), Failure> {
    let mut rig = Rig::new(Settings::PLAIN)?;
    let unit = rig.unit()?;
    let turns = Turns::new(ops);
    let slots = (0..io.depth).map(|_| match io.write {
        true => Box::pin(writes(&unit, io, &turns)) as Local<'_>,
        false => Box::pin(reads(&unit, io, &turns)) as Local<'_>,
    });
    rig.machine.run(slots.collect())
}

async fn reads(unit: &LogicalUnit, io: Io, turns: &Turns) -> Result<(), Failure> {
    let mut buf = ReadBuf::from(BytesMut::zeroed(io.len as usize));
    while let Some(turn) = turns.next() {
        let at = turn * u64::from(io.len);
        let done = unit.read(at, buf, ReadOptions::default()).await;
        done.result.map_err(Failure::new)?;
        buf = done.buf;
    }
    Ok(())
}

async fn writes(unit: &LogicalUnit, io: Io, turns: &Turns) -> Result<(), Failure> {
    let mut buf = WriteBuf::from(Bytes::from(vec![0x5a; io.len as usize]));
    while let Some(turn) = turns.next() {
        let at = turn * u64::from(io.len);
        let done = unit.write(at, buf, WriteOptions::default()).await;
        done.result.map_err(Failure::new)?;
        buf = done.buf;
    }
    Ok(())
}
