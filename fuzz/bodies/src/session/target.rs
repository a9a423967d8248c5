//! What the target says: PDUs that fit where things stand, some of them broken.

use std::collections::BTreeMap;

use iscsi_proto::{
    InitiatorTaskTag, Lun, TargetTransferTag, digest,
    pdu::{
        AsyncEvent, AsyncMessage, Bhs, DataIn, LogoutResponse, LogoutResponseCode, NopIn, R2t,
        Reject, RejectReason, Residual, ScsiResponse, ServiceResponse, TaskManagementResponse,
        TaskManagementResponseCode, TextResponse, pad_len,
    },
    scsi::status::ScsiStatus,
    serial::{CmdSn, DataSn, R2tSn, StatSn},
    session::DataLength,
};

use super::{Asked, World};
use crate::Script;

/// How far a command is, for a target that keeps to the rules.
#[derive(Clone, Copy, Default)]
struct Progress {
    data_sn: u32,
    offset: u32,
    r2ts: u32,
    /// Where the next R2T begins.
    next: Option<u32>,
}

pub(super) struct Target {
    stat_sn: StatSn,
    max_cmd_sn: CmdSn,
    progress: BTreeMap<InitiatorTaskTag, Progress>,
    transfer_tag: u32,
}

/// A PDU on its way.
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    pub(super) times: u32,
    pub(super) cut: usize,
}

impl Target {
    pub(super) const fn new(stat_sn: StatSn, window: (CmdSn, CmdSn)) -> Self {
        Self {
            stat_sn,
            max_cmd_sn: window.1,
            progress: BTreeMap::new(),
            transfer_tag: 0,
        }
    }

    pub(super) fn forget(&mut self, itt: InitiatorTaskTag) {
        self.progress.remove(&itt);
    }

    const fn next_stat_sn(&mut self) -> StatSn {
        let next = self.stat_sn;
        self.stat_sn = next.next();
        next
    }
}

impl World {
    /// The next PDU of the script.
    pub(super) fn say(&mut self, script: &mut Script<'_>) -> Said {
        let kind = script.byte();
        self.move_window(script.byte());
        let (mut bhs, data) = match kind % 16 {
            0..=3 => self.data_in(script),
            4 | 5 => self.response(script),
            6 | 7 => self.r2t(script),
            8 => self.nop_in(script),
            9 => self.pong(script),
            10 => self.managed(script),
            11 => self.text(script),
            12 => self.logged_out(script),
            13 => self.message(script),
            14 => self.reject(script),
            _ => (Bhs::from(script.array()), Vec::new()),
        };
        let len = (data.len() as u32).to_be_bytes();
        if kind % 16 != 15 {
            bhs.as_bytes_mut()[5..8].copy_from_slice(&len[1..]);
        }
        let how = script.byte();
        for _ in 0..how.saturating_sub(200) % 5 {
            let at = script.below(Bhs::LEN);
            bhs.as_bytes_mut()[at] ^= script.byte();
        }
        Said {
            bytes: self.encode(&bhs, &data),
            times: match script.byte() {
                255 => 150,
                254 => 2,
                _ => 1,
            },
            cut: match script.byte() {
                small @ 0..=7 => usize::from(small) + 1,
                _ => usize::MAX,
            },
        }
    }

    fn encode(&self, bhs: &Bhs, data: &[u8]) -> Vec<u8> {
        let mut bytes = bhs.as_bytes().to_vec();
        if self.digests.header {
            bytes.extend(digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
        }
        if !data.is_empty() {
            let from = bytes.len();
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len() + pad_len(data.len()), 0);
            if self.digests.data {
                let crc = digest::crc32c(0, &bytes[from..]);
                bytes.extend(digest::to_wire(crc));
            }
        }
        bytes
    }

    fn move_window(&mut self, how: u8) {
        let max = &mut self.target.max_cmd_sn;
        let next = self.judge.next_cmd_sn();
        *max = match how {
            0 => CmdSn(next.0.wrapping_sub(1)),
            1 => next.plus(u32::MAX / 2),
            2..=127 => *max,
            n => next.plus(u32::from(n) % 16),
        };
    }

    /// A command that the target has got, of a kind.
    fn task(
        &self,
        script: &mut Script<'_>,
        wanted: fn(DataLength) -> bool,
    ) -> (InitiatorTaskTag, u32) {
        let has = |itt| self.judge.commands.contains(itt);
        let live: Vec<_> = self
            .asked
            .iter()
            .filter_map(|(itt, asked)| match asked {
                Asked::Command(data) if wanted(*data) && has(itt) => Some((*itt, *data)),
                _ => None,
            })
            .collect();
        let n = script.below(live.len().max(1));
        match live.get(n) {
            Some((itt, DataLength::In(len) | DataLength::Out(len))) => (*itt, *len),
            Some((itt, DataLength::None)) => (*itt, 0),
            None => (InitiatorTaskTag(script.u16().into()), 0),
        }
    }

    fn data_in(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let (itt, len) = self.task(script, |data| matches!(data, DataLength::In(_)));
        let progress = self.target.progress.entry(itt).or_default();
        let rest = len.saturating_sub(progress.offset);
        let most = match script.byte() {
            0..=127 => 4096,
            n => u32::from(n) * 16,
        };
        let take = rest.min(most);
        let flags = script.byte();
        let (sn, offset) = (progress.data_sn, progress.offset);
        let last = take == rest;
        progress.data_sn += 1;
        progress.offset += take;
        let status = (last && Script::bit(flags, 0)) || flags == 254;
        let fill = script.byte();
        let data = (0..take)
            .map(|at| (at as u8).wrapping_mul(3) ^ fill)
            .collect();
        let pdu = DataIn {
            is_final: last || status || Script::bit(flags, 1),
            acknowledge: flags == 253,
            status: status.then_some(ScsiStatus::Good),
            residual: match flags {
                252 => Residual::Underflow(rest - take),
                251 => Residual::Overflow(1),
                _ => Residual::None,
            },
            lun: Lun::ZERO,
            itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: if status {
                self.target.next_stat_sn()
            } else {
                StatSn(0)
            },
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            data_sn: DataSn(sn),
            buffer_offset: offset,
            data_segment_length: 0,
        };
        (pdu.emit(), data)
    }

    fn response(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let (itt, len) = self.task(script, |_| true);
        let progress = self.target.progress.get(&itt).copied().unwrap_or_default();
        let flags = script.byte();
        let status = match flags & 7 {
            0..=4 => ScsiStatus::Good,
            5 => ScsiStatus::CheckCondition,
            6 => ScsiStatus::Busy,
            _ => ScsiStatus::from_byte(script.byte()),
        };
        let mut sense = Vec::new();
        if status == ScsiStatus::CheckCondition {
            let len = script.below(260);
            sense = script.bytes(len).to_vec();
        }
        let moved = progress.offset.max(self.judge.received(itt));
        let pdu = ScsiResponse {
            response: match flags >> 5 {
                7 => ServiceResponse::from_byte(script.byte()),
                _ => ServiceResponse::CompletedAtTarget,
            },
            status,
            status_qualifier: 0,
            bidi_residual: Residual::None,
            residual: match flags >> 3 & 3 {
                0 | 1 if moved < len => Residual::Underflow(len - moved),
                2 => Residual::Overflow(script.u16().into()),
                _ => Residual::None,
            },
            itt,
            snack_tag: 0,
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            exp_data_sn: DataSn(progress.data_sn.max(progress.r2ts)),
            data_segment_length: 0,
        };
        (pdu.emit(), sense)
    }

    fn r2t(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let (itt, len) = self.task(script, |data| matches!(data, DataLength::Out(_)));
        let received = self.judge.received(itt);
        let progress = self.target.progress.entry(itt).or_default();
        let offset = *progress.next.get_or_insert(received);
        let want = match script.byte() {
            0..=127 => 4096,
            n => u32::from(n) * 16,
        };
        let want = want.min(len.saturating_sub(offset));
        progress.next = Some(offset + want);
        let sn = progress.r2ts;
        progress.r2ts += 1;
        self.target.transfer_tag += 1;
        let pdu = R2t {
            lun: Lun::ZERO,
            itt,
            ttt: TargetTransferTag(self.target.transfer_tag),
            stat_sn: self.target.stat_sn,
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            r2t_sn: R2tSn(sn),
            buffer_offset: offset,
            desired_data_transfer_length: want,
        };
        (pdu.emit(), Vec::new())
    }

    /// A ping of the target, or only news of the window.
    fn nop_in(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let asks = Script::bit(script.byte(), 0);
        let len = if asks { script.below(700) } else { 0 };
        let tag = TargetTransferTag(script.byte().into());
        let pdu = NopIn {
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt: if asks {
                tag
            } else {
                TargetTransferTag::RESERVED
            },
            stat_sn: self.target.stat_sn,
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            data_segment_length: 0,
        };
        (pdu.emit(), vec![0x5a; len])
    }

    fn pong(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let itt = last(&self.judge.pings, script).unwrap_or(InitiatorTaskTag(0));
        let pdu = NopIn {
            lun: Lun::ZERO,
            itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            data_segment_length: 0,
        };
        let len = script.below(8).saturating_sub(5);
        (pdu.emit(), script.bytes(len).to_vec())
    }

    fn managed(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let function = last(&self.judge.functions, script);
        let pdu = TaskManagementResponse {
            response: match script.byte() {
                0..=160 => TaskManagementResponseCode::FunctionComplete,
                code => TaskManagementResponseCode::from_byte(code % 9),
            },
            additional_response_information: [0; 3],
            itt: function.map_or(InitiatorTaskTag(0), |function| function.itt),
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
        };
        (pdu.emit(), Vec::new())
    }

    fn text(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let flags = script.byte();
        let more = Script::bit(flags, 0);
        let pdu = TextResponse {
            is_final: !more,
            cont: more && Script::bit(flags, 1),
            lun: Lun::ZERO,
            itt: last(&self.judge.texts, script).unwrap_or(InitiatorTaskTag(0)),
            ttt: if more {
                TargetTransferTag(9)
            } else {
                TargetTransferTag::RESERVED
            },
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            data_segment_length: 0,
        };
        let text = match flags >> 2 & 3 {
            0 => format!("MaxRecvDataSegmentLength={}\0", script.u16()).into_bytes(),
            1 => b"X-com.example.key=value\0".repeat(script.below(300)),
            _ => {
                let len = script.below(64);
                script.bytes(len).to_vec()
            }
        };
        (pdu.emit(), text)
    }

    fn logged_out(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let pdu = LogoutResponse {
            response: LogoutResponseCode::from_byte(script.byte() % 5),
            itt: last(&self.judge.logouts, script).unwrap_or(InitiatorTaskTag(0)),
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            time2wait: script.u16(),
            time2retain: 0,
        };
        (pdu.emit(), Vec::new())
    }

    fn message(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let event = AsyncEvent::from_byte(script.byte() % 7);
        let pdu = AsyncMessage {
            lun: Lun::new(u16::from(script.byte() & 1)),
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            event,
            vcode: 0,
            parameter1: script.byte().into(),
            parameter2: script.byte().into(),
            parameter3: script.byte().into(),
            data_segment_length: 0,
        };
        let len = script.below(40);
        (pdu.emit(), script.bytes(len).to_vec())
    }

    fn reject(&mut self, script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
        let pdu = Reject {
            reason: RejectReason::from_byte(script.byte() % 14),
            stat_sn: self.target.next_stat_sn(),
            exp_cmd_sn: self.judge.next_cmd_sn(),
            max_cmd_sn: self.target.max_cmd_sn,
            data_sn: DataSn(0),
            data_segment_length: 0,
        };
        let refused = last(&self.judge.headers, script).unwrap_or_default();
        let len = match script.byte() {
            n @ 240.. => usize::from(n) % 48,
            _ => 48,
        };
        (pdu.emit(), refused.as_bytes()[..len].to_vec())
    }
}

/// The last of them, or one of those before it.
fn last<T: Copy>(of: &[T], script: &mut Script<'_>) -> Option<T> {
    let back = script.byte();
    let back = if back < 192 {
        0
    } else {
        usize::from(back) % of.len().max(1)
    };
    of.iter().rev().nth(back).copied()
}
