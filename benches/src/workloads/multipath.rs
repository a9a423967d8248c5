//! Reads and writes of a multipath device, by its own methods and as a `dyn BlockDevice`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDevice, ReadOptions, WriteOptions},
};
use mpio::{
    MultipathDevice,
    core::{Config, PathAttributes},
};

use super::{
    Workload,
    io::{Io, K, Turns},
};
use crate::{failure::Failure, machine::Local, rig::Rig, target::Settings};

pub(super) const WORKLOADS: &[Workload] = &[
    of("multipath/1-path-read-4k-qd1", 1000, |ops| {
        run(1, Io::read(4 * K, 1), ops)
    }),
    of("multipath/1-path-read-4k-qd32", 1600, |ops| {
        run(1, Io::read(4 * K, 32), ops)
    }),
    of("multipath/1-path-write-4k-qd32", 1600, |ops| {
        run(1, Io::write(4 * K, 32), ops)
    }),
    of("multipath/2-paths-read-4k-qd32", 1600, |ops| {
        run(2, Io::read(4 * K, 32), ops)
    }),
    of("multipath/2-paths-write-4k-qd32", 1600, |ops| {
        run(2, Io::write(4 * K, 32), ops)
    }),
    of("multipath/dyn-read-4k-qd32", 1600, |ops| {
        let (rig, device) = device(1)?;
        let device: Arc<dyn BlockDevice> = Arc::new(device);
        let turns = Turns::new(ops);
        let slots = (0..32).map(|_| Box::pin(dyn_reads(&*device, &turns)) as Local<'_>);
        rig.machine.run(slots.collect())
    }),
];

const fn of(name: &'static str, counted: u64, run: fn(u64) -> Result<(), Failure>) -> Workload {
    Workload {
        name,
        about: "an I/O through `MultipathDevice`, the target's work included",
        warm: 320,
        counted,
        run,
    }
}

fn device(paths: usize) -> Result<(Rig, MultipathDevice), Failure> {
    let mut rig = Rig::new(Settings::PLAIN)?;
    let mut units = Vec::new();
    for at in 0..paths {
        let attributes = PathAttributes::new(format!("path {at}"));
        units.push((attributes, rig.unit()?));
    }
    let runtime = Arc::new(rig.machine.clone());
    let joined = MultipathDevice::new(runtime, Config::default(), units);
    let (device, driver) = joined.map_err(Failure::new)?;
    iscsi_client::runtime::Runtime::spawn(&rig.machine, Box::pin(driver));
    Ok((rig, device))
}

fn run(paths: usize, io: Io, ops: u64) -> Result<(), Failure> {
    let (rig, device) = device(paths)?;
    let turns = Turns::new(ops);
    let slots = (0..io.depth).map(|_| match io.write {
        true => Box::pin(writes(&device, io, &turns)) as Local<'_>,
        false => Box::pin(reads(&device, io, &turns)) as Local<'_>,
    });
    rig.machine.run(slots.collect())
}

async fn reads(device: &MultipathDevice, io: Io, turns: &Turns) -> Result<(), Failure> {
    let mut buf = ReadBuf::from(BytesMut::zeroed(io.len as usize));
    while let Some(turn) = turns.next() {
        let at = turn * u64::from(io.len);
        let done = device.read(at, buf, ReadOptions::default()).await;
        done.result.map_err(Failure::new)?;
        buf = done.buf;
    }
    Ok(())
}

async fn writes(device: &MultipathDevice, io: Io, turns: &Turns) -> Result<(), Failure> {
    let mut buf = WriteBuf::from(Bytes::from(vec![0x5a; io.len as usize]));
    while let Some(turn) = turns.next() {
        let at = turn * u64::from(io.len);
        let done = device.write(at, buf, WriteOptions::default()).await;
        done.result.map_err(Failure::new)?;
        buf = done.buf;
    }
    Ok(())
}

async fn dyn_reads(device: &dyn BlockDevice, turns: &Turns) -> Result<(), Failure> {
    const LEN: u32 = 4 * K;
    let mut buf = ReadBuf::from(BytesMut::zeroed(LEN as usize));
    while let Some(turn) = turns.next() {
        let at = turn * u64::from(LEN);
        let done = device.read(at, buf, ReadOptions::default()).await;
        done.result.map_err(Failure::new)?;
        buf = done.buf;
    }
    Ok(())
}
