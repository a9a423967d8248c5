//! What a path has to be able to do.

use std::{
    fmt,
    future::{Future, ready},
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_client::{
    bind::Bind,
    buf::{Completion, ReadBuf, WriteBuf},
    device::{DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::Recall,
};
use iscsi_proto::scsi::{
    CurrentReservation, FullStatus, Lun, PersistentReserveOut, ReservationCapabilities,
    ReservationKeys, TargetPortGroups,
};

use crate::core::{
    DownReason, IdentityCheck, KeyRefusal, NetworkProgress, PathKeys, PortalGroup, Preempted,
    ProbeKind, ProbeReport, ProbeResult, Registered, TargetPort,
};

/// Whether a path has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathLink {
    /// It has.
    Up,
    /// It has none and tries to get one.
    Down(DownReason),
    /// It has none and never will.
    Closed,
}

/// The connection of a path, as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStatus {
    /// Differs whenever anything has happened to the connection, or its carrier.
    pub generation: u64,
    /// Whether there is one.
    pub link: PathLink,
    /// Whether one was lost since the generation that was asked about, although there may be another
    /// one by now.
    pub was_lost: bool,
    /// False if the network device that it leaves through is known to have no carrier.
    pub has_carrier: bool,
    /// How long its nexus may not log in again though another one may, since the loss that this status tells of
    /// (DefaultTime2Wait): the time that a [spare](crate::Spares) can bridge. Zero if not at all.
    pub nexus_wait: Duration,
}

impl PathStatus {
    /// A status, with a carrier and without a wait.
    #[must_use]
    pub const fn new(generation: u64, link: PathLink, was_lost: bool) -> Self {
        Self {
            generation,
            link,
            was_lost,
            has_carrier: true,
            nexus_wait: Duration::ZERO,
        }
    }

    /// The same with a carrier or without.
    #[must_use]
    pub const fn with_carrier(mut self, has_carrier: bool) -> Self {
        self.has_carrier = has_carrier;
        self
    }

    /// The same with a time for which only another nexus may log in.
    #[must_use]
    pub const fn with_nexus_wait(mut self, wait: Duration) -> Self {
        self.nexus_wait = wait;
        self
    }
}

/// One way to a device.
///
/// # What an implementation owes
///
/// * It *fails fast*: whatever another path may do better is an error at once, with honest
///   [`outcome`](Error::outcome), [`is_dead`](Error::is_dead) and [`retry`](Error::retry). It does
///   not wait for its own connection to come back, and it never sends a write twice.
/// * When its connection is lost it closes it *abortively* before [`changed`](Self::changed) tells:
///   nothing may be left in a send buffer that could reach the target later. Every request in flight
///   then ends soon.
/// * It gets a new connection by itself, with the same nexus (for iSCSI: the same ISID), so that a
///   login is a reinstatement.
/// * The multipath device checks ranges; the path checks nothing but what it needs for itself.
///
/// All futures may be dropped at any time.
pub trait Path: fmt::Debug + Send + Sync + 'static {
    /// What an operator calls it, for instance `eth1 -> 10.0.0.2:3260`.
    fn name(&self) -> Arc<str>;

    /// The logical unit's number on this path, for operators; paths of one device may have different ones.
    fn lun(&self) -> Option<Lun> {
        None
    }

    /// Size, limits and identity as last seen. Never I/O.
    fn info(&self) -> Arc<DeviceInfo>;

    /// Ready once the info's generation is another one than `seen`.
    fn info_changed(
        &self,
        seen: Generation,
    ) -> impl Future<Output = Result<Arc<DeviceInfo>, Error>> + Send;

    /// Asks the unit for its size and limits again. As it is here, what is known is what counts.
    fn refresh(&self) -> impl Future<Output = Result<Arc<DeviceInfo>, Error>> + Send {
        ready(Ok(self.info()))
    }

    /// Reads. Once `recall` is used it completes soon, with the buffer, as what it then knows. What is
    /// [detached](Recall::detach) rather than recalled is left to its end at the target, and is not aborted unless that
    /// is long in coming.
    fn read(
        &self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
        recall: &Recall,
    ) -> impl Future<Output = Completion<ReadBuf>> + Send;

    /// Writes. The buffer has no regions: they were loaded once for all attempts.
    fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> impl Future<Output = Completion<WriteBuf>> + Send;

    /// Makes completed writes durable, whichever path they took.
    fn flush(&self, options: FlushOptions) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks the logical unit or the connection for a sign of life.
    fn probe(&self, kind: ProbeKind, timeout: Duration)
    -> impl Future<Output = ProbeResult> + Send;

    /// Where this path ends within the SCSI device, as of the last login; `None` where the unit knows no asymmetric
    /// access. Asked whenever a login is told of. As it is here it knows none.
    fn target_port(&self) -> Option<TargetPort> {
        None
    }

    /// Asks the unit for its target port groups (REPORT TARGET PORT GROUPS). Only where there is a
    /// [`target_port`](Self::target_port).
    fn port_groups(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<TargetPortGroups, Error>> + Send {
        _ = timeout;
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// Asks the unit for a sign of life and for its target port groups by one command ([`ProbeKind::Rtpg`]); where
    /// it does not tell them, whether it is ready, and what came of that. Each may take half of `timeout`.
    fn probe_port_groups(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<TargetPortGroups, ProbeReport>> + Send {
        async move {
            let half = timeout / 2;
            if let Ok(groups) = self.port_groups(half).await {
                return Ok(groups);
            }
            let kind = ProbeKind::Tur;
            let result = self.probe(kind, half).await;
            Err(ProbeReport { kind, result })
        }
    }

    /// Asks the target to make a port group active/optimized (SET TARGET PORT GROUPS). Only where the
    /// [`target_port`](Self::target_port) says that it can be asked. Never sent twice.
    fn activate(
        &self,
        group: u16,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        _ = (group, timeout);
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// Ready once the unit has told that access states have changed, with the number of that event, if it came after
    /// number `seen`; `None` once the path is closed, or if it will never tell, as it is here.
    fn access_changed(&self, seen: u64) -> impl Future<Output = Option<u64>> + Send {
        _ = seen;
        ready(None)
    }

    /// Reads the identity through the present connection and compares it with the one at opening.
    fn verify(&self) -> impl Future<Output = Result<IdentityCheck, Error>> + Send;

    /// The connection now; `was_lost` is false.
    fn status(&self) -> PathStatus;

    /// Ready with the status once its generation is another one than `seen`.
    fn changed(&self, seen: u64) -> impl Future<Output = PathStatus> + Send;

    /// Begins to close the connection abortively and to get a new one; `changed` tells the rest.
    fn fence(&self);

    /// The portal group that its session is with, as of its last login; `None` if that is not known.
    fn portal_group(&self) -> Option<PortalGroup>;

    /// How often a login has led to another I_T nexus than the one before, because it was taken by another
    /// portal group: such a login reinstates nothing. Asked whenever a login is told of.
    fn nexus_changes(&self) -> u64;

    /// Reinstates the nexus of `dead`, which has no connection, through this path's portal and from its
    /// local end, without disturbing this path. Ready when the target has answered the login.
    fn reinstate(&self, dead: &Self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Registers the present nexus of this path with its key, in place of whatever key it has; not where others
    /// use persistent reservations. Only where [keys are configured](crate::core::FenceConfig::preempt).
    ///
    /// # Errors
    ///
    /// Where it cannot be found out now whether it is registered; it will be tried again.
    ///
    /// As it is here it registers nothing.
    fn register(&self, keys: PathKeys) -> impl Future<Output = Result<Registered, Error>> + Send {
        _ = keys;
        ready(Ok(Registered::Not(KeyRefusal::Unsupported)))
    }

    /// Takes the registration back, where it has this key. Ends within seconds.
    fn unregister(&self, key: u64) -> impl Future<Output = Result<(), Error>> + Send {
        _ = key;
        ready(Ok(()))
    }

    /// Has the commands of whoever is registered with `victim` aborted, by PREEMPT AND ABORT; this path is
    /// registered with `own`. Ready when the target has called it complete. Not where others use persistent
    /// reservations. Never sent twice.
    fn preempt_and_abort(
        &self,
        keys: PathKeys,
        own: u64,
        victim: u64,
    ) -> impl Future<Output = Result<Preempted, Error>> + Send {
        _ = (keys, own, victim);
        ready(Ok(Preempted::Failed))
    }

    /// The key of its present nexus, of these: another one for each nexus, and the same after a restart.
    ///
    /// As it is here, that of its name.
    fn nexus_key(&self, keys: PathKeys) -> u64 {
        keys.key(PathKeys::digest([self.name().as_bytes()]))
    }

    /// Gives an order about persistent reservations (PERSISTENT RESERVE OUT). At once an error without a connection, and
    /// never sent twice unless the unit has said that it did not execute it.
    fn reserve_out(
        &self,
        order: &PersistentReserveOut,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        _ = (order, timeout);
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// READ KEYS.
    fn reservation_keys(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<ReservationKeys, Error>> + Send {
        _ = timeout;
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// READ RESERVATION.
    fn reservation(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<CurrentReservation, Error>> + Send {
        _ = timeout;
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// READ FULL STATUS.
    fn registrations(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<FullStatus, Error>> + Send {
        _ = timeout;
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// REPORT CAPABILITIES.
    fn reservation_capabilities(
        &self,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<ReservationCapabilities, Error>> + Send {
        _ = timeout;
        ready(Err(Error::not_executed(ErrorKind::Unsupported)))
    }

    /// Ready once the unit has told that somebody has ended registrations (2A/03, 2A/05), with the number of that event,
    /// if it came after number `seen`; `None` once the path is closed, or if it will never tell, as it is here.
    fn registrations_ended(&self, seen: u64) -> impl Future<Output = Option<u64>> + Send {
        _ = seen;
        ready(None)
    }

    /// Resets the logical unit, by a LOGICAL UNIT RESET. Ready when the target has called it complete.
    fn reset_unit(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// When the last byte came in, by the runtime's clock.
    fn last_receive(&self) -> Instant;

    /// How far the bytes of the present connection have come, where its platform tells; at once, and without waiting for
    /// anything. Asked only while the path is silent. As it is here nobody knows, and silence is judged by what other
    /// paths hear.
    fn network_progress(&self) -> Option<NetworkProgress> {
        None
    }

    /// Closes the path for good.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// Something about this path that an operator should know though it works, for instance that it
    /// could not be bound to its NIC.
    fn warning(&self) -> Option<Arc<str>>;

    /// Its local end, where it was given one and the device behind it is known and has a cable. Asked
    /// once, when the path joins.
    fn local_end(&self) -> Option<LocalEnd>;
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEnd {
    /// What the path was told to use.
    pub bind: Bind,
    /// The network device that this is.
    pub device: Arc<str>,
}

impl LocalEnd {
    /// Whether two paths that were told different local ends share a cable all the same, which is
    /// seldom what an administrator meant.
    #[must_use]
    pub fn shares_cable_with(&self, other: &Self) -> bool {
        self.device == other.device && self.bind != other.bind
    }
}
