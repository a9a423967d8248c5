//! Limits and timers of a session.

use core::time::Duration;

use super::ladder::TimeoutLadder;
use crate::{connection::ConnectionConfig, error::ApiMisuse, planted::Planted};

/// Limits and timers of a [`Session`](super::Session) in full feature phase. What is negotiated with
/// the target is not here but in [`Parameters`](crate::text::Parameters).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionConfig {
    /// SCSI commands that may be submitted and not yet done, 1 to 4032. Default 256. The target's
    /// command window may admit fewer at a time; the rest waits here in order.
    pub max_tasks: u16,
    /// Where the generation part of the Initiator Task Tags starts; any value. Random in production,
    /// so that a tag of an earlier connection is not mistaken for one of this; fixed in tests.
    pub first_generation: u32,
    /// Silence after which a ping is sent; anything received ends it. Not zero. Default 5 s, `None`
    /// never.
    pub nop_interval: Option<Duration>,
    /// Pings leave at multiples of this since the epoch of the times given here, a little before `nop_interval` is
    /// over: sessions that have one epoch then wake up together, which costs a process with hundreds of idle ones a
    /// fraction of the processor time. At most half of `nop_interval`. Default zero: each when it is due (`iscsi-client` sets
    /// it where its runtime has a beat).
    pub nop_beat: Duration,
    /// Silence after a ping that ends the connection. Not zero. Default 5 s.
    pub nop_timeout: Duration,
    /// Time for the rest of a PDU once its first byte is there. Default 30 s: a segment of 256 KiB
    /// over a link of 100 kbit/s needs 21 s.
    pub pdu_timeout: Duration,
    /// Time for the answer to a task management function for which its caller gives none; after it
    /// the function is reported as timed out. Default 5 s.
    pub task_management_timeout: Duration,
    /// What is tried, and for how long, to stop a command that was not answered in time.
    pub ladder: TimeoutLadder,
    /// Time for the answer to a logout. Default 5 s.
    pub logout_timeout: Duration,
    /// How long commands under way may still run when the target asks for a logout, if it allows so
    /// much (half of its Parameter3 at most). Default 5 s.
    pub logout_grace: Duration,
    /// How long the target waits for the acknowledgement of a response at most: if no other PDU
    /// leaves until then, a NOP-Out that wants no answer carries it (RFC 7143 section 11.18).
    /// Default 10 s, `None` never. Of an idle session the pings acknowledge, which leave sooner than that; more PDUs
    /// than those would only cost both sides a wake-up after each check of a path.
    pub acknowledge_after: Option<Duration>,
    /// Time for a whole text exchange. Default 15 s.
    pub text_timeout: Duration,
    /// Longest text that is gathered from a target, in bytes. Default 1 MiB, enough for about ten
    /// thousand targets of a discovery.
    pub max_text: usize,
    /// Receive scratch in bytes, at least 4 KiB. Default 64 KiB. So much is the most: a session begins with
    /// 4 KiB, has twice as much after each read that has filled it, and 4 KiB again when nothing came for
    /// [`nop_interval`](Self::nop_interval). Data segments of 16 KiB or more go to the memory of their command and
    /// hardly need it.
    pub scratch: usize,
    /// How many bytes one read may bring into scratch while small PDUs flow, at least 4 KiB; more
    /// than `scratch` means all of it. A read that takes everything makes the two sides take turns, one
    /// that takes a few PDUs (8 of 4 KiB are 33 152 bytes) lets the target go on while they are worked
    /// on, at the price of more reads. Default: all of scratch.
    pub read_ahead: usize,
    /// How many bytes a read may bring into scratch behind a data segment of 16 KiB or more, which
    /// itself goes to its place in the command's memory. Whatever of them belongs to the next such
    /// segment is copied, and the rest of that one is read to an odd place. 0 is exactly the header
    /// that follows, so that a segment that was announced is read to where it begins, page for page, and is
    /// never copied twice. The default.
    pub read_ahead_large: usize,
    /// Not part of the API.
    #[doc(hidden)]
    pub planted: Planted,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            max_tasks: 256,
            first_generation: 0,
            nop_interval: Some(Duration::from_secs(5)),
            nop_beat: Duration::ZERO,
            nop_timeout: Duration::from_secs(5),
            pdu_timeout: Duration::from_secs(30),
            task_management_timeout: Duration::from_secs(5),
            ladder: TimeoutLadder::default(),
            logout_timeout: Duration::from_secs(5),
            logout_grace: Duration::from_secs(5),
            acknowledge_after: Some(Duration::from_secs(10)),
            text_timeout: Duration::from_secs(15),
            max_text: 1024 * 1024,
            scratch: 64 * 1024,
            read_ahead: usize::MAX,
            read_ahead_large: 0,
            planted: Planted::NONE,
        }
    }
}

impl SessionConfig {
    /// Tag slots are 12 bits; some are kept back for pings, aborts and the logout, so that a full
    /// queue of commands can never keep the session from looking after itself.
    pub(super) const RESERVED_SLOTS: u16 = 64;

    pub(super) const fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            nop_interval: self.nop_interval,
            nop_beat: self.nop_beat,
            nop_timeout: self.nop_timeout,
            pdu_timeout: self.pdu_timeout,
            acknowledge_after: self.acknowledge_after,
            scratch: self.scratch,
            read_ahead: self.read_ahead,
            read_ahead_large: self.read_ahead_large,
            planted: self.planted,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ApiMisuse> {
        let most = (1 << 12) - Self::RESERVED_SLOTS;
        // No time at all would mean pings, or acknowledgements, without end.
        let endless = self.nop_timeout.is_zero()
            || self.nop_interval.is_some_and(|interval| interval.is_zero())
            || self.acknowledge_after.is_some_and(|after| after.is_zero());
        // A beat before the last sign of life would be a ping at once, and again.
        let coarse = self
            .nop_interval
            .is_some_and(|interval| self.nop_beat > interval / 2);
        let short = self.scratch < 4096 || self.read_ahead < 4096;
        if self.max_tasks == 0 || self.max_tasks > most || short || endless || coarse {
            return Err(ApiMisuse::OutOfRange);
        }
        Ok(())
    }
}
