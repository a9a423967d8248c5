//! A discovery session whose target says whatever it likes.

use std::time::Duration;

use iscsi_proto::{
    Instant, Isid, Lun, TargetTransferTag,
    framing::{DataRef, DataStore, TransmitPiece},
    login::LoginConfig,
    pdu::{Bhs, Pdu, TextRequest, TextResponse, pad_len},
    serial::{CmdSn, StatSn},
    session::{Event, Session, SessionConfig},
    text::send_targets,
};

use crate::{Script, memory::Meter, peer};

/// No command is ever submitted.
struct NoMemory;

impl DataStore for NoMemory {
    fn store(&mut self, _: DataRef, _: &[u8]) {
        panic!("memory of no command");
    }

    fn visit(&self, _: DataRef, _: &mut dyn FnMut(&[u8])) {
        panic!("memory of no command");
    }
}

/// The most text that the session gathers here.
const MAX_TEXT: usize = 64 * 1024;

struct Talk {
    session: Session,
    now: Instant,
    stat_sn: u32,
    requests: u32,
    /// The last request that was not answered.
    open: Option<TextRequest>,
}

impl Talk {
    fn new() -> Self {
        let name = "iqn.2026-01.example:host".parse().expect("a name");
        let config = LoginConfig::discovery(name, Isid([2; 6]));
        let login = peer::log_in(config, 0, |_, _| None).expect("nothing to refuse");
        let stat_sn = login.exp_stat_sn().0;
        let mut config = SessionConfig::default();
        config.max_text = MAX_TEXT;
        config.scratch = 4096;
        config.max_tasks = 4;
        Self {
            session: Session::new(Instant::ZERO, login, config).expect("in range"),
            now: Instant::ZERO,
            stat_sn,
            requests: 0,
            open: None,
        }
    }

    /// Everything that we send now.
    fn listen(&mut self) {
        while self.session.poll_transmit(self.now, 4096, &NoMemory) {
            let mut bytes = Vec::new();
            for piece in self.session.transmit_pieces() {
                match piece {
                    TransmitPiece::Inline(inline) => bytes.extend_from_slice(inline),
                    TransmitPiece::Data(data) => panic!("{data:?} of no command"),
                }
            }
            let sent = self.session.handle_transmitted(self.now, bytes.len());
            sent.expect("as planned");
            self.judge(&bytes);
        }
    }

    fn judge(&mut self, mut bytes: &[u8]) {
        while let Some((header, rest)) = bytes.split_first_chunk::<{ Bhs::LEN }>() {
            let bhs = Bhs::from(*header);
            let len = bhs.data_segment_length() as usize;
            bytes = &rest[len + pad_len(len)..];
            if let Pdu::TextRequest(request) = Pdu::parse(&bhs).expect("our own") {
                assert_eq!(self.open, None, "two requests of one exchange");
                self.open = Some(request);
                self.requests += 1;
            }
        }
        assert!(bytes.is_empty(), "only whole PDUs");
    }

    /// A Text Response as the script has it, mostly to the request that is open.
    fn respond(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let kind = script.byte();
        let itt = self
            .open
            .map_or(iscsi_proto::InitiatorTaskTag(0), |open| open.itt);
        let more = Script::bit(kind, 0);
        let mut header = TextResponse {
            is_final: !more,
            cont: more && Script::bit(kind, 1),
            data_segment_length: 0,
            lun: Lun::ZERO,
            itt,
            ttt: if more {
                TargetTransferTag(7)
            } else {
                TargetTransferTag::RESERVED
            },
            stat_sn: StatSn(self.stat_sn),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(31),
        };
        match kind >> 3 {
            0 => header.ttt = TargetTransferTag(script.u32()),
            1 => header.itt.0 = script.u32(),
            2 => header.stat_sn.0 = script.u32(),
            3 => (header.is_final, header.cont) = (true, true),
            _ => {}
        }
        let mut text = Vec::new();
        for _ in 0..script.byte() % 4 {
            let pair = match script.byte() % 4 {
                0 => format!("TargetName=iqn.2026-01.example:disk{}\0", script.byte()),
                1 => format!(
                    "TargetAddress=10.0.0.{}:3260,{}\0",
                    script.byte(),
                    script.byte()
                ),
                _ => {
                    let len = script.below(24);
                    String::from_utf8_lossy(script.bytes(len)).into_owned()
                }
            };
            // Many times over, so that the caps come into reach.
            let times = if Script::bit(kind, 2) {
                script.below(400)
            } else {
                1
            };
            text.extend(pair.as_bytes().repeat(times));
        }
        text.truncate(8192);
        header.data_segment_length = text.len() as u32;
        let mut bytes = header.emit().as_bytes().to_vec();
        bytes.extend_from_slice(&text);
        bytes.resize(bytes.len() + pad_len(text.len()), 0);
        self.stat_sn = self.stat_sn.wrapping_add(1);
        self.open = None;
        bytes
    }

    /// False once the session has refused it.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let plan = self.session.recv_plan();
            assert!(plan.payload.is_none(), "memory of no command");
            let n = plan.scratch.len().min(bytes.len());
            plan.scratch[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if let Err(error) = self.session.handle_recv(self.now, n, &mut NoMemory) {
                self.session.handle_closed(error);
                return false;
            }
        }
        true
    }

    /// What the exchange came to, if it is over.
    fn ended(&mut self) -> Option<Option<Vec<u8>>> {
        let mut ended = None;
        while let Some(event) = self.session.poll_event() {
            if let Event::TextDone { result, .. } = event {
                assert!(ended.is_none(), "one exchange, one end");
                ended = Some(result.ok());
            }
        }
        ended
    }
}

fn judge(text: &[u8]) {
    assert!(text.len() <= MAX_TEXT, "{} bytes", text.len());
    let Ok(found) = send_targets::parse(text, Some("eth0")) else {
        return;
    };
    assert!(found.targets.len() <= send_targets::MAX_TARGETS);
    assert!(
        found
            .targets
            .iter()
            .all(|t| t.portals.len() <= send_targets::MAX_PORTALS)
    );
    assert!(found.skipped.len() <= send_targets::MAX_SKIPPED);
}

/// `SendTargets=All` and answers to it. Oracles: the exchange ends exactly once, each request asks for
/// more only after an answer, at most as many requests go out as answers came, text and memory are bounded.
///
/// # Panics
///
/// Where they do not hold.
pub fn discovery(input: &[u8]) {
    let mut script = Script::new(input);
    let meter = Meter::start();
    let mut talk = Talk::new();
    let asked = talk.session.text(talk.now, b"SendTargets=All\0");
    asked.expect("nothing else is under way");
    let (mut answers, mut ended) = (0, None);
    while !script.is_over() && ended.is_none() {
        talk.listen();
        assert!(talk.requests <= answers + 1);
        if script.byte() == 0 {
            let wait = Duration::from_millis(script.u16().into());
            talk.now = talk.now.saturating_add(wait);
            if let Err(error) = talk.session.handle_timeout(talk.now) {
                talk.session.handle_closed(error);
            }
        } else {
            let bytes = talk.respond(&mut script);
            answers += 1;
            talk.feed(&bytes);
        }
        ended = talk.ended();
        meter.holds_at_most(1 << 20);
    }
    talk.session.handle_closed(iscsi_proto::Error::Closed);
    let late = talk.ended();
    assert_ne!(ended.is_some(), late.is_some(), "one exchange, one end");
    if let Some(text) = ended.flatten() {
        judge(&text);
    }
}
