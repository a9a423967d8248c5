//! What comes in: every PDU of a target, dispatched.

use core::time::Duration;

use super::{
    Event, Session,
    command::{TaskError, TaskErrorKind},
    tasks::Kind,
};
use crate::{
    error::{DecodeError, Error, PeerMisbehaved},
    framing::{DataStore, Destination, Step},
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{AsyncEvent, AsyncMessage, Bhs, LogoutResponse, NopIn, Pdu, Reject, TextResponse},
    scsi::sense::SenseData,
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
            match self.connection.receiver.step(store)? {
                Step::NeedMore => break,
                Step::Header(pdu) => {
                    let destination = self.destination(&pdu)?;
                    self.connection.receiver.set_destination(destination);
                }
                Step::Complete(pdu) => {
                    completed = true;
                    self.handle_pdu(now, &pdu)?;
                    if self.events.len() > MAX_EVENTS + usize::from(self.config.max_tasks) {
                        return Err(PeerMisbehaved::Flood.into());
                    }
                }
            }
        }
        self.connection.note_pdu_boundary(now, completed);
        Ok(())
    }

    fn destination(&mut self, pdu: &Pdu) -> Result<Destination, Error> {
        match pdu {
            Pdu::DataIn(data) => self.place_data_in(data),
            _ => Ok(Destination::Segment),
        }
    }

    /// Acts on a PDU that is completely there, digests verified.
    fn handle_pdu(&mut self, now: Instant, pdu: &Pdu) -> Result<(), Error> {
        // Taken out and put back, so that handlers may borrow the session as a whole; a move of
        // three words, not a copy.
        let segment = self.connection.receiver.take_segment();
        let result = self.dispatch(now, pdu, &segment);
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
                self.handle_task_management_response(pdu)
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
                self.handle_async_message(pdu, segment)
            }
            Pdu::Reject(pdu) => {
                self.window.update(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
                self.handle_reject(pdu, segment)
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
            Some(Kind::Ping { sent, own }) => (*sent, *own),
            _ => return Err(PeerMisbehaved::UnknownTask(pdu.itt).into()),
        };
        if self.requests.contains(&pdu.itt) {
            return Err(PeerMisbehaved::Phase.into());
        }
        if !segment.is_empty() {
            return Err(PeerMisbehaved::NopData.into());
        }
        self.tasks.remove(pdu.itt);
        let round_trip = now.saturating_duration_since(sent);
        self.last_ping = Some(round_trip);
        if !own {
            self.events.push_back(Event::PingDone {
                itt: pdu.itt,
                result: Ok(round_trip),
            });
        }
        Ok(())
    }

    /// Gathers text; asks for more while the target says that there is more (section 11.11).
    fn handle_text_response(&mut self, pdu: &TextResponse, segment: &[u8]) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let limit = self.config.max_text;
        let Some(task) = self.tasks.get_mut(pdu.itt) else {
            return Err(PeerMisbehaved::UnknownTask(pdu.itt).into());
        };
        let Kind::Text { gathered } = &mut task.kind else {
            return Err(PeerMisbehaved::UnknownTask(pdu.itt).into());
        };
        // One request, one response: ours still waits to be sent.
        if self.requests.contains(&pdu.itt) {
            return Err(PeerMisbehaved::Phase.into());
        }
        // Without F there is more, and a tag to ask for it by. With F the tag means nothing: "the
        // initiator MUST ignore" it (section 11.10.4).
        let more = !pdu.is_final;
        if (more && pdu.ttt == TargetTransferTag::RESERVED) || (pdu.is_final && pdu.cont) {
            return Err(PeerMisbehaved::Flags.into());
        }
        // An empty continuation makes no progress, so it must not be answered for ever.
        if more && segment.is_empty() {
            return Err(PeerMisbehaved::Stalled(1).into());
        }
        let length = gathered.len().saturating_add(segment.len());
        if length > limit {
            let (length, limit) = (
                super::data_out::wire_len(length),
                super::data_out::wire_len(limit),
            );
            return Err(DecodeError::TextTooLong { length, limit }.into());
        }
        gathered.extend_from_slice(segment);
        if more {
            self.text_ttt = pdu.ttt;
            self.text_lun = pdu.lun;
            self.requests.push_back(pdu.itt);
            return Ok(());
        }
        let result = Ok(core::mem::take(gathered));
        self.tasks.remove(pdu.itt);
        self.events.push_back(Event::TextDone {
            itt: pdu.itt,
            result,
        });
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
        self.tasks.remove(pdu.itt);
        self.events.push_back(Event::LoggedOut { response: *pdu });
        Ok(())
    }

    fn handle_async_message(&mut self, pdu: &AsyncMessage, segment: &[u8]) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        match pdu.event {
            // "Log out within Parameter3 seconds". Leaving at once is the blunt way to do so: what is
            // under way ends unknown. A Logout behind it would spare callers that, and belongs here
            // once the driver can tell such a session from one that its user closed.
            AsyncEvent::LogoutRequested => Err(Error::DropRequested {
                wait: Duration::ZERO,
            }),
            // "I drop you", with Parameter2 as Time2Wait.
            AsyncEvent::ConnectionDrop | AsyncEvent::SessionDrop => {
                let wait = Duration::from_secs(u64::from(pdu.parameter2));
                Err(Error::DropRequested { wait })
            }
            _ => {
                let sense = match pdu.event {
                    AsyncEvent::ScsiEvent => SenseData::parse_data_segment(segment).ok().flatten(),
                    _ => None,
                };
                self.events.push_back(Event::Async {
                    message: *pdu,
                    sense,
                });
                Ok(())
            }
        }
    }

    /// The target refused a PDU of ours; its header comes back as data (section 11.17). Fails the
    /// task that it belongs to. A PDU of no task means that the two sides no longer agree.
    fn handle_reject(&mut self, pdu: &Reject, segment: &[u8]) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let reason = pdu.reason.to_byte();
        let lost = Err(PeerMisbehaved::Rejected(reason).into());
        let Some((header, _)) = segment.split_first_chunk::<{ Bhs::LEN }>() else {
            return lost;
        };
        let itt = Bhs::from(*header).initiator_task_tag();
        let Some(task) = self.tasks.get(itt) else {
            return lost;
        };
        let kind = TaskErrorKind::Rejected(reason);
        let error = TaskError::unknown(kind, false);
        match task.kind {
            // A command that the target did not take leaves a hole in CmdSN, or none: the standard
            // lets it choose. Only a new connection makes that certain.
            Kind::Command | Kind::Abort { .. } | Kind::Logout => return lost,
            Kind::Ping { own, .. } => {
                self.tasks.remove(itt);
                if !own {
                    self.events.push_back(Event::PingDone {
                        itt,
                        result: Err(error),
                    });
                }
            }
            Kind::Text { .. } => {
                self.tasks.remove(itt);
                self.events.push_back(Event::TextDone {
                    itt,
                    result: Err(error),
                });
            }
        }
        Ok(())
    }
}
