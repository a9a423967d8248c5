//! The sans-IO session: no runtime, no futures, no driver.

use iscsi_proto::{
    Instant, Lun,
    framing::{DataRef, DataStore, TransmitPiece},
    scsi::{Cdb, ScsiStatus},
    session::{Command, DataLength, Event, Session, SessionConfig},
};

use super::{
    Workload,
    io::{Io, K, M, Turns},
    login,
};
use crate::{
    failure::Failure,
    target::{Settings, Target},
};

pub(super) const WORKLOADS: &[Workload] = &[
    of("core/read-4k-qd1", 1000, |ops| {
        run(Settings::PLAIN, Io::read(4 * K, 1), ops)
    }),
    of("core/read-4k-qd32", 3200, |ops| {
        run(Settings::PLAIN, Io::read(4 * K, 32), ops)
    }),
    of("core/read-4k-qd32-digests", 1600, |ops| {
        run(Settings::DIGESTS, Io::read(4 * K, 32), ops)
    }),
    of("core/write-4k-qd1", 1000, |ops| {
        run(Settings::PLAIN, Io::write(4 * K, 1), ops)
    }),
    of("core/write-4k-qd32", 3200, |ops| {
        run(Settings::PLAIN, Io::write(4 * K, 32), ops)
    }),
    of("core/write-4k-qd32-r2t", 1600, |ops| {
        run(Settings::R2T, Io::write(4 * K, 32), ops)
    }),
    of("core/read-256k-qd8", 160, |ops| {
        run(Settings::PLAIN, Io::read(256 * K, 8), ops)
    }),
    of("core/read-1m-qd8", 40, |ops| {
        run(Settings::PLAIN, Io::read(M, 8), ops)
    }),
    of("core/write-256k-qd8", 160, |ops| {
        run(Settings::PLAIN, Io::write(256 * K, 8), ops)
    }),
    of("core/write-1m-qd8", 40, |ops| {
        run(Settings::PLAIN, Io::write(M, 8), ops)
    }),
    of("core/write-1m-qd8-r2t", 40, |ops| {
        run(Settings::R2T, Io::write(M, 8), ops)
    }),
];

const fn of(name: &'static str, counted: u64, run: fn(u64) -> Result<(), Failure>) -> Workload {
    Workload {
        name,
        about: "an I/O through the sans-IO session, the target's work included",
        warm: if counted < 320 { 16 } else { 320 },
        counted,
        run,
    }
}

/// One buffer, which every command has.
struct Memory(Vec<u8>);

impl DataStore for Memory {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        self.0[at.offset as usize..][..at.len as usize].copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        visitor(&self.0[at.offset as usize..][..at.len as usize]);
    }
}

struct Rig {
    session: Session,
    target: Target,
    memory: Memory,
}

const NOW: Instant = Instant::ZERO;

fn run(settings: Settings, io: Io, ops: u64) -> Result<(), Failure> {
    let mut target = Target::new(settings);
    let login = login::logged_in(&mut target)?;
    let mut rig = Rig {
        session: Session::new(NOW, login, SessionConfig::default()).map_err(Failure::new)?,
        target,
        memory: Memory(vec![0; io.len as usize]),
    };
    let turns = Turns::new(ops);
    let (mut in_flight, mut done) = (0, 0);
    loop {
        while in_flight < io.depth {
            let Some(turn) = turns.next() else {
                break;
            };
            let lba = turn * u64::from(io.blocks());
            let (cdb, data) = if io.write {
                let cdb = Cdb::write16(lba, io.blocks(), false);
                (cdb, DataLength::Out(io.len))
            } else {
                let cdb = Cdb::read16(lba, io.blocks(), false);
                (cdb, DataLength::In(io.len))
            };
            let command = Command::new(Lun::ZERO, cdb, data);
            rig.session.submit(NOW, &command).map_err(Failure::new)?;
            in_flight += 1;
        }
        if in_flight == 0 {
            return match done {
                n if n == ops => Ok(()),
                n => Err(Failure::new(format!("{n} I/Os of {ops} were done"))),
            };
        }
        rig.send()?;
        rig.receive()?;
        while let Some(event) = rig.session.poll_event() {
            let Event::CommandDone {
                result: Ok(response),
                ..
            } = &event
            else {
                return Err(Failure::new(format!("{event:?}")));
            };
            if response.status != ScsiStatus::Good || response.transferred != io.len {
                return Err(Failure::new(format!("{response:?}")));
            }
            in_flight -= 1;
            done += 1;
        }
    }
}

impl Rig {
    fn send(&mut self) -> Result<(), Failure> {
        while self.session.poll_transmit(NOW, 256 << 10, &self.memory) {
            let mut n = 0;
            for piece in self.session.transmit_pieces() {
                let bytes = match piece {
                    TransmitPiece::Inline(bytes) => bytes,
                    TransmitPiece::Data(at) => {
                        &self.memory.0[at.offset as usize..][..at.len as usize]
                    }
                };
                self.target.feed(bytes);
                n += bytes.len();
            }
            let sent = self.session.handle_transmitted(NOW, n);
            sent.map_err(Failure::new)?;
        }
        Ok(())
    }

    /// All that the target has to say, and at least something.
    fn receive(&mut self) -> Result<(), Failure> {
        if self.target.pending() == 0 {
            return Err(Failure::new("the target does not answer"));
        }
        while self.target.pending() > 0 {
            let plan = self.session.recv_plan();
            let mut n = 0;
            if let Some(at) = plan.payload {
                let home = &mut self.memory.0[at.offset as usize..][..at.len as usize];
                n = self.target.fill(home);
            }
            n += self.target.fill(plan.scratch);
            let received = self.session.handle_recv(NOW, n, &mut self.memory);
            received.map_err(Failure::new)?;
        }
        if let Some(opcode) = self.target.confused() {
            return Err(Failure::new(format!("no answer to opcode {opcode:#04x}")));
        }
        Ok(())
    }
}
