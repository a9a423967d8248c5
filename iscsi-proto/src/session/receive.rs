//! What comes in: every PDU of a target, dispatched.

use super::{Event, Session, tasks::Kind};
use crate::{
    error::{Error, PeerMisbehaved},
    framing::{DataStore, Destination, Step},
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{Bhs, DataIn, LogoutResponse, NopIn, Pdu, ScsiResponse},
    time::Instant,
};

/// Asynchronous messages that may wait for the caller; more are a flood.
const MAX_EVENTS: usize = 8192;

impl Session {
    /// Takes every step that the received bytes allow.
    pub(super) fn process(
        &mut self,
        now: Instant,
        store: &mut impl DataStore,
    ) -> Result<(), Error> {
        let mut completed = false;
        loop {
            let tasks = &mut self.tasks;
            let place = |header: &Bhs| match header.opcode() {
                DataIn::OPCODE => tasks.place_data_in(&DataIn::parse(header)?),
                _ => Ok(Destination::Segment),
            };
            match self.connection.receiver.step(store, place)? {
                Step::NeedMore => break,
                Step::Complete => self.handle_pdu(now)?,
            }
            completed = true;
            if self.events.len() > MAX_EVENTS + usize::from(self.config.max_tasks) {
                return Err(PeerMisbehaved::Flood.into());
            }
        }
        self.connection.note_pdu_boundary(now, completed);
        Ok(())
    }

    /// Acts on a PDU that is completely there, digests verified. The two that every command ends with
    /// have a short way.
    #[inline]
    fn handle_pdu(&mut self, now: Instant) -> Result<(), Error> {
        let header = self.connection.receiver.header();
        match header.opcode() {
            DataIn::OPCODE => {
                let pdu = DataIn::parse(header)?;
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_data_in(&pdu)
            }
            ScsiResponse::OPCODE if self.connection.receiver.segment().is_empty() => {
                let pdu = ScsiResponse::parse(header)?;
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_scsi_response(&pdu, &[])
            }
            _ => self.handle_rare(now),
        }
    }

    #[inline(never)]
    fn handle_rare(&mut self, now: Instant) -> Result<(), Error> {
        let pdu = Pdu::parse(self.connection.receiver.header())?;
        // Taken out and put back, so that handlers may borrow the session as a whole; a move of
        // three words, not a copy.
        let segment = self.connection.receiver.take_segment();
        let result = self.dispatch(now, &pdu, &segment);
        self.connection.receiver.return_segment(segment);
        result
    }

    fn dispatch(&mut self, now: Instant, pdu: &Pdu, segment: &[u8]) -> Result<(), Error> {
        match pdu {
            Pdu::DataIn(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_data_in(pdu)
            }
            Pdu::ScsiResponse(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_scsi_response(pdu, segment)
            }
            Pdu::R2t(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_r2t(pdu)
            }
            Pdu::NopIn(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_nop_in(now, pdu, segment)
            }
            Pdu::TaskManagementResponse(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_task_management_response(now, pdu)
            }
            Pdu::TextResponse(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_text_response(pdu, segment)
            }
            // The window is of no use after it, and istgt counts the Logout Request in ExpCmdSN,
            // though it is immediate. To call that a violation would end a session that has been
            // closed in good order as a lost one.
            Pdu::LogoutResponse(pdu) => self.handle_logout_response(pdu),
            Pdu::AsyncMessage(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_async_message(now, pdu, segment)
            }
            Pdu::Reject(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_reject(now, pdu, segment)
            }
            // Login is over, and the rest are PDUs of initiators.
            _ => Err(PeerMisbehaved::Phase.into()),
        }
    }

    fn handle_nop_in(&mut self, now: Instant, pdu: &NopIn, segment: &[u8]) -> Result<(), Error> {
        if pdu.itt == InitiatorTaskTag::RESERVED {
            // The target's own ping, or news of its window; neither consumes a StatSN.
            return match pdu.ttt {
                TargetTransferTag::RESERVED => Ok(()),
                _ => self.queue_ping_reply(pdu, segment),
            };
        }
        self.connection.accept_status(pdu.stat_sn)?;
        let (sent, own) = match self.tasks.get(pdu.itt).map(|task| &task.kind) {
            Some(Kind::Ping { sent, own, .. }) => (*sent, *own),
            // Perhaps one that was given up.
            _ => return Ok(self.tasks.expect_straggler(pdu.itt)?),
        };
        if self.requests.contains(&pdu.itt) {
            return Err(PeerMisbehaved::Phase.into());
        }
        if !segment.is_empty() {
            return Err(PeerMisbehaved::NopData.into());
        }
        self.tasks.release(pdu.itt);
        let round_trip = now.saturating_duration_since(sent);
        self.last_ping = Some(round_trip);
        if !own {
            self.events.push(Event::PingDone {
                itt: pdu.itt,
                result: Ok(round_trip),
            });
        }
        Ok(())
    }

    fn handle_logout_response(&mut self, pdu: &LogoutResponse) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        if !matches!(
            self.tasks.get(pdu.itt).map(|task| &task.kind),
            Some(Kind::Logout)
        ) {
            return Err(PeerMisbehaved::UnknownTask(pdu.itt).into());
        }
        self.tasks.release(pdu.itt);
        self.events.push(Event::LoggedOut { response: *pdu });
        Ok(())
    }
}
