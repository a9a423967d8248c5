//! One TCP connection of a session: what RFC 7143 keeps per connection and not per session.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of memory that is held, which memory bounds"
)]

mod keepalive;
mod stage;

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::{
    error::{Error, PeerMisbehaved, TimedOut},
    framing::{Receiver, ReceiverConfig, TransmitPlan},
    held::HeldBytes,
    login::LoggedIn,
    planted::Planted,
    serial::StatSn,
    text::Digest,
    time::Instant,
};

pub(crate) use keepalive::Keepalive;
pub(crate) use stage::Payload;

/// One connection in full feature phase: the byte stream in both directions, digests, StatSN, the
/// sequences of Data-Out that wait to be sent, and the keepalive.
///
/// RFC 7143 gives a connection these and nothing more: CmdSN, the command window and the tasks are
/// the session's ([`crate::session`]). That split is kept here so that several connections, or a
/// connection that is replaced while its tasks live on (ErrorRecoveryLevel 2), need no other types.
///
/// # How it is driven
///
/// Not by the outside: [`Session`](crate::session::Session) has the driving contract, and calls
///
/// * inputs: the plan of [`Receiver`] and its steps; [`Connection::handle_transmitted`];
///   [`Connection::note_received`] for anything that arrived;
/// * commands: `stage_*`, each of which appends exactly one PDU, whole, to the [`TransmitPlan`];
/// * outputs: the plan's pieces, and [`Connection::poll_timeout`].
///
/// Any order is allowed, with one rule: a PDU that RFC 7143 numbers must be staged in the order of
/// its number, so only the session stages commands.
///
/// # Accounting
///
/// Every byte of the outgoing stream has a position. A task remembers where its command PDU begins
/// and where its last staged payload ends, which answers two questions exactly and without any
/// bookkeeping per write: has a byte of this command left the process, and may its memory be given
/// back?
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) receiver: Receiver,
    pub(crate) plan: TransmitPlan,
    pub(crate) keepalive: Keepalive,
    /// Sequences of Data-Out still to be staged, oldest first.
    pub(crate) bursts: VecDeque<Burst>,
    exp_stat_sn: StatSn,
    /// The ExpStatSN that the last PDU of ours carried.
    acknowledged: StatSn,
    /// Since when the target waits for a newer one.
    unacknowledged_since: Option<Instant>,
    acknowledge_after: Option<Duration>,
    header_digest: bool,
    data_digest: bool,
    last_receive: Instant,
    /// When the PDU that is being received began to arrive.
    mid_pdu_since: Option<Instant>,
    pdu_timeout: Duration,
    /// PDUs staged so far.
    pub(crate) pdus_out: u64,
    planted: Planted,
}

/// Limits and timers of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) nop_interval: Option<Duration>,
    pub(crate) nop_beat: Duration,
    pub(crate) nop_timeout: Duration,
    pub(crate) pdu_timeout: Duration,
    pub(crate) acknowledge_after: Option<Duration>,
    pub(crate) scratch: usize,
    pub(crate) read_ahead: usize,
    pub(crate) read_ahead_large: usize,
    pub(crate) planted: Planted,
}

/// One sequence of Data-Out PDUs: the answer to an R2T, or the unsolicited data of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) itt: crate::ids::InitiatorTaskTag,
    /// The R2T's tag; reserved for unsolicited data.
    pub(crate) ttt: crate::ids::TargetTransferTag,
    pub(crate) offset: u32,
    pub(crate) remaining: u32,
    /// Restarts at zero for every sequence (section 11.7.5).
    pub(crate) data_sn: crate::serial::DataSn,
}

impl Connection {
    pub(crate) fn new(now: Instant, login: &LoggedIn, config: ConnectionConfig) -> Self {
        let parameters = login.parameters();
        let header_digest = parameters.header_digest == Digest::Crc32c;
        let data_digest = parameters.data_digest == Digest::Crc32c;
        let receiver = ReceiverConfig {
            header_digest,
            data_digest,
            max_recv_data_segment_length: parameters.max_recv_data_segment_length,
            scratch: config.scratch,
            read_ahead: config.read_ahead,
            read_ahead_large: config.read_ahead_large,
        };
        Self {
            receiver: Receiver::new(receiver, login.read_ahead()).planted(config.planted),
            plan: TransmitPlan::default(),
            keepalive: Keepalive::new(config.nop_interval, config.nop_beat, config.nop_timeout),
            bursts: VecDeque::new(),
            exp_stat_sn: login.exp_stat_sn(),
            // The last Login Response is for the first command to acknowledge: that one answer is all
            // that a target holds for an unused session.
            acknowledged: login.exp_stat_sn(),
            unacknowledged_since: None,
            acknowledge_after: config.acknowledge_after,
            header_digest,
            data_digest,
            last_receive: now,
            mid_pdu_since: None,
            pdu_timeout: config.pdu_timeout,
            pdus_out: 0,
            planted: config.planted,
        }
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.receiver.held_bytes() + self.plan.held_bytes() + self.bursts.held_bytes()
    }

    /// Something arrived. Called before the steps of the receiver.
    pub(crate) fn note_received(&mut self, now: Instant) {
        self.last_receive = now;
        self.keepalive.note_received();
    }

    /// After the steps of the receiver: starts or stops the clock of an incomplete PDU. It runs from
    /// the first byte of one PDU, not of any PDU, so `completed` says whether one was finished.
    pub(crate) fn note_pdu_boundary(&mut self, now: Instant, completed: bool) {
        if !self.receiver.is_mid_pdu() {
            self.mid_pdu_since = None;
        } else if completed || self.mid_pdu_since.is_none() {
            self.mid_pdu_since = Some(now);
        }
        if self.exp_stat_sn != self.acknowledged && self.unacknowledged_since.is_none() {
            self.unacknowledged_since = Some(now);
        }
    }

    fn acknowledgement_due(&self) -> Option<Instant> {
        let since = self.unacknowledged_since?;
        self.acknowledge_after
            .map(|after| since.saturating_add(after))
    }

    /// Whether a status has waited too long for its acknowledgement: the target keeps every response
    /// until then. Asking starts the clock again.
    pub(crate) fn wants_acknowledgement(&mut self, now: Instant) -> bool {
        let wanted = self.acknowledgement_due().is_some_and(|due| now >= due);
        if wanted {
            self.unacknowledged_since = Some(now);
        }
        wanted
    }

    /// The moment of the last byte that was received.
    pub(crate) const fn last_receive(&self) -> Instant {
        self.last_receive
    }

    /// Checks the StatSN of a response that consumes one (section 4.2.2.2) and acknowledges it. At
    /// ErrorRecoveryLevel 0 a gap cannot be filled, and a repetition is not a retransmission.
    pub(crate) fn accept_status(&mut self, found: StatSn) -> Result<(), Error> {
        if found != self.exp_stat_sn {
            let expected = self.exp_stat_sn.0;
            return Err(PeerMisbehaved::StatSn {
                expected,
                found: found.0,
            }
            .into());
        }
        self.exp_stat_sn = found.next();
        Ok(())
    }

    /// `n` bytes of the plan were written; false when there were not that many.
    #[must_use]
    #[inline]
    pub(crate) fn handle_transmitted(&mut self, n: usize) -> bool {
        self.plan.advance(n)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let pdu = self
            .mid_pdu_since
            .map(|since| since.saturating_add(self.pdu_timeout));
        let ping = self.keepalive.deadline(self.last_receive);
        Instant::earlier(Instant::earlier(pdu, ping), self.acknowledgement_due())
    }

    /// Whether the rest of a PDU, or any sign of life, is overdue.
    pub(crate) fn check_timeout(&self, now: Instant) -> Result<(), Error> {
        if self
            .mid_pdu_since
            .is_some_and(|since| now >= since.saturating_add(self.pdu_timeout))
        {
            return Err(TimedOut::Pdu.into());
        }
        if self.keepalive.is_overdue(now) {
            return Err(TimedOut::Nop.into());
        }
        Ok(())
    }
}
