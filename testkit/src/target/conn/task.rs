//! Tasks, and how their answers leave: Data-In, R2T, SCSI Response.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use iscsi_proto::{
    Instant,
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{DataIn, R2t, Residual, ScsiResponse, ServiceResponse},
    scsi::{Lun, ScsiStatus},
    serial::{CmdSn, DataSn, R2tSn, StatSn},
};

use super::{
    super::{
        back_end::HeldId,
        lun::LogicalUnit,
        scsi::{End, Purpose, Sense},
    },
    full::FullFeature,
    wire::Wire,
};

/// Output is computed up to about this much at a time: large enough that system calls vanish beside
/// the copying, small enough to stay in the cache and to let new commands in between.
const BATCH: usize = 1024 * 1024;

/// Longer than any initiator waits.
pub(super) const FOREVER: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Task {
    pub(super) cdb: [u8; 16],
    pub(super) itt: InitiatorTaskTag,
    pub(super) lun: Lun,
    pub(super) unit: Option<Arc<LogicalUnit>>,
    /// The unit's reset count when the command came.
    pub(super) generation: u32,
    pub(super) immediate: bool,
    pub(super) cmd_sn: CmdSn,
    /// The status qualifier of its response.
    pub(super) qualifier: u16,
    pub(super) residual: Residual,
    pub(super) due: Instant,
    /// It is carried out, and that is all.
    pub(super) unanswered: bool,
    /// The unit attention that its status reports. It is cleared by being reported, and not before.
    pub(super) attention: Option<(u8, u8)>,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Status, and how many Data-In or R2T PDUs came before it.
    Respond(End, u32),
    Send(Send),
    Receive(Receive),
    /// The back end has it, with this many R2Ts sent.
    Held(HeldId, u32),
}

pub(super) enum Source {
    Memory(Vec<u8>),
    /// Byte offset on the unit.
    Medium(u64),
}

pub(super) struct Send {
    pub(super) source: Source,
    pub(super) total: u32,
    pub(super) sent: u32,
    pub(super) data_sn: u32,
}

/// A command whose data is on its way.
pub(super) struct Receive {
    pub(super) purpose: Purpose,
    pub(super) buf: Vec<u8>,
    pub(super) received: u32,
    /// The unsolicited sequence, while it is open.
    pub(super) unsolicited: Option<Sequence>,
    /// Bytes that were received or asked for.
    pub(super) requested: u32,
    pub(super) r2ts: VecDeque<Sequence>,
    pub(super) r2t_sn: u32,
}

/// One sequence of Data-Out PDUs.
pub(super) struct Sequence {
    pub(super) ttt: TargetTransferTag,
    /// The next byte that must come, and where the sequence ends.
    pub(super) next: u32,
    pub(super) end: u32,
    pub(super) data_sn: u32,
}

impl Task {
    pub(super) const fn expects_data(&self) -> bool {
        matches!(self.work, Work::Receive(_))
    }

    /// Ends it with CHECK CONDITION, whatever it was doing.
    pub(super) fn fail(&mut self, sense: Sense) {
        let pdus = match &self.work {
            Work::Respond(_, pdus) => *pdus,
            Work::Send(send) => send.data_sn,
            Work::Receive(write) => write.r2t_sn,
            Work::Held(_, r2ts) => *r2ts,
        };
        self.work = Work::Respond(End::Check(sense), pdus);
    }

    fn is_ready(&self, now: Instant) -> bool {
        let ready = match &self.work {
            Work::Receive(write) => {
                write.received as usize == write.buf.len() && write.unsolicited.is_none()
            }
            _ => true,
        };
        ready && self.due <= now
    }
}

impl FullFeature {
    /// Of a unit, for the tasks of this session.
    pub(super) fn generation(&self, unit: Option<&LogicalUnit>) -> u32 {
        let both = unit.zip(self.session.as_ref());
        both.map_or(0, |(unit, session)| unit.generation(&session.nexus))
    }

    /// A write that has all its data and is not to be done yet goes to the back end.
    pub(super) fn hand_to_back_end(&mut self, now: Instant, index: usize) {
        let (Some(task), Some(session)) = (self.tasks.get_mut(index), &self.session) else {
            return;
        };
        let (Work::Receive(write), Some(unit)) = (&mut task.work, &task.unit) else {
            return;
        };
        let is_whole = write.received as usize == write.buf.len() && write.unsolicited.is_none();
        if !is_whole || !write.purpose.is_of_medium() {
            return;
        }
        let hold = self.core.hold_next();
        task.due = task.due.max(now.saturating_add(hold));
        if task.due <= now {
            return;
        }
        let work = (write.purpose, std::mem::take(&mut write.buf));
        let r2ts = write.r2t_sn;
        let back_end = &self.core.back_end;
        match session.hand_over(back_end, task.due, unit, task.generation, work) {
            Some(held) => task.work = Work::Held(held, r2ts),
            // The session was taken over while the data was under way.
            None => self.end_task(index),
        }
    }

    /// What is in the back end goes on without its connection.
    pub(super) fn leave_to_back_end(&self) {
        for task in &self.tasks {
            if let Work::Held(held, _) = task.work {
                self.core.back_end.orphan(held);
            }
        }
    }

    fn was_reset(&self, task: &Task) -> bool {
        let unit = task.unit.as_deref();
        unit.is_some() && self.generation(unit) != task.generation
    }

    /// Queues output until a batch is full or nothing is ready.
    pub(super) fn fill(&mut self, wire: &mut Wire, now: Instant) {
        self.clock = now;
        self.core.ledger.tell_time(now);
        while wire.out.bytes().len() < BATCH {
            let Some(index) = self.tasks.iter().position(|task| task.is_ready(now)) else {
                break;
            };
            if self.was_reset(&self.tasks[index]) {
                self.end_task(index);
            } else {
                self.advance(wire, index);
            }
        }
    }

    /// When the first delayed task is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.tasks
            .iter()
            .filter(|task| task.is_ready(task.due))
            .map(|task| task.due)
            .min()
    }

    /// The next PDU of a ready task.
    fn advance(&mut self, wire: &mut Wire, index: usize) {
        let task = &mut self.tasks[index];
        match &mut task.work {
            Work::Respond(end, data_sn) => {
                let (end, data_sn) = (*end, *data_sn);
                self.respond(wire, index, end, data_sn);
            }
            Work::Send(_) => self.send_data(wire, index),
            Work::Held(held, r2ts) => match self.core.back_end.finish(*held) {
                Some(end) => task.work = Work::Respond(end, *r2ts),
                // Called off, and never answered.
                None => self.end_task(index),
            },
            Work::Receive(write) => {
                let (data, r2ts) = (std::mem::take(&mut write.buf), write.r2t_sn);
                let (purpose, generation) = (write.purpose, task.generation);
                let end = match (&task.unit, &self.session) {
                    (Some(unit), Some(session)) => self
                        .core
                        .carry_out(session, unit, purpose, &data, generation),
                    _ => None,
                };
                match end {
                    Some(end) => {
                        task.work = Work::Respond(end, r2ts);
                        if task.unanswered {
                            task.due = task.due.saturating_add(FOREVER);
                        }
                    }
                    // Reset, or the session was taken over, while the data was under way: such a
                    // command is never answered (SAM-5 section 5.8).
                    None => self.end_task(index),
                }
            }
        }
    }

    fn send_data(&mut self, wire: &mut Wire, index: usize) {
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let max_without = self.max_cmd_sn(self.active.saturating_sub(1));
        let status_in_data = self.core.config.limits.status_in_data;
        let negotiated = self.negotiated;
        let task = &mut self.tasks[index];
        let Work::Send(send) = &mut task.work else {
            return;
        };
        let burst_left = negotiated.max_burst - send.sent % negotiated.max_burst;
        let len = negotiated
            .max_send
            .min(burst_left)
            .min(send.total - send.sent);
        let last = send.sent + len == send.total;
        let collapse = last && status_in_data;
        let ends_window = collapse && !task.immediate;
        let data_in = DataIn {
            is_final: last || len == burst_left,
            acknowledge: false,
            status: collapse.then_some(ScsiStatus::Good),
            residual: task.residual,
            lun: task.lun,
            itt: task.itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: if collapse {
                wire.next_stat_sn()
            } else {
                StatSn(0)
            },
            exp_cmd_sn,
            max_cmd_sn: if ends_window { max_without } else { max_cmd_sn },
            data_sn: DataSn(send.data_sn),
            buffer_offset: send.sent,
            data_segment_length: len,
        };
        if ends_window {
            self.granted.set(max_without);
        }
        let digests = wire.digests;
        let start = send.sent as usize;
        wire.out.push_with(
            &data_in.emit(),
            digests,
            len as usize,
            |segment| match &send.source {
                Source::Memory(bytes) => {
                    segment.copy_from_slice(&bytes[start..start + segment.len()])
                }
                Source::Medium(at) => {
                    if let Some(unit) = &task.unit {
                        unit.read(at + start as u64, segment);
                    }
                }
            },
        );
        send.sent += len;
        send.data_sn += 1;
        let data_sn = send.data_sn;
        if collapse {
            self.end_task(index);
        } else if last {
            task.work = Work::Respond(End::Good, data_sn);
        }
    }

    fn respond(&mut self, wire: &mut Wire, index: usize, end: End, data_sn: u32) {
        let (itt, residual) = (self.tasks[index].itt, self.tasks[index].residual);
        let qualifier = self.tasks[index].qualifier;
        let stat_sn = wire.next_stat_sn();
        self.note_answer(index, end, stat_sn);
        self.end_task(index);
        let mut data = Vec::new();
        if let End::Check(sense) = end {
            let bytes = sense.to_bytes();
            data.extend((bytes.len() as u16).to_be_bytes());
            data.extend(bytes);
        }
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let response = ScsiResponse {
            response: ServiceResponse::CompletedAtTarget,
            status: match end {
                End::Good => ScsiStatus::Good,
                End::Check(_) => ScsiStatus::CheckCondition,
                End::Status(status) => ScsiStatus::from_byte(status),
            },
            // Reserved below that level.
            status_qualifier: match self.negotiated.protocol_level {
                0 | 1 => 0,
                _ => qualifier,
            },
            bidi_residual: Residual::None,
            residual,
            itt,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn: DataSn(data_sn),
            data_segment_length: data.len() as u32,
        };
        wire.send(&response.emit(), &data);
    }

    /// Asks for as much of a write's data as may be outstanding.
    pub(super) fn solicit(&mut self, wire: &mut Wire, index: usize) {
        let most = self.negotiated.max_outstanding_r2t as usize;
        let max_burst = self.negotiated.max_burst;
        loop {
            let ttt = self.new_ttt();
            let (exp_cmd_sn, max_cmd_sn) = self.window();
            let task = &mut self.tasks[index];
            let Work::Receive(write) = &mut task.work else {
                return;
            };
            let left = write.buf.len() as u32 - write.requested;
            if write.unsolicited.is_some() || write.r2ts.len() >= most || left == 0 {
                return;
            }
            let len = left.min(max_burst);
            let r2t = R2t {
                lun: task.lun,
                itt: task.itt,
                ttt,
                stat_sn: wire.stat_sn,
                exp_cmd_sn,
                max_cmd_sn,
                r2t_sn: R2tSn(write.r2t_sn),
                buffer_offset: write.requested,
                desired_data_transfer_length: len,
            };
            let (next, end) = (write.requested, write.requested + len);
            write.r2ts.push_back(Sequence {
                ttt,
                next,
                end,
                data_sn: 0,
            });
            write.r2t_sn += 1;
            write.requested = end;
            wire.send(&r2t.emit(), &[]);
        }
    }
}
