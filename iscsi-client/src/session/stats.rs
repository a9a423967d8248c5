//! Counters of a session.

use iscsi_proto::session::Stats;

use crate::error::{Error, LoginError};

/// Counters of one [`Session`](super::Session) since it was made, over all its connections.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionStats {
    /// SCSI commands that were answered by the target, with whatever status.
    pub ios: u64,
    /// SCSI commands that ended without an answer.
    pub failed_ios: u64,
    /// Data-In bytes that answered commands brought.
    pub bytes_read: u64,
    /// Data-Out bytes that answered commands took away.
    pub bytes_written: u64,
    /// PDUs sent.
    pub pdus_sent: u64,
    /// PDUs received.
    pub pdus_received: u64,
    /// Calls of the transport's vectored read; each is at most one system call.
    pub read_calls: u64,
    /// Calls of the transport's vectored write; each is at most one system call.
    pub write_calls: u64,
    /// Payload bytes that crossed the receive scratch instead of being read into place.
    pub scratch_copied_bytes: u64,
    /// Payload bytes copied between guest memory and private buffers.
    pub region_copied_bytes: u64,
    /// Polls of the driver.
    pub driver_polls: u64,
    /// Successful logins.
    pub logins: u64,
    /// Logins that failed.
    pub login_failures: u64,
    /// How often the session was found to be taken over by another initiator; see
    /// [`DownReason::NexusTaken`](super::DownReason::NexusTaken).
    pub nexus_taken: u64,
    /// Connections that ended otherwise than by a logout of ours.
    pub connections_lost: u64,
    /// Logouts that the target asked for (asynchronous message 1).
    pub logouts_requested: u64,
    /// Commands that were sent and not answered by their deadline.
    pub commands_late: u64,
    /// ABORT TASKs sent, for commands that were late or whose future was dropped.
    pub aborts_sent: u64,
    /// LOGICAL UNIT RESETs that the timeout ladder sent.
    pub resets_sent: u64,
    /// PDUs that the target rejected.
    pub pdus_rejected: u64,
    /// Commands reported with an unknown outcome that the target later proved dead.
    pub tasks_proven_dead: u64,
    /// Bytes of memory that the session holds at the moment: buffers, tables, what waits to be sent or
    /// to be read. Not the payload of commands, which is the callers', nor what a login needs while
    /// it is under way. Bounded by the configuration, whatever the target does. Added up now and then, so
    /// it is that of one of the last 64 polls of the driver.
    pub held_bytes: u64,
    /// What ended the last lost connection.
    pub last_error: Option<Error>,
    /// What the last failed login said.
    pub last_login_error: Option<LoginError>,
}

impl SessionStats {
    /// Adds what one connection has counted.
    pub(super) const fn add(&mut self, connection: &Stats) {
        self.pdus_sent += connection.pdus_out;
        self.pdus_received += connection.pdus_in;
        self.commands_late += connection.timeouts;
        self.aborts_sent += connection.aborts;
        self.resets_sent += connection.resets;
        self.pdus_rejected += connection.rejects;
    }

    /// Payload bytes copied in user space, wherever.
    #[must_use]
    pub const fn copied_bytes(&self) -> u64 {
        self.scratch_copied_bytes + self.region_copied_bytes
    }

    /// Takes over the driver's counters, and what the present connection adds to them. Regions are
    /// copied by the handles and counted here; errors are set here when they happen.
    pub(super) const fn publish(&mut self, driver: &Self, live: &Stats, scratch_copied_bytes: u64) {
        self.ios = driver.ios;
        self.failed_ios = driver.failed_ios;
        self.bytes_read = driver.bytes_read;
        self.bytes_written = driver.bytes_written;
        self.pdus_sent = driver.pdus_sent;
        self.pdus_received = driver.pdus_received;
        self.read_calls = driver.read_calls;
        self.write_calls = driver.write_calls;
        self.scratch_copied_bytes = scratch_copied_bytes;
        self.driver_polls = driver.driver_polls;
        self.logins = driver.logins;
        self.login_failures = driver.login_failures;
        self.nexus_taken = driver.nexus_taken;
        self.connections_lost = driver.connections_lost;
        self.logouts_requested = driver.logouts_requested;
        self.commands_late = driver.commands_late;
        self.aborts_sent = driver.aborts_sent;
        self.resets_sent = driver.resets_sent;
        self.pdus_rejected = driver.pdus_rejected;
        self.tasks_proven_dead = driver.tasks_proven_dead;
        self.add(live);
    }
}
