//! SCSI commands: judged, decoded, queued (RFC 7143 section 11.3).

use iscsi_proto::{
    Instant,
    ids::InitiatorTaskTag,
    pdu::{RejectReason, Residual, ScsiCommand, ahs},
    scsi::Lun,
};

use super::{
    super::{
        Violation,
        core::{Count, RESERVATION_CONFLICT},
        lun::LogicalUnit,
        scsi::{self, Action, End, Inventory, Purpose, Sense},
    },
    full::FullFeature,
    task::{FOREVER, Receive, Send, Sequence, Source, Task, Work},
    wire::{Frame, Wire},
};

impl FullFeature {
    pub(super) fn command(
        &mut self,
        wire: &mut Wire,
        now: Instant,
        command: &ScsiCommand,
        frame: &Frame<'_>,
    ) -> Result<(), RejectReason> {
        let data = frame.data;
        wire.count(Count::Commands, 1);
        self.judge_header(wire, command, frame.ahs)?;
        let itt = command.itt;
        if itt == InitiatorTaskTag::RESERVED || self.tasks.iter().any(|task| task.itt == itt) {
            wire.violation(Violation::DuplicateTask(itt));
            return Err(RejectReason::TaskInProgress);
        }
        self.discarded.retain(|old| *old != itt);
        if let Err(violation) = self.judge_unsolicited(command, data) {
            wire.violation(violation);
            return Err(RejectReason::ProtocolError);
        }
        let unit = self.unit(command.lun);
        self.note_command(unit.as_deref(), &command.cdb);
        let attention = self.take_attention(command, unit.as_deref());
        let (action, qualifier) = match attention {
            Some((asc, ascq)) => (Action::Fail(Sense(0x06, asc, ascq)), 0),
            None => self.decide(wire, command, unit.as_deref()),
        };
        self.judge_direction(wire, command, &action);
        if let (Action::Take(_, purpose), Some(unit), Some(by)) = (&action, &unit, &self.session) {
            if purpose.is_of_medium() {
                self.core.note_write(by, unit);
            }
        }
        let never = action == Action::Never;
        let number = unit.as_ref().map(|unit| unit.config.number);
        let answers = &self.core.answers;
        let unanswered = attention.is_none()
            && number.is_some_and(|lun| answers.take_unanswered(lun, &command.cdb));
        let (work, residual) = self.start(command, action, data);
        let generation = self.generation(unit.as_deref());
        let delay = if never {
            FOREVER
        } else {
            self.core.portals[wire.portal].delay()
        };
        let due = now.saturating_add(delay);
        let (lun, immediate) = (command.lun, command.immediate);
        if !matches!(work, Work::Receive(_)) && !command.is_final {
            // Its unsolicited data is on the way all the same.
            self.discard(itt);
        }
        self.active += u32::from(!immediate);
        let place = self.tasks.len();
        self.tasks.push_back(Task {
            cdb: command.cdb,
            itt,
            lun,
            unit,
            generation,
            immediate,
            cmd_sn: command.cmd_sn,
            qualifier,
            residual,
            due,
            unanswered,
            attention,
            work,
        });
        self.solicit(wire, place);
        self.hand_to_back_end(now, place);
        self.commands = self.commands.wrapping_add(1);
        let every = self.core.config.limits.ping_every;
        if every > 0 && self.commands % every == 0 {
            self.send_ping(wire, Lun::ZERO);
        }
        Ok(())
    }

    /// Additional header segments, and what only some sessions have.
    fn judge_header(
        &self,
        wire: &Wire,
        command: &ScsiCommand,
        ahs: &[u8],
    ) -> Result<(), RejectReason> {
        if command.priority != 0 && self.negotiated.protocol_level < 2 {
            wire.violation(Violation::Priority);
        }
        for segment in ahs::parse(ahs) {
            let Ok(segment) = segment else {
                wire.violation(Violation::Ahs);
                return Err(RejectReason::InvalidPduField);
            };
            match segment.extended_cdb() {
                Some(rest) => self.core.note_extended_cdb(&command.cdb, rest),
                // A read length belongs to a bidirectional command, which none of ours is.
                None => wire.violation(Violation::Ahs),
            }
        }
        Ok(())
    }

    /// Immediate data and the promise of more (section 11.3.1, 13.10, 13.11, 13.14).
    fn judge_unsolicited(&self, command: &ScsiCommand, data: &[u8]) -> Result<(), Violation> {
        let first_burst = self.negotiated.first_burst;
        let limit = first_burst.min(command.expected_data_transfer_length);
        let found = data.len() as u32;
        if !data.is_empty() && (!self.negotiated.immediate_data || !command.write) {
            return Err(Violation::Unsolicited);
        }
        if found > limit {
            return Err(Violation::SequenceLength {
                expected: limit,
                found,
            });
        }
        if !command.is_final {
            if !command.write {
                return Err(Violation::FinalBit {
                    opcode: ScsiCommand::OPCODE,
                });
            }
            if self.negotiated.initial_r2t {
                return Err(Violation::Unsolicited);
            }
        }
        Ok(())
    }

    /// The unit attention that the command is answered with in place of being carried out.
    fn take_attention(
        &self,
        command: &ScsiCommand,
        unit: Option<&LogicalUnit>,
    ) -> Option<(u8, u8)> {
        let (unit, session) = unit.zip(self.session.as_ref())?;
        if scsi::ignores_unit_attention(command.cdb[0]) {
            return None;
        }
        session.take_attention(unit.config.number)
    }

    /// What is done, and the status qualifier that goes with it.
    fn decide(
        &self,
        wire: &Wire,
        command: &ScsiCommand,
        unit: Option<&LogicalUnit>,
    ) -> (Action, u16) {
        if let Some(action) = self.report_attention(command, unit) {
            return (action, 0);
        }
        let portal = &self.core.portals[wire.portal];
        if let Some(sense) = self.core.alua.gate(portal.tpgt, &command.cdb) {
            return (Action::Fail(sense), 0);
        }
        let reserved = unit.zip(self.session.as_ref());
        if reserved.is_some_and(|(unit, by)| unit.conflicts(&by.nexus, &command.cdb)) {
            return (Action::Status(RESERVATION_CONFLICT), 0);
        }
        let number = unit.map(|unit| unit.config.number);
        if let Some(action) = number.and_then(|lun| self.core.answers.take(lun, &command.cdb)) {
            return action;
        }
        let inventory = Inventory {
            luns: &self.core.luns,
            max_transfer_length: self.core.config.limits.max_transfer_length,
            alua: &self.core.alua,
            name: &self.core.config.name,
            port: wire.portal as u16 + 1,
            group: portal.tpgt,
        };
        (scsi::decode(&command.cdb, unit, inventory), 0)
    }

    /// The two commands that look at pending unit attentions: REQUEST SENSE reports one and clears
    /// it, REPORT LUNS clears the one about its own list (SPC-4 sections 6.33, 6.39).
    fn report_attention(
        &self,
        command: &ScsiCommand,
        unit: Option<&LogicalUnit>,
    ) -> Option<Action> {
        let session = self.session.as_ref()?;
        match command.cdb[0] {
            0x03 => {
                let (asc, ascq) = session.take_attention(unit?.config.number)?;
                Some(scsi::request_sense(&command.cdb, Sense(0x06, asc, ascq)))
            }
            0xa0 => {
                session.forget_attention(0x3f, 0x0e);
                None
            }
            _ => None,
        }
    }

    fn judge_direction(&self, wire: &Wire, command: &ScsiCommand, action: &Action) {
        let length = command.expected_data_transfer_length;
        let wrong = match action {
            Action::Read(..) | Action::Data(_) | Action::Truncated(_) => {
                command.write || !command.read && length > 0
            }
            Action::Take(..) => command.read || !command.write,
            Action::Good => (command.read || command.write) && length > 0,
            Action::Fail(_) | Action::Status(_) | Action::Never => command.read && command.write,
        };
        if wrong {
            wire.violation(Violation::Direction);
        }
    }

    fn start(&self, command: &ScsiCommand, action: Action, data: &[u8]) -> (Work, Residual) {
        let expected = command.expected_data_transfer_length;
        let fail = |sense| (Work::Respond(End::Check(sense), 0), residual(expected, 0));
        let (source, length) = match action {
            Action::Fail(sense) => return fail(sense),
            Action::Status(status) => {
                return (Work::Respond(End::Status(status), 0), residual(expected, 0));
            }
            Action::Good | Action::Never => {
                return (Work::Respond(End::Good, 0), residual(expected, 0));
            }
            Action::Take(..) if !command.write => return fail(Sense::INVALID_FIELD),
            Action::Take(length, purpose) => {
                let work = match purpose.usable(length, expected) {
                    None => Work::Respond(End::Check(Sense::INVALID_INFORMATION_UNIT), 0),
                    Some(0) => Work::Respond(End::Good, 0),
                    Some(usable) => Work::Receive(self.receive(command, purpose, usable, data)),
                };
                return (work, residual(expected, length));
            }
            Action::Data(bytes) => {
                let length = bytes.len() as u32;
                (Source::Memory(bytes), length)
            }
            Action::Truncated(bytes) => {
                let total = (bytes.len() as u32).min(expected);
                let (source, sent, data_sn) = (Source::Memory(bytes), 0, 0);
                let work = Work::Send(Send {
                    source,
                    total,
                    sent,
                    data_sn,
                });
                return (work, Residual::None);
            }
            Action::Read(at, length) => (Source::Medium(at), length),
        };
        let total = if command.read {
            length.min(expected)
        } else {
            0
        };
        let residual = residual(expected, length);
        if total == 0 {
            return (Work::Respond(End::Good, 0), residual);
        }
        (
            Work::Send(Send {
                source,
                total,
                sent: 0,
                data_sn: 0,
            }),
            residual,
        )
    }

    fn receive(
        &self,
        command: &ScsiCommand,
        purpose: Purpose,
        length: u32,
        data: &[u8],
    ) -> Receive {
        let mut buf = vec![0; length as usize];
        let immediate = data.len().min(buf.len());
        buf[..immediate].copy_from_slice(&data[..immediate]);
        let received = immediate as u32;
        // Section 11.3.4: all that FirstBurstLength allows, or only the immediate data.
        let end = self
            .negotiated
            .first_burst
            .min(command.expected_data_transfer_length);
        let unsolicited = (!command.is_final).then_some(Sequence {
            ttt: iscsi_proto::TargetTransferTag::RESERVED,
            next: data.len() as u32,
            end,
            data_sn: 0,
        });
        let requested = if command.is_final {
            received
        } else {
            end.min(length)
        };
        let r2ts = std::collections::VecDeque::new();
        Receive {
            purpose,
            buf,
            received,
            unsolicited,
            requested,
            r2ts,
            r2t_sn: 0,
        }
    }
}

/// Section 11.4.5.
const fn residual(expected: u32, actual: u32) -> Residual {
    if actual < expected {
        Residual::Underflow(expected - actual)
    } else if actual > expected {
        Residual::Overflow(actual - expected)
    } else {
        Residual::None
    }
}
