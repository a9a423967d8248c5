//! What a test asks the target to do: messages of its own, rejects, odd answers to logouts, another
//! MaxRecvDataSegmentLength.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use iscsi_proto::{
    pdu::{AsyncEvent, LogoutResponseCode, RejectReason},
    scsi::Lun,
};

use super::core::{TargetCore, lock};

/// An asynchronous message (RFC 7143 section 11.9) that the target is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// What happened.
    pub event: AsyncEvent,
    /// The logical unit, for SCSI events and terminated tasks.
    pub lun: Lun,
    /// AsyncVCode.
    pub vcode: u8,
    /// Parameter1 to Parameter3.
    pub parameters: [u16; 3],
    /// The data segment: sense data behind its length, or a vendor's.
    pub data: Vec<u8>,
}

impl Notice {
    /// A message without LUN and data.
    #[must_use]
    pub const fn new(event: AsyncEvent, parameters: [u16; 3]) -> Self {
        Self {
            event,
            lun: Lun::ZERO,
            vcode: 0,
            parameters,
            data: Vec::new(),
        }
    }

    /// About a logical unit.
    #[must_use]
    pub const fn with_lun(mut self, lun: Lun) -> Self {
        self.lun = lun;
        self
    }

    /// With a data segment.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }
}

#[derive(Debug)]
struct Rejection {
    opcode: u8,
    reason: RejectReason,
    times: u32,
}

#[derive(Debug, Default)]
struct Inner {
    notices: VecDeque<Notice>,
    rejections: Vec<Rejection>,
    logout: Option<(LogoutResponseCode, u16, u16)>,
    max_recv: Option<u32>,
}

/// What is asked of one portal.
#[derive(Debug, Default)]
pub(super) struct OnDemand {
    inner: Mutex<Inner>,
    /// PDUs of a target of which nothing is asked look at no lock.
    any: AtomicBool,
}

impl OnDemand {
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut lock(&self.inner));
        self.any.store(true, Ordering::Release);
    }

    fn look<T>(&self, look: impl FnOnce(&mut Inner) -> Option<T>) -> Option<T> {
        self.any.load(Ordering::Acquire).then_some(())?;
        look(&mut lock(&self.inner))
    }

    /// The next message to be sent.
    pub(super) fn notice(&self) -> Option<Notice> {
        self.look(|inner| inner.notices.pop_front())
    }

    /// Whether a PDU of this kind is to be rejected.
    pub(super) fn rejection(&self, opcode: u8) -> Option<RejectReason> {
        self.look(|inner| {
            let mut open = inner.rejections.iter_mut();
            let rejection = open.find(|r| r.opcode == opcode && r.times > 0)?;
            rejection.times -= 1;
            Some(rejection.reason)
        })
    }

    pub(super) fn logout(&self) -> Option<(LogoutResponseCode, u16, u16)> {
        self.look(|inner| inner.logout)
    }

    pub(super) fn max_recv(&self) -> Option<u32> {
        self.look(|inner| inner.max_recv)
    }
}

impl TargetCore {
    /// Sends an asynchronous message on the next connection of portal `index` in full feature phase
    /// that receives a PDU; of several messages one after each PDU. What the message asks of the initiator is watched
    /// over: a logout or a negotiation within its time, the acknowledgement of terminated tasks.
    pub fn announce(&self, index: usize, notice: Notice) {
        let on_demand = &self.portals[index].on_demand;
        on_demand.change(|inner| inner.notices.push_back(notice));
    }

    /// Rejects the next `times` PDUs with this opcode that come through portal `index` in full feature
    /// phase, in place of acting on them. Their CmdSN counts as received.
    pub fn reject(&self, index: usize, opcode: u8, reason: RejectReason, times: u32) {
        let rejection = Rejection {
            opcode,
            reason,
            times,
        };
        let on_demand = &self.portals[index].on_demand;
        on_demand.change(|inner| inner.rejections.push(rejection));
    }

    /// Answers every logout through portal `index` with this code, Time2Wait and Time2Retain (in
    /// seconds); `None` ends that.
    pub fn answer_logouts(&self, index: usize, answer: Option<(LogoutResponseCode, u16, u16)>) {
        self.portals[index]
            .on_demand
            .change(|inner| inner.logout = answer);
    }

    /// Declares this MaxRecvDataSegmentLength whenever an initiator negotiates its own in full feature
    /// phase through portal `index`.
    pub fn redeclare(&self, index: usize, max_recv_data_segment_length: u32) {
        self.portals[index]
            .on_demand
            .change(|inner| inner.max_recv = Some(max_recv_data_segment_length));
    }
}
