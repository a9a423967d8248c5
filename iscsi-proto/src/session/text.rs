//! Text exchanges in full feature phase (RFC 7143 sections 6.4, 11.10, 11.11): SendTargets, and
//! MaxRecvDataSegmentLength anew, the one operational key that may be negotiated there (section 13).

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::{
    Event, Session, SubmitError,
    command::{TaskError, TaskErrorKind},
    data_out::wire_len,
    exchange::{Exchange, Lengths, Purpose},
    tasks::{Kind, Task, after},
};
use crate::{
    error::{ApiMisuse, DecodeError, Error, PeerMisbehaved},
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{RejectReason, TextResponse},
    scsi::lun::Lun,
    serial::CmdSn,
    text::{
        Key,
        codec::{Pairs, TextBuf},
        keys::Rule,
        negotiate::parse_number,
    },
    time::Instant,
};

/// The longest data segments that the two sides accept, in bytes (section 13.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSegmentLengths {
    /// What the target may send at a time.
    pub receive: u32,
    /// What we may send at a time.
    pub transmit: u32,
}

impl Session {
    /// Sends text in a Text Request (section 11.10), such as `SendTargets=All`;
    /// [`Event::TextDone`] follows with everything that the target answers. One exchange at a time.
    ///
    /// # Errors
    ///
    /// [`SubmitError::QueueFull`] while another exchange is under way; [`ApiMisuse::OutOfRange`] if
    /// `text` is longer than the one PDU that it goes into.
    pub fn text(&mut self, now: Instant, text: &[u8]) -> Result<InitiatorTaskTag, SubmitError> {
        let timeout = self.config.text_timeout;
        self.begin_exchange(now, text, Purpose::Caller, timeout)
    }

    /// Declares another MaxRecvDataSegmentLength, 512 to 2^24 - 1 bytes, and takes over the one that
    /// the target may declare with its answer (section 6.4). [`Event::Renegotiated`] follows; from
    /// then on both hold, for data of commands under way too. It is a text exchange: one at a time.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text); [`ApiMisuse::OutOfRange`] for another length.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        max_recv_data_segment_length: u32,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        let timeout = self.config.text_timeout;
        self.declare(now, max_recv_data_segment_length, true, timeout)
    }

    /// The target asks for a negotiation (asynchronous message 4): we declare what holds anyway, and
    /// it may declare something else. An exchange under way is as good (section 11.9.1).
    pub(super) fn offer_negotiation(&mut self, now: Instant, within: Duration) {
        let timeout = match within.is_zero() {
            true => self.config.text_timeout,
            false => within.min(self.config.text_timeout),
        };
        let length = self.parameters.max_recv_data_segment_length;
        // What hinders it: another exchange, a logout. Both serve the target.
        let _under_way = self.declare(now, length, false, timeout);
    }

    fn declare(
        &mut self,
        now: Instant,
        length: u32,
        wanted: bool,
        timeout: Duration,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        if !length_range().contains(&length) {
            return Err(ApiMisuse::OutOfRange.into());
        }
        let mut text = TextBuf::new();
        text.push(Key::MaxRecvDataSegmentLength.name(), length);
        let purpose = Purpose::Lengths(Lengths {
            ours: Some(length),
            theirs: None,
            read: 0,
            wanted,
        });
        let itt = self.begin_exchange(now, text.as_bytes(), purpose, timeout)?;
        // Until the exchange is over the target may go by either.
        let longest = length.max(self.parameters.max_recv_data_segment_length);
        let receiver = &mut self.connection.receiver;
        receiver.set_max_recv_data_segment_length(longest);
        Ok(itt)
    }

    fn begin_exchange(
        &mut self,
        now: Instant,
        text: &[u8],
        purpose: Purpose,
        timeout: Duration,
    ) -> Result<InitiatorTaskTag, SubmitError> {
        if self.is_closing() {
            return Err(SubmitError::Closing);
        }
        let busy = self
            .tasks
            .iter()
            .any(|task| matches!(task.kind, Kind::Text(_)));
        if text.len() > self.parameters.max_xmit_data_segment_length as usize {
            return Err(ApiMisuse::OutOfRange.into());
        }
        if busy {
            return Err(SubmitError::QueueFull);
        }
        let kind = Kind::Text(Box::new(Exchange {
            gathered: Vec::new(),
            purpose,
        }));
        let itt = self.insert_request(kind, after(now, timeout))?;
        // Section 11.10.4: the reserved tag makes the target forget an exchange that did not end.
        self.text_ttt = TargetTransferTag::RESERVED;
        self.text_lun = Lun::ZERO;
        self.text_out.clear();
        self.text_out.extend_from_slice(text);
        Ok(itt)
    }

    /// Gathers text; asks for more while the target says that there is more (section 11.11).
    pub(super) fn handle_text_response(
        &mut self,
        pdu: &TextResponse,
        segment: &[u8],
    ) -> Result<(), Error> {
        self.connection.accept_status(pdu.stat_sn)?;
        let limit = self.config.max_text;
        let most = self.parameters.max_xmit_data_segment_length;
        let Some(task) = self.tasks.get_mut(pdu.itt) else {
            return Err(PeerMisbehaved::UnknownTask(pdu.itt).into());
        };
        let Kind::Text(exchange) = &mut task.kind else {
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
        let length = exchange.gathered.len().saturating_add(segment.len());
        if length > limit {
            let (length, limit) = (wire_len(length), wire_len(limit));
            return Err(DecodeError::TextTooLong { length, limit }.into());
        }
        exchange.gathered.extend_from_slice(segment);
        let mut answer = TextBuf::new();
        if let (Purpose::Lengths(lengths), false) = (&mut exchange.purpose, pdu.cont) {
            lengths.read(&exchange.gathered, &mut answer)?;
            if answer.len() > most as usize {
                let (length, limit) = (wire_len(answer.len()), most);
                return Err(DecodeError::TextTooLong { length, limit }.into());
            }
        }
        if more {
            self.text_ttt = pdu.ttt;
            self.text_lun = pdu.lun;
            self.text_out.clear();
            self.text_out.extend_from_slice(answer.as_bytes());
            self.requests.push_back(pdu.itt);
            return Ok(());
        }
        self.end_exchange(pdu.itt);
        Ok(())
    }

    fn end_exchange(&mut self, itt: InitiatorTaskTag) {
        let Some(Kind::Text(exchange)) = self.tasks.remove(itt).map(|task| task.kind) else {
            return;
        };
        let lengths = match exchange.purpose {
            Purpose::Caller => {
                let result = Ok(exchange.gathered);
                self.events.push(Event::TextDone { itt, result });
                return;
            }
            Purpose::Lengths(lengths) => lengths,
        };
        // "Only become effective after the negotiation sequence is completed" (section 6.4).
        let p = &mut self.parameters;
        p.max_recv_data_segment_length = lengths.ours.unwrap_or(p.max_recv_data_segment_length);
        p.max_xmit_data_segment_length = lengths.theirs.unwrap_or(p.max_xmit_data_segment_length);
        let now_valid = DataSegmentLengths {
            receive: p.max_recv_data_segment_length,
            transmit: p.max_xmit_data_segment_length,
        };
        let receiver = &mut self.connection.receiver;
        receiver.set_max_recv_data_segment_length(now_valid.receive);
        if lengths.wanted {
            let result = Ok(now_valid);
            self.events.push(Event::Renegotiated { itt, result });
        }
    }

    /// Ends an exchange without a result.
    pub(super) fn fail_exchange(
        &mut self,
        itt: InitiatorTaskTag,
        exchange: &Exchange,
        e: TaskError,
    ) {
        let event = match &exchange.purpose {
            Purpose::Caller => Event::TextDone {
                itt,
                result: Err(e),
            },
            Purpose::Lengths(lengths) if lengths.wanted => Event::Renegotiated {
                itt,
                result: Err(e),
            },
            Purpose::Lengths(_) => return,
        };
        self.events.push(event);
    }

    /// Section 6.4: a Reject resets the negotiation; what held before holds on. False if it cannot be
    /// about anything that was sent, or leaves a gap that cannot be filled.
    pub(super) fn text_rejected(
        &mut self,
        now: Instant,
        itt: InitiatorTaskTag,
        reason: RejectReason,
    ) -> bool {
        let is_text = |task: &Task| matches!(task.kind, Kind::Text(_));
        if !self.tasks.get(itt).is_some_and(is_text) || self.requests.contains(&itt) {
            return false;
        }
        let Some(task) = self.tasks.remove(itt) else {
            return false;
        };
        let Kind::Text(exchange) = task.kind else {
            return false;
        };
        let length = self.parameters.max_recv_data_segment_length;
        self.connection
            .receiver
            .set_max_recv_data_segment_length(length);
        let error = TaskError::not_executed(TaskErrorKind::Rejected(reason));
        self.fail_exchange(itt, &exchange, error);
        // Section 7.3: its CmdSN is not taken as received, so no command behind it would ever begin.
        // Any command PDU with that number fills the gap.
        task.cmd_sn.precedes(self.window.exp()) || self.plug(now, task.cmd_sn)
    }

    /// Fills a gap in the order of commands by a NOP-Out with its number; false if there is no slot
    /// for that.
    pub(super) fn plug(&mut self, now: Instant, gap: CmdSn) -> bool {
        let kind = Kind::Ping {
            sent: now,
            own: true,
            plug: Some(gap),
        };
        let deadline = after(now, self.config.task_management_timeout);
        self.insert_request(kind, deadline).is_ok()
    }
}

fn length_range() -> core::ops::RangeInclusive<u32> {
    match Key::MaxRecvDataSegmentLength.rule() {
        Rule::DeclaredNumber(range) => range,
        _ => 512..=0xff_ffff,
    }
}

impl Lengths {
    /// Acts on the text that is new, and writes what it asks us to answer.
    fn read(&mut self, gathered: &[u8], answer: &mut TextBuf) -> Result<(), Error> {
        let new = gathered.get(self.read..).unwrap_or_default();
        self.read = gathered.len();
        for pair in Pairs::new(new) {
            let (name, value) = pair?;
            match Key::from_name(name) {
                Some(Key::MaxRecvDataSegmentLength) => match value {
                    // The words for "no": ours does not hold. The target declares nothing by them.
                    "Reject" | "NotUnderstood" | "Irrelevant" => self.ours = None,
                    _ if self.theirs.is_some() => return Err(PeerMisbehaved::DuplicateKey.into()),
                    _ => {
                        let length = parse_number(value, &length_range());
                        self.theirs = Some(length.ok_or(PeerMisbehaved::BadValue)?);
                    }
                },
                Some(key) => match key.rule() {
                    Rule::Declared | Rule::DeclaredNumber(_) => {}
                    // For login only (section 13).
                    _ => answer.push(name, "Reject"),
                },
                None if matches!(value, "NotUnderstood" | "Reject" | "Irrelevant") => {}
                None => answer.push(name, "NotUnderstood"),
            }
        }
        Ok(())
    }
}
