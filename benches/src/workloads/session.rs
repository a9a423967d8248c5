//! Commands through `Session::execute`: futures, queue, driver and core, over a connection in memory.

use iscsi_client::session::{Payload, ScsiRequest, Session};
use iscsi_proto::{
    Lun,
    scsi::{Cdb, ScsiStatus},
};

use super::{
    Workload,
    io::{Io, K, M, Turns},
};
use crate::{failure::Failure, machine::Local, rig::Rig, target::Settings};

pub(super) const WORKLOADS: &[Workload] = &[
    of("session/read-4k-qd1", 1000, |ops| {
        run(Settings::PLAIN, Io::read(4 * K, 1), ops)
    }),
    of("session/read-4k-qd32", 3200, |ops| {
        run(Settings::PLAIN, Io::read(4 * K, 32), ops)
    }),
    of("session/read-4k-qd32-digests", 1600, |ops| {
        run(Settings::DIGESTS, Io::read(4 * K, 32), ops)
    }),
    of("session/write-4k-qd1", 1000, |ops| {
        run(Settings::PLAIN, Io::write(4 * K, 1), ops)
    }),
    of("session/write-4k-qd32", 3200, |ops| {
        run(Settings::PLAIN, Io::write(4 * K, 32), ops)
    }),
    of("session/read-256k-qd8", 160, |ops| {
        run(Settings::PLAIN, Io::read(256 * K, 8), ops)
    }),
    of("session/read-1m-qd8", 40, |ops| {
        run(Settings::PLAIN, Io::read(M, 8), ops)
    }),
    of("session/write-1m-qd8", 40, |ops| {
        run(Settings::PLAIN, Io::write(M, 8), ops)
    }),
    of("session/write-1m-qd8-r2t", 40, |ops| {
        run(Settings::R2T, Io::write(M, 8), ops)
    }),
];

const fn of(name: &'static str, counted: u64, run: fn(u64) -> Result<(), Failure>) -> Workload {
    Workload {
        name,
        about: "an I/O through `Session::execute`, the target's work included",
        warm: if counted < 320 { 16 } else { 320 },
        counted,
        run,
    }
}

fn run(settings: Settings, io: Io, ops: u64) -> Result<(), Failure> {
    let mut rig = Rig::new(settings)?;
    let session = rig.session()?;
    let turns = Turns::new(ops);
    let slots = (0..io.depth).map(|_| Box::pin(slot(&session, io, &turns)) as Local<'_>);
    rig.machine.run(slots.collect())
}

/// One of those that are under way at a time, with memory of its own.
async fn slot(session: &Session, io: Io, turns: &Turns) -> Result<(), Failure> {
    let memory = vec![0x5a; io.len as usize];
    let mut payload = if io.write {
        Payload::Out(bytes::Bytes::from(memory).into())
    } else {
        Payload::In(bytes::BytesMut::from(&memory[..]).into())
    };
    while let Some(turn) = turns.next() {
        let lba = turn * u64::from(io.blocks());
        let cdb = match io.write {
            true => Cdb::write16(lba, io.blocks(), false),
            false => Cdb::read16(lba, io.blocks(), false),
        };
        let request = ScsiRequest::new(Lun::ZERO, cdb, payload);
        let done = session.execute(request).await;
        let response = done.result.map_err(Failure::new)?;
        if response.status != ScsiStatus::Good || response.transferred != io.len {
            return Err(Failure::new(format!("{response:?}")));
        }
        payload = done.payload;
    }
    Ok(())
}
