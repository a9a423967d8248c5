//! What we send, cut into PDUs and judged apart from the code that made it.

use std::collections::BTreeMap;

use iscsi_proto::{
    InitiatorTaskTag, TargetTransferTag, digest,
    pdu::{Bhs, Pdu, TaskManagementRequest, pad_len},
    serial::CmdSn,
};

use super::memory::content;

/// Digests of both directions.
#[derive(Clone, Copy)]
pub(super) struct Digests {
    pub(super) header: bool,
    pub(super) data: bool,
}

/// What was asked of a write, and sent.
#[derive(Default)]
struct Sent {
    /// Expected data transfer length.
    length: u32,
    /// The bytes that came, with the command, unasked and asked, each at most once.
    bytes: u32,
    /// What may come: what was agreed for the unasked, and every R2T.
    allowed: u32,
}

/// The stream of the initiator, as a target sees it.
pub(super) struct Judge {
    digests: Digests,
    stream: Vec<u8>,
    /// The next CmdSN.
    cmd_sn: CmdSn,
    /// The window as the target last told it.
    exp_cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    first_burst: u32,
    max_segment: u32,
    sent: BTreeMap<InitiatorTaskTag, Sent>,
    /// R2Ts that were given: where their data has to begin, and how much of it is to come.
    asked: Vec<(InitiatorTaskTag, TargetTransferTag, u32, u32)>,
    /// Requests that want an answer, in the order of their coming; the last few.
    pub(super) pings: Vec<InitiatorTaskTag>,
    pub(super) texts: Vec<InitiatorTaskTag>,
    pub(super) functions: Vec<TaskManagementRequest>,
    pub(super) logouts: Vec<InitiatorTaskTag>,
    /// Commands that the target has got.
    pub(super) commands: Vec<InitiatorTaskTag>,
    /// Headers, for Rejects.
    pub(super) headers: Vec<Bhs>,
}

impl Judge {
    pub(super) fn new(digests: Digests, window: (CmdSn, CmdSn), bursts: (u32, u32)) -> Self {
        Self {
            digests,
            stream: Vec::new(),
            cmd_sn: window.0,
            exp_cmd_sn: window.0,
            max_cmd_sn: window.1,
            first_burst: bursts.0,
            max_segment: bursts.1,
            sent: BTreeMap::new(),
            asked: Vec::new(),
            pings: Vec::new(),
            texts: Vec::new(),
            functions: Vec::new(),
            logouts: Vec::new(),
            commands: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The target is about to say this of its window (section 4.2.2.1).
    pub(super) fn window(&mut self, exp: CmdSn, max: CmdSn) {
        if max.next().precedes(exp) {
            return;
        }
        if self.exp_cmd_sn.precedes(exp) {
            self.exp_cmd_sn = exp;
        }
        if self.max_cmd_sn.precedes(max) {
            self.max_cmd_sn = max;
        }
    }

    /// The target is about to ask for data.
    pub(super) fn asks(
        &mut self,
        itt: InitiatorTaskTag,
        ttt: TargetTransferTag,
        offset: u32,
        len: u32,
    ) {
        self.asked.push((itt, ttt, offset, len));
        if let Some(sent) = self.sent.get_mut(&itt) {
            sent.allowed = sent.allowed.saturating_add(len);
        }
    }

    /// The next CmdSN of the initiator.
    pub(super) const fn next_cmd_sn(&self) -> CmdSn {
        self.cmd_sn
    }

    /// Bytes of a write that came.
    pub(super) fn received(&self, itt: InitiatorTaskTag) -> u32 {
        self.sent.get(&itt).map_or(0, |sent| sent.bytes)
    }

    /// The two may agree on another length meanwhile.
    pub(super) fn longest_segment(&mut self, length: u32) {
        self.max_segment = self.max_segment.max(length);
    }

    /// More of the stream.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
        let stream = std::mem::take(&mut self.stream);
        let mut rest = &stream[..];
        while let Some(len) = self.pdu(rest) {
            rest = &rest[len..];
        }
        self.stream = rest.to_vec();
    }

    /// Judges the PDU at the front, if it is there as a whole, and says how long it is.
    fn pdu(&mut self, bytes: &[u8]) -> Option<usize> {
        let (header, _) = bytes.split_first_chunk::<{ Bhs::LEN }>()?;
        let bhs = Bhs::from(*header);
        let pdu = Pdu::parse(&bhs).expect("well-formed");
        assert_eq!(pdu.emit(), bhs, "reserved bits are zero");
        let ahs = match &pdu {
            Pdu::ScsiCommand(command) => usize::from(command.total_ahs_length) * 4,
            _ => 0,
        };
        let mut at = Bhs::LEN + ahs;
        if self.digests.header {
            check(bytes.get(..at)?, bytes.get(at..at + 4)?);
            at += 4;
        }
        let len = bhs.data_segment_length() as usize;
        let padded = bytes.get(at..at + len + pad_len(len))?;
        let (data, padding) = padded.split_at(len);
        at += padded.len();
        if self.digests.data && len > 0 {
            check(padded, bytes.get(at..at + 4)?);
            at += 4;
        }
        assert!(padding.iter().all(|byte| *byte == 0), "padding is zero");
        assert!(
            len <= self.max_segment as usize,
            "longer than the target takes"
        );
        self.meaning(&pdu, data);
        self.headers.push(bhs);
        Some(at)
    }

    fn meaning(&mut self, pdu: &Pdu, data: &[u8]) {
        match pdu {
            Pdu::ScsiCommand(command) => {
                assert_eq!(command.cmd_sn, self.cmd_sn, "CmdSN has a gap");
                assert!(
                    self.cmd_sn.precedes_or_equals(self.max_cmd_sn),
                    "past MaxCmdSN (I11)"
                );
                self.cmd_sn = self.cmd_sn.next();
                let sent = Sent {
                    length: command.expected_data_transfer_length,
                    bytes: 0,
                    allowed: self.first_burst,
                };
                self.sent.insert(command.itt, sent);
                self.commands.push(command.itt);
                self.data(command.itt, 0, data);
            }
            Pdu::DataOut(out) => {
                if out.ttt != TargetTransferTag::RESERVED {
                    let asked = self.asked.iter_mut();
                    let mut burst = asked.filter(|asked| (asked.0, asked.1) == (out.itt, out.ttt));
                    let burst = burst.find(|burst| burst.2 == out.buffer_offset && burst.3 > 0);
                    let burst = burst.expect("data that no R2T asks for");
                    let len = data.len() as u32;
                    assert!(len <= burst.3, "more than the R2T asks for");
                    burst.2 += len;
                    burst.3 -= len;
                }
                self.data(out.itt, out.buffer_offset, data);
            }
            Pdu::NopOut(nop) => {
                // It fills the gap that a rejected command left (section 7.3).
                assert!(
                    nop.immediate || nop.cmd_sn.precedes(self.cmd_sn),
                    "CmdSN from nowhere"
                );
                if nop.itt != InitiatorTaskTag::RESERVED {
                    self.pings.push(nop.itt);
                }
            }
            Pdu::TextRequest(text) => {
                if !text.immediate {
                    self.takes_cmd_sn(text.cmd_sn);
                }
                self.texts.push(text.itt);
            }
            Pdu::TaskManagementRequest(function) => {
                if !function.immediate {
                    self.takes_cmd_sn(function.cmd_sn);
                }
                self.functions.push(*function);
            }
            Pdu::LogoutRequest(logout) => {
                if !logout.immediate {
                    self.takes_cmd_sn(logout.cmd_sn);
                }
                self.logouts.push(logout.itt);
            }
            other => panic!("no initiator sends {other}"),
        }
    }

    fn takes_cmd_sn(&mut self, cmd_sn: CmdSn) {
        assert_eq!(cmd_sn, self.cmd_sn, "CmdSN has a gap");
        assert!(
            cmd_sn.precedes_or_equals(self.max_cmd_sn),
            "past MaxCmdSN (I11)"
        );
        self.cmd_sn = cmd_sn.next();
    }

    fn data(&mut self, itt: InitiatorTaskTag, offset: u32, data: &[u8]) {
        let sent = self.sent.get_mut(&itt).expect("data of no command");
        let len = data.len() as u32;
        assert!(
            offset.saturating_add(len) <= sent.length,
            "data past the end of the write"
        );
        let right = data
            .iter()
            .zip(offset..)
            .all(|(byte, at)| *byte == content(itt, at));
        assert!(right, "the bytes are not those of this write");
        sent.bytes += len;
        assert!(sent.bytes <= sent.allowed, "more data than was asked for");
    }
}

fn check(covered: &[u8], found: &[u8]) {
    assert_eq!(
        found,
        digest::to_wire(digest::crc32c(0, covered)),
        "our digest"
    );
}
