//! What an initiator owes any target, whatever that says to it.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{Bhs, Pdu},
    serial::{CmdSn, StatSn},
};

use super::frame::Frame;

/// What was wrong on any of the connections that share the list.
#[derive(Clone, Debug, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// One more.
    pub fn push(&self, what: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    /// Takes the list.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks at every PDU of the initiator on one connection, and keeps a list of what was wrong.
///
/// It holds it to the header format, to CmdSN and its window, to ExpStatSN and to the lives of task tags
/// (RFC 7143 sections 4.2.2 and 11). What belongs to a transfer the script itself has to look at, since only
/// the script knows what it asked for; the strict target behind a relayed connection does it by itself.
#[derive(Debug)]
pub(super) struct Judge {
    /// What the next command has to carry.
    pub(super) cmd_sn: Option<CmdSn>,
    /// The end of the window that was told.
    pub(super) max_cmd_sn: CmdSn,
    /// What was said last, plus one: nothing behind it can be acknowledged.
    pub(super) next_stat_sn: StatSn,
    /// The longest data segment that the target takes.
    pub(super) max_segment: u32,
    open: BTreeSet<u32>,
    complaints: Complaints,
}

impl Judge {
    pub(super) fn new(complaints: Complaints) -> Self {
        Self {
            cmd_sn: None,
            max_cmd_sn: CmdSn(0),
            next_stat_sn: StatSn(0),
            max_segment: 8192,
            open: BTreeSet::new(),
            complaints,
        }
    }

    fn complain(&mut self, what: impl fmt::Display) {
        self.complaints.push(what.to_string());
    }

    /// A window that was told; one that would be smaller counts for nothing (section 4.2.2.1).
    pub(super) fn widen(&mut self, max_cmd_sn: CmdSn) {
        if self.max_cmd_sn.precedes(max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }

    /// A PDU that came in.
    pub(super) fn hear(&mut self, frame: &Frame) {
        let pdu = match frame.pdu() {
            Ok(pdu) => pdu,
            Err(error) => return self.complain(format_args!("a header that is none: {error}")),
        };
        if pdu.emit() != frame.bhs {
            self.complain(format_args!("reserved bits are set in {pdu}"));
        }
        if frame.data.len() > self.max_segment as usize {
            let (len, limit) = (frame.data.len(), self.max_segment);
            self.complain(format_args!(
                "{len} bytes of data, {limit} are allowed: {pdu}"
            ));
        }
        self.judge_numbers(&pdu);
        self.judge_tag(&pdu);
    }

    /// A PDU that goes out.
    pub(super) fn say(&mut self, frame: &Frame) {
        let ends = match frame.pdu() {
            Ok(Pdu::ScsiResponse(pdu)) => pdu.itt,
            Ok(Pdu::DataIn(pdu)) if pdu.status.is_some() => pdu.itt,
            Ok(Pdu::TextResponse(pdu)) if pdu.is_final => pdu.itt,
            Ok(Pdu::NopIn(pdu)) => pdu.itt,
            Ok(Pdu::TaskManagementResponse(pdu)) => pdu.itt,
            Ok(Pdu::LogoutResponse(pdu)) => pdu.itt,
            Ok(Pdu::Reject(_)) => match frame.data.first_chunk::<{ Bhs::LEN }>() {
                Some(rejected) => Bhs::from(*rejected).initiator_task_tag(),
                None => return,
            },
            _ => return,
        };
        self.open.remove(&ends.0);
    }

    fn judge_numbers(&mut self, pdu: &Pdu) {
        if let Pdu::LoginRequest(request) = pdu {
            // Like an immediate command: the first command carries the same number (section 11.12.8).
            self.cmd_sn.get_or_insert(request.cmd_sn);
            if self.max_cmd_sn == CmdSn(0) {
                self.max_cmd_sn = request.cmd_sn;
            }
            return;
        }
        let (immediate, cmd_sn, exp_stat_sn) = match pdu {
            Pdu::ScsiCommand(pdu) => (pdu.immediate, pdu.cmd_sn, pdu.exp_stat_sn),
            Pdu::NopOut(pdu) => (pdu.immediate, pdu.cmd_sn, pdu.exp_stat_sn),
            Pdu::TextRequest(pdu) => (pdu.immediate, pdu.cmd_sn, pdu.exp_stat_sn),
            Pdu::LogoutRequest(pdu) => (pdu.immediate, pdu.cmd_sn, pdu.exp_stat_sn),
            Pdu::TaskManagementRequest(pdu) => (pdu.immediate, pdu.cmd_sn, pdu.exp_stat_sn),
            Pdu::DataOut(pdu) => return self.judge_acknowledgement(pdu.exp_stat_sn, pdu),
            _ => return,
        };
        self.judge_acknowledgement(exp_stat_sn, pdu);
        match self.cmd_sn {
            Some(expected) if expected != cmd_sn => {
                self.complain(format_args!("CmdSN {expected} was to come: {pdu}"));
            }
            _ => {}
        }
        if !immediate {
            if self.max_cmd_sn.precedes(cmd_sn) {
                let end = self.max_cmd_sn;
                self.complain(format_args!("beyond MaxCmdSN {end}: {pdu}"));
            }
            self.cmd_sn = Some(cmd_sn.next());
        }
    }

    fn judge_acknowledgement(&mut self, acknowledged: StatSn, pdu: &dyn fmt::Display) {
        if self.next_stat_sn.precedes(acknowledged) {
            let next = self.next_stat_sn;
            self.complain(format_args!("ExpStatSN beyond {next}: {pdu}"));
        }
    }

    fn judge_tag(&mut self, pdu: &Pdu) {
        let itt = match pdu {
            Pdu::ScsiCommand(pdu) => pdu.itt,
            Pdu::TaskManagementRequest(pdu) => pdu.itt,
            Pdu::LogoutRequest(pdu) => pdu.itt,
            Pdu::NopOut(pdu) if pdu.itt != InitiatorTaskTag::RESERVED => pdu.itt,
            // A request that goes on has the tag of its beginning.
            _ => return,
        };
        if itt == InitiatorTaskTag::RESERVED {
            self.complain(format_args!("the reserved task tag: {pdu}"));
        } else if !self.open.insert(itt.0) {
            self.complain(format_args!("a task tag that is in use: {pdu}"));
        }
    }
}
