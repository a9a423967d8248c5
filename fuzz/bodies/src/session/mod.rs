//! The session core in full feature phase: a script of target PDUs, calls and time steps.
//!
//! * `target` makes PDUs that a target could send, and breaks some of them.
//! * `calls` is what a caller does.
//! * `judge` reads what we send, `reads` what a read may say that it got.

mod calls;
mod heard;
mod judge;
mod memory;
mod reads;
mod target;

use std::{collections::BTreeMap, time::Duration};

use iscsi_proto::{
    Error, InitiatorTaskTag, Instant, Isid,
    framing::{DataRef, DataStore, TransmitPiece},
    login::LoginConfig,
    pdu::Residual,
    planted::Planted,
    scsi::status::ScsiStatus,
    session::{DataLength, Event, Session, SessionConfig, TimeoutLadder},
    text::{Digest, DigestOffer, OperationalOffer, TaskReportingOffer},
};

use self::{
    judge::{Digests, Judge},
    memory::Memory,
    reads::Reads,
};
use crate::{Script, memory::Meter, peer};

/// Commands that may be under way.
const TASKS: u16 = 16;
/// Of one command, so that several PDUs make a burst and several bursts a command.
const MAX_LENGTH: u32 = 16 * 1024;
/// What all of it may hold, with the memory of the commands and the oracle's own (I10).
const CAP: usize = 4 << 20;

/// What was asked of the session and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Command(DataLength),
    Ping,
    Text,
    Function,
    Renegotiation,
}

struct World {
    session: Session,
    now: Instant,
    memory: Memory,
    judge: Judge,
    reads: Reads,
    asked: BTreeMap<InitiatorTaskTag, Asked>,
    target: target::Target,
    heard: heard::Heard,
    digests: Digests,
    /// The error that ended it.
    over: Option<Error>,
}

fn offer(kind: u8) -> OperationalOffer {
    let digest = |on| {
        if on {
            DigestOffer::RequireCrc32c
        } else {
            DigestOffer::None
        }
    };
    OperationalOffer::default()
        .with_header_digest(digest(Script::bit(kind, 0)))
        .with_data_digest(digest(Script::bit(kind, 1)))
        .with_initial_r2t(Script::bit(kind, 2))
        .with_immediate_data(Script::bit(kind, 3))
        .with_task_reporting(if Script::bit(kind, 4) {
            TaskReportingOffer::PreferFastAbort
        } else {
            TaskReportingOffer::PreferResponseFence
        })
        .with_max_recv_data_segment_length(8192)
        .and_then(|offer| offer.with_max_burst_length(4096))
        .and_then(|offer| offer.with_first_burst_length(2048))
        .and_then(|offer| offer.with_max_outstanding_r2t(2))
        .expect("in range")
}

fn config(kind: u8, planted: Planted) -> SessionConfig {
    let mut config = SessionConfig::default();
    config.planted = planted;
    config.max_tasks = TASKS;
    config.scratch = 4096;
    config.max_text = 16 * 1024;
    // So that generations wrap.
    config.first_generation = u32::MAX - 1;
    config.ladder = TimeoutLadder::default();
    if Script::bit(kind, 0) {
        config.ladder.logical_unit_reset = Some(Duration::from_secs(2));
    }
    if Script::bit(kind, 1) {
        config.ladder.abort_task = None;
    }
    if Script::bit(kind, 2) {
        config.nop_interval = None;
    }
    if Script::bit(kind, 3) {
        config.read_ahead_large = 512;
    }
    config
}

impl World {
    fn new(script: &mut Script<'_>, planted: Planted) -> Self {
        let (terms, limits) = (script.byte(), script.byte());
        let name = |text: &str| text.parse().expect("a name");
        let (host, disk) = (
            name("iqn.2026-01.example:host"),
            name("iqn.2026-01.example:disk"),
        );
        let login = LoginConfig::normal(host, disk, Isid([2; 6])).with_offer(offer(terms));
        // So that serial numbers wrap: every random number is this.
        let login = peer::log_in(login, 0xffff_fffe, |key, value| {
            Some(match key {
                "MaxRecvDataSegmentLength" => "512".into(),
                "TaskReporting" => value.split(',').next()?.into(),
                // What is offered suits the target.
                _ => value.into(),
            })
        });
        let login = login.expect("an obliging target");
        let p = login.parameters();
        let digests = Digests {
            header: p.header_digest == Digest::Crc32c,
            data: p.data_digest == Digest::Crc32c,
        };
        let unasked = match (p.initial_r2t, p.immediate_data) {
            (true, false) => 0,
            _ => p.first_burst_length,
        };
        let window = (login.cmd_sn(), login.max_cmd_sn());
        let bursts = (unasked, p.max_xmit_data_segment_length);
        let target = target::Target::new(login.exp_stat_sn(), window);
        let session = Session::new(Instant::ZERO, login, config(limits, planted));
        Self {
            session: session.expect("in range"),
            now: Instant::ZERO,
            memory: Memory::default(),
            judge: Judge::new(digests, window, bursts),
            reads: Reads::default(),
            asked: BTreeMap::new(),
            target,
            heard: heard::Heard::default(),
            digests,
            over: None,
        }
    }

    fn end(&mut self, error: Error) {
        self.over = Some(error);
        self.session.handle_closed(error);
    }

    /// Sends at most `most` bytes of what is to be sent.
    fn send(&mut self, mut most: usize) {
        while most > 0 && self.session.poll_transmit(self.now, 4096, &self.memory) {
            let mut bytes = Vec::new();
            for piece in self.session.transmit_pieces() {
                match piece {
                    TransmitPiece::Inline(inline) => bytes.extend_from_slice(inline),
                    TransmitPiece::Data(data) => bytes.extend_from_slice(self.memory.bytes(data)),
                }
            }
            bytes.truncate(most);
            most -= bytes.len();
            let sent = self.session.handle_transmitted(self.now, bytes.len());
            sent.expect("as planned");
            self.judge.hear(&bytes);
        }
    }

    /// Brings bytes of one PDU, in pieces of at most `cut`.
    fn receive(&mut self, mut bytes: &[u8], cut: usize) {
        while !bytes.is_empty() && self.over.is_none() {
            let plan = self.session.recv_plan();
            let direct = plan.payload.map_or(0, |data| data.len as usize);
            let n = bytes.len().min(cut).min(direct + plan.scratch.len());
            assert!(n > 0, "there is always room");
            let (payload, ahead) = bytes[..n].split_at(n.min(direct));
            plan.scratch[..ahead.len()].copy_from_slice(ahead);
            if let (Some(data), false) = (plan.payload, payload.is_empty()) {
                let len = payload.len() as u32;
                self.memory.store(DataRef { len, ..data }, payload);
            }
            bytes = &bytes[n..];
            if let Err(error) = self.session.handle_recv(self.now, n, &mut self.memory) {
                self.end(error);
            }
        }
    }

    /// Time passes, stopping at each timer.
    fn pass(&mut self, by: Duration) {
        let until = self.now.saturating_add(by);
        for _ in 0..1000 {
            match self.session.poll_timeout().filter(|at| *at <= until) {
                Some(at) if self.over.is_none() => {
                    self.now = self.now.max(at);
                    if let Err(error) = self.session.handle_timeout(self.now) {
                        self.end(error);
                    }
                    // What a timer has to say goes out, as a driver lets it.
                    self.send(usize::MAX);
                    self.events();
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("timers that do not get done");
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::CommandDone { itt, result } => {
                    let Some(Asked::Command(data)) = self.asked.remove(&itt) else {
                        panic!("{itt:?} ended twice, or was no command (I4)");
                    };
                    let memory = self.memory.0.remove(&itt).expect("it was there until now");
                    let good = result.as_ref().ok().map(|response| response.transferred);
                    match data {
                        DataLength::In(len) => {
                            let whole = result.as_ref().is_ok_and(|response| {
                                response.status == ScsiStatus::Good
                                    && response.residual == Residual::None
                            });
                            assert!(!whole || good == Some(len), "GOOD with {good:?} of {len}");
                            self.reads.judge(itt, good, &memory);
                        }
                        DataLength::Out(len) => {
                            assert!(good.is_none_or(|taken| taken <= len));
                            let same = memory.iter().zip(0..);
                            let mut same = same.map(|(byte, at)| *byte == memory::content(itt, at));
                            assert!(same.all(|one| one), "a write was written to");
                        }
                        DataLength::None => {}
                    }
                    self.target.forget(itt);
                }
                Event::PingDone { itt, .. } => self.ended(itt, Asked::Ping),
                Event::TextDone { itt, .. } => self.ended(itt, Asked::Text),
                Event::TaskManagementDone { itt, .. } => self.ended(itt, Asked::Function),
                Event::Renegotiated { itt, .. } => self.ended(itt, Asked::Renegotiation),
                // Of tasks that ended before; what the target wants; what was negotiated.
                _ => {}
            }
        }
        self.lengths();
    }

    fn ended(&mut self, itt: InitiatorTaskTag, kind: Asked) {
        assert_eq!(
            self.asked.remove(&itt),
            Some(kind),
            "{itt:?} ended twice (I4)"
        );
    }

    /// The target may have declared another length meanwhile.
    fn lengths(&mut self) {
        let length = self.session.parameters().max_xmit_data_segment_length;
        self.judge.longest_segment(length);
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() {
            0..=55 => self.call(script),
            56..=75 => {
                let by = Duration::from_millis(u64::from(script.byte()) * 100);
                self.pass(by);
            }
            76..=95 => self.send(script.below(1200)),
            _ => {
                let said = self.say(script);
                for _ in 0..said.times {
                    self.listen(&said);
                    self.receive(&said.bytes, said.cut);
                }
            }
        }
        if self.over.is_none() {
            self.events();
        }
    }
}

/// The first bytes choose what was negotiated, the others are steps. Oracles: I3 (a read has the bytes
/// that came for it, and no others), I4 (everything ends exactly once), I10 (memory), I11 (the window),
/// no byte outside the memory of a live command, every PDU of ours well-formed, every byte of a write
/// its own and asked for, no timer that fires for ever.
///
/// # Panics
///
/// Where they do not hold.
pub fn session(input: &[u8]) {
    session_with(input, Planted::NONE);
}

/// As [`session`], with a bug switched on, for the proof that the oracles see it.
///
/// # Panics
///
/// Where they do.
pub fn session_with(input: &[u8], planted: Planted) {
    let mut script = Script::new(input);
    let meter = Meter::start();
    let mut world = World::new(&mut script, planted);
    while !script.is_over() && world.over.is_none() {
        world.step(&mut script);
        meter.holds_at_most(CAP);
    }
    if world.over.is_none() {
        world.send(usize::MAX);
        world.end(Error::Closed);
    }
    assert!(
        !world.session.poll_transmit(world.now, 4096, &world.memory),
        "sent after the end"
    );
    world.events();
    assert!(world.asked.is_empty(), "never ended: {:?}", world.asked);
    assert!(world.memory.0.is_empty());
}
