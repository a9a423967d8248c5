//! Asynchronous messages that a test wants, and whether the initiator does what they ask
//! (RFC 7143 section 11.9.1).

use std::time::Duration;

use iscsi_proto::{
    InitiatorTaskTag, Instant, TargetTransferTag,
    pdu::{AsyncEvent, AsyncMessage, Pdu},
    scsi::Lun,
    serial::StatSn,
};

use super::{
    super::{Violation, on_demand::Notice},
    Next,
    full::FullFeature,
    wire::Wire,
};

/// What the initiator has been asked for and has not done yet.
#[derive(Debug, Default)]
pub(super) struct Demands {
    logout_by: Option<Instant>,
    negotiation_by: Option<Instant>,
    /// Terminated tasks of a unit, and the StatSN that is to be acknowledged by a NOP-Out for it.
    terminated: Vec<(Lun, StatSn)>,
}

impl FullFeature {
    /// Sends one message that a test has asked for.
    pub(super) fn announce(&mut self, wire: &mut Wire, now: Instant) -> Next {
        match self.core.portals[wire.portal].on_demand.notice() {
            Some(notice) => self.send_notice(wire, now, &notice),
            None => Next::Stay,
        }
    }

    fn send_notice(&mut self, wire: &mut Wire, now: Instant, notice: &Notice) -> Next {
        let (exp_cmd_sn, max_cmd_sn) = self.window();
        let [parameter1, parameter2, parameter3] = notice.parameters;
        let stat_sn = wire.next_stat_sn();
        let message = AsyncMessage {
            lun: notice.lun,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event: notice.event,
            vcode: notice.vcode,
            parameter1,
            parameter2,
            parameter3,
            data_segment_length: notice.data.len() as u32,
        };
        wire.send(&message.emit(), &notice.data);
        let within = now.saturating_add(Duration::from_secs(parameter3.into()));
        match notice.event {
            AsyncEvent::LogoutRequested => self.demands.logout_by = Some(within),
            AsyncEvent::NegotiationRequested => self.demands.negotiation_by = Some(within),
            AsyncEvent::TasksTerminated => self.demands.terminated.push((notice.lun, stat_sn)),
            AsyncEvent::ConnectionDrop | AsyncEvent::SessionDrop => return Next::Close,
            _ => {}
        }
        Next::Stay
    }

    /// Whether a PDU comes in time, and does what was asked for.
    pub(super) fn judge_demands(&mut self, wire: &Wire, now: Instant, pdu: &Pdu) {
        let late = |by: Option<Instant>| by.is_some_and(|by| now > by);
        if late(self.demands.logout_by) {
            wire.violation(Violation::Late("the logout that was asked for"));
            self.demands.logout_by = None;
        }
        if late(self.demands.negotiation_by) {
            wire.violation(Violation::Late("the negotiation that was asked for"));
            self.demands.negotiation_by = None;
        }
        match pdu {
            Pdu::LogoutRequest(_) => {
                self.demands.logout_by = None;
                self.demands.negotiation_by = None;
            }
            Pdu::TextRequest(_) => self.demands.negotiation_by = None,
            Pdu::NopOut(nop)
                if nop.itt == InitiatorTaskTag::RESERVED
                    && nop.ttt == TargetTransferTag::RESERVED =>
            {
                let acknowledged =
                    |(lun, at): &(Lun, StatSn)| *lun == nop.lun && at.precedes(nop.exp_stat_sn);
                let position = self.demands.terminated.iter().position(acknowledged);
                if let Some(position) = position {
                    self.demands.terminated.swap_remove(position);
                    self.end_tasks_of(nop.lun);
                }
            }
            _ => {}
        }
    }

    /// Whether new commands are refused, since a logout was asked for.
    pub(super) const fn waits_for_logout(&self) -> bool {
        self.demands.logout_by.is_some()
    }

    /// Messages about terminated tasks that were not acknowledged.
    pub(super) fn judge_end(&self, wire: &Wire) {
        if self.is_fast_abort() && !self.demands.terminated.is_empty() {
            wire.violation(Violation::Late("the acknowledgement of terminated tasks"));
        }
    }
}
