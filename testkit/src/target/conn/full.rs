//! Full feature phase: sequencing, and every PDU but SCSI commands and their data.

use std::{cell::Cell, collections::VecDeque, sync::Arc};

use iscsi_proto::{
    Instant,
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{
        Bhs, LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, NopIn, NopOut, Pdu,
        Reject, RejectReason, TaskManagementRequest,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn, StatSn},
    text::codec::TextBuf,
};

use super::{
    super::{
        Violation,
        core::{Session, TargetCore},
        ledger::{Account, Occasion},
        lun::LogicalUnit,
        scsi::{End, Sense},
    },
    Next,
    negotiate::Negotiated,
    notice::Demands,
    task::{Task, Work},
    wire::{Frame, Wire},
};

/// Tasks that ended before their data came; more than this many at once are not remembered.
const MAX_DISCARDED: usize = 256;

pub(super) struct FullFeature {
    pub(super) core: Arc<TargetCore>,
    /// `None` in a discovery session.
    pub(super) session: Option<Arc<Session>>,
    pub(super) negotiated: Negotiated,
    pub(super) tasks: VecDeque<Task>,
    /// Write tasks that ended early: Data-Out for them was legal when it was sent.
    pub(super) discarded: VecDeque<InitiatorTaskTag>,
    /// Tasks that occupy the CmdSN window.
    pub(super) active: u32,
    pub(super) commands: u32,
    /// The initiator has asked for a proof that this is the target, and got none.
    pub(super) unproven: bool,
    /// When the last PDU came, or the last answer was due.
    pub(super) clock: Instant,
    account: Account,
    exp_cmd_sn: CmdSn,
    /// The greatest MaxCmdSN so far.
    pub(super) granted: Cell<CmdSn>,
    acknowledged: StatSn,
    next_ttt: u32,
    pings: Vec<TargetTransferTag>,
    /// Task management functions that wait for data of the tasks that they are to end.
    pub(super) functions: VecDeque<TaskManagementRequest>,
    pub(super) demands: Demands,
    pub(super) text_in: Vec<u8>,
    /// The tag of the text exchange that is open.
    pub(super) text_ttt: Option<TargetTransferTag>,
    /// A smaller MaxRecvDataSegmentLength of ours, which holds once this StatSN is acknowledged.
    pub(super) max_recv_from: Option<(StatSn, u32)>,
    /// What is left of a text answer, and the tag that asks for it.
    pub(super) text_out: Option<(TargetTransferTag, TextBuf)>,
}

impl FullFeature {
    pub(super) fn new(
        wire: &Wire,
        session: Option<Arc<Session>>,
        negotiated: Negotiated,
        cmd_sn: CmdSn,
    ) -> Self {
        let depth = wire.core.config.limits.queue_depth;
        Self {
            core: Arc::clone(&wire.core),
            session,
            negotiated,
            tasks: VecDeque::new(),
            discarded: VecDeque::new(),
            active: 0,
            commands: 0,
            unproven: false,
            clock: Instant::ZERO,
            account: Account::default(),
            exp_cmd_sn: cmd_sn,
            // As the last login response said.
            granted: Cell::new(cmd_sn.plus(depth.saturating_sub(1))),
            acknowledged: wire.stat_sn,
            next_ttt: 0,
            pings: Vec::new(),
            functions: VecDeque::new(),
            demands: Demands::default(),
            text_in: Vec::new(),
            text_ttt: None,
            max_recv_from: None,
            text_out: None,
        }
    }

    /// ExpCmdSN and MaxCmdSN. The window never shrinks: each task takes the place that its own CmdSN
    /// moved it forward by, and gives it back at its end.
    pub(super) fn window(&self) -> (CmdSn, CmdSn) {
        let max = self.max_cmd_sn(self.active);
        self.granted.set(max);
        (self.exp_cmd_sn, max)
    }

    /// MaxCmdSN while this many tasks occupy the window.
    pub(super) fn max_cmd_sn(&self, active: u32) -> CmdSn {
        let depth = self.core.config.limits.queue_depth;
        let depth = depth.min(self.core.hardship.window());
        let room = depth.saturating_sub(active);
        let max = CmdSn(self.exp_cmd_sn.0.wrapping_add(room).wrapping_sub(1));
        let granted = self.granted.get();
        if max.precedes(granted) { granted } else { max }
    }

    pub(super) fn new_ttt(&mut self) -> TargetTransferTag {
        self.next_ttt = if self.next_ttt == u32::MAX - 1 {
            0
        } else {
            self.next_ttt + 1
        };
        TargetTransferTag(self.next_ttt)
    }

    pub(super) fn unit(&self, lun: Lun) -> Option<Arc<LogicalUnit>> {
        lun.number()
            .and_then(|number| self.core.lun(number))
            .filter(|unit| unit.is_mapped())
            .cloned()
    }

    pub(super) fn discard(&mut self, itt: InitiatorTaskTag) {
        if self.discarded.len() == MAX_DISCARDED {
            self.discarded.pop_front();
        }
        self.discarded.push_back(itt);
    }

    pub(super) fn handle(
        &mut self,
        wire: &mut Wire,
        now: Instant,
        pdu: &Pdu,
        frame: &Frame<'_>,
    ) -> Next {
        self.clock = now;
        if std::mem::take(&mut self.unproven) {
            wire.violation(Violation::Unproven);
        }
        let sequence = match pdu {
            Pdu::NopOut(p) => Some((p.immediate, p.cmd_sn, p.exp_stat_sn)),
            Pdu::ScsiCommand(p) => Some((p.immediate, p.cmd_sn, p.exp_stat_sn)),
            Pdu::TaskManagementRequest(p) => Some((p.immediate, p.cmd_sn, p.exp_stat_sn)),
            Pdu::TextRequest(p) => Some((p.immediate, p.cmd_sn, p.exp_stat_sn)),
            Pdu::LogoutRequest(p) => Some((p.immediate, p.cmd_sn, p.exp_stat_sn)),
            Pdu::DataOut(p) => {
                self.acknowledge(wire, p.exp_stat_sn);
                None
            }
            _ => None,
        };
        if let Some((immediate, cmd_sn, exp_stat_sn)) = sequence {
            self.acknowledge(wire, exp_stat_sn);
            if !self.accept(wire, immediate, cmd_sn) {
                self.reject(wire, &frame.bhs, RejectReason::ProtocolError);
                return Next::Close;
            }
        }
        if !frame.data_intact {
            // At ErrorRecoveryLevel 0 a lost segment ends the session (section 7.8).
            wire.violation(Violation::DataDigest);
            self.reject(wire, &frame.bhs, RejectReason::DataDigestError);
            return Next::Close;
        }
        self.judge_demands(wire, now, pdu);
        let next = match self.rejection(wire, pdu) {
            Some(reason) => {
                self.reject(wire, &frame.bhs, reason);
                self.forget_rejected(pdu);
                Next::Stay
            }
            None => self.act(wire, now, pdu, frame),
        };
        match next {
            Next::Stay => self.announce(wire, now),
            end => end,
        }
    }

    fn act(&mut self, wire: &mut Wire, now: Instant, pdu: &Pdu, frame: &Frame<'_>) -> Next {
        match (pdu, self.session.is_some()) {
            (Pdu::NopOut(ping), _) => self.ping(wire, ping, frame.data),
            (Pdu::TextRequest(request), _) => self.text(wire, request, frame.data),
            (Pdu::LogoutRequest(request), _) => return self.logout(wire, request),
            (Pdu::ScsiCommand(command), true) => {
                if let Err(reason) = self.command(wire, now, command, frame) {
                    self.reject(wire, &frame.bhs, reason);
                }
            }
            (Pdu::DataOut(data), true) => {
                if let Err(violation) = self.data_out(wire, now, data, frame.data) {
                    wire.violation(violation);
                    self.reject(wire, &frame.bhs, RejectReason::ProtocolError);
                    return Next::Close;
                }
                return self.settle_functions(wire);
            }
            (Pdu::TaskManagementRequest(request), true) => return self.manage(wire, request),
            _ => {
                wire.violation(Violation::Phase {
                    opcode: pdu.opcode(),
                });
                self.reject(wire, &frame.bhs, RejectReason::CommandNotSupported);
            }
        }
        Next::Stay
    }

    /// Why a PDU is rejected though nothing is wrong with it: a test wants it so, or the initiator was
    /// asked for a logout (section 11.9.1).
    fn rejection(&self, wire: &Wire, pdu: &Pdu) -> Option<RejectReason> {
        let on_demand = &self.core.portals[wire.portal].on_demand;
        let leaving = self.waits_for_logout() && matches!(pdu, Pdu::ScsiCommand(_));
        let leaving = leaving.then_some(RejectReason::WaitingForLogout);
        on_demand.rejection(pdu.opcode()).or(leaving)
    }

    /// What a rejected PDU leaves behind (section 11.17.1): data of a command that does not exist, or a
    /// task that ends with CHECK CONDITION.
    fn forget_rejected(&mut self, pdu: &Pdu) {
        match pdu {
            Pdu::ScsiCommand(command) if !command.is_final => self.discard(command.itt),
            Pdu::DataOut(data) => {
                let task = self.tasks.iter_mut().find(|task| task.itt == data.itt);
                if let Some(task) = task {
                    task.fail(Sense::PROTOCOL_SERVICE_CRC_ERROR);
                    self.discard(data.itt);
                }
            }
            _ => {}
        }
    }

    /// Judges and takes a CmdSN (section 4.2.2.1). False when the connection cannot go on.
    fn accept(&mut self, wire: &Wire, immediate: bool, cmd_sn: CmdSn) -> bool {
        let (expected, max) = self.window();
        if cmd_sn != expected {
            wire.violation(Violation::CmdSn {
                expected: expected.0,
                found: cmd_sn.0,
            });
            return immediate;
        }
        if immediate {
            return true;
        }
        if !cmd_sn.precedes_or_equals(max) {
            wire.violation(Violation::Window {
                max: max.0,
                found: cmd_sn.0,
            });
            return false;
        }
        self.exp_cmd_sn = self.exp_cmd_sn.next();
        // Only tasks occupy the window: whatever is answered at once gives its place back at once.
        true
    }

    fn acknowledge(&mut self, wire: &mut Wire, exp_stat_sn: StatSn) {
        let forward = self.acknowledged.precedes_or_equals(exp_stat_sn);
        if forward && exp_stat_sn.precedes_or_equals(wire.stat_sn) {
            self.acknowledged = exp_stat_sn;
            self.account
                .acknowledged(&self.core, exp_stat_sn, self.clock);
            if let Some((at, max_recv)) = self.max_recv_from {
                if at.precedes(exp_stat_sn) {
                    wire.max_recv = max_recv;
                    self.max_recv_from = None;
                }
            }
        } else {
            let (next, found) = (wire.stat_sn.0, exp_stat_sn.0);
            wire.violation(Violation::ExpStatSn { next, found });
        }
    }

    pub(super) fn reject(&self, wire: &mut Wire, bhs: &Bhs, reason: RejectReason) {
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let reject = Reject {
            reason,
            stat_sn: wire.next_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: DataSn(0),
            data_segment_length: Bhs::LEN as u32,
        };
        wire.send(&reject.emit(), bhs.as_bytes());
    }

    fn ping(&mut self, wire: &mut Wire, ping: &NopOut, data: &[u8]) {
        if ping.itt == InitiatorTaskTag::RESERVED {
            // An answer to ours, or a sign of life that wants none.
            match self.pings.iter().position(|tag| *tag == ping.ttt) {
                Some(index) => drop(self.pings.swap_remove(index)),
                None if ping.ttt == TargetTransferTag::RESERVED => {}
                None => wire.violation(Violation::UnknownPing),
            }
            return;
        }
        let data = &data[..data.len().min(self.negotiated.max_send as usize)];
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let pong = NopIn {
            lun: Lun::ZERO,
            itt: ping.itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: wire.next_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            data_segment_length: data.len() as u32,
        };
        wire.send(&pong.emit(), data);
    }

    /// Asks the initiator for a sign of life.
    pub(super) fn send_ping(&mut self, wire: &mut Wire, lun: Lun) {
        let ttt = self.new_ttt();
        self.pings.push(ttt);
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let ping = NopIn {
            lun,
            itt: InitiatorTaskTag::RESERVED,
            ttt,
            stat_sn: wire.stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data_segment_length: 0,
        };
        wire.send(&ping.emit(), &[]);
    }

    fn logout(&mut self, wire: &mut Wire, request: &LogoutRequest) -> Next {
        self.judge_end(wire);
        let recovery = request.reason == LogoutReason::RemoveForRecovery;
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let usual = match recovery {
            true => LogoutResponseCode::RecoveryNotSupported,
            false => LogoutResponseCode::Closed,
        };
        let asked = self.core.portals[wire.portal].on_demand.logout();
        let (code, time2wait, time2retain) =
            asked.unwrap_or((usual, self.core.config.limits.time2wait, 0));
        let response = LogoutResponse {
            response: code,
            itt: request.itt,
            stat_sn: wire.next_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            time2wait,
            time2retain,
        };
        wire.send(&response.emit(), &[]);
        if recovery {
            return Next::Stay;
        }
        // A logout ends the tasks (section 11.14).
        while !self.tasks.is_empty() {
            self.end_task(0);
        }
        Next::Close
    }

    /// Notes that a command came, and whether its port lets it pass.
    pub(super) fn note_command(&mut self, unit: Option<&LogicalUnit>, cdb: &[u8; 16]) {
        if let (Some(session), Some(unit)) = (&self.session, unit) {
            let on = Occasion {
                core: &self.core,
                nexus: &session.nexus,
                lun: unit.config.number,
                now: self.clock,
            };
            let allowed = self.core.alua.gate(session.nexus.2, cdb).is_none();
            self.account.received(on, cdb, allowed);
        }
    }

    /// Notes how a command is answered.
    pub(super) fn note_answer(&mut self, index: usize, end: End, stat_sn: StatSn) {
        let Some(task) = self.tasks.get(index) else {
            return;
        };
        if let (Some(session), Some(unit)) = (&self.session, &task.unit) {
            let on = Occasion {
                core: &self.core,
                nexus: &session.nexus,
                lun: unit.config.number,
                now: self.clock,
            };
            self.account.answered(on, &task.cdb, end, stat_sn);
        }
    }

    /// Takes a task out of the task set and its place out of the window.
    pub(super) fn end_task(&mut self, index: usize) {
        if let Some(task) = self.tasks.remove(index) {
            self.active -= u32::from(!task.immediate);
            if task.expects_data() {
                self.discard(task.itt);
            }
            if let Work::Held(held, _) = task.work {
                self.core.back_end.forget(held);
            }
        }
    }
}

impl Drop for FullFeature {
    fn drop(&mut self) {
        self.leave_to_back_end();
        if let Some(session) = &self.session {
            self.core.close_session(session);
        }
    }
}
