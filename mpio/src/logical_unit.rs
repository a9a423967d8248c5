//! A logical unit over one session as a path.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_client::{
    bind::Bind,
    buf::{Completion, ReadBuf, WriteBuf},
    device::{BlockDevice, DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::{LogicalUnit, Recall},
    session::{DownReason as SessionDown, SessionEventKind, SessionState, SessionStatus},
};
use iscsi_proto::{
    pdu::TaskManagementResponseCode,
    planted::Bug,
    scsi::{
        AccessState, AdditionalSenseCode, CurrentReservation, FullStatus, Lun,
        PersistentReserveOut, ReservationCapabilities, ReservationKeys, TargetPortGroups,
        inquiry::Tpgs,
    },
    session::TaskManagement,
};

use crate::{
    core::{
        DownReason, IdentityCheck, NetworkProgress, PathKeys, PortalGroup, Preempted, ProbeKind,
        ProbeReport, ProbeResult, Registered, TargetPort,
    },
    path::{LocalEnd, Path, PathLink, PathStatus},
    reservations,
};

/// How long the identity may take to be read after a login. A target that needs longer than this for
/// an INQUIRY is not ready for I/O; it is asked again.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// Closing the path closes the session for this user: it logs out unless it is shared and others use
/// it ([`Initiator::session`](iscsi_client::initiator::Initiator::session)). Open the unit with
/// [`fail_fast`](iscsi_client::logical_unit::LogicalUnitOptions::fail_fast).
impl Path for LogicalUnit {
    fn name(&self) -> Arc<str> {
        let session = self.session();
        format!("{} -> {}", session.bind(), session.portal()).into()
    }

    fn lun(&self) -> Option<Lun> {
        Some(self.lun())
    }

    fn info(&self) -> Arc<DeviceInfo> {
        self.info()
    }

    async fn info_changed(&self, seen: Generation) -> Result<Arc<DeviceInfo>, Error> {
        BlockDevice::info_changed(self, seen).await
    }

    async fn refresh(&self) -> Result<Arc<DeviceInfo>, Error> {
        Self::refresh(self, Some(VERIFY_TIMEOUT)).await
    }

    // Not `async`: a future around a future would be one more to be moved and polled through.
    fn read(
        &self,
        offset: u64,
        buf: ReadBuf,
        options: ReadOptions,
        recall: &Recall,
    ) -> impl Future<Output = Completion<ReadBuf>> + Send {
        self.read_recallable(offset, buf, options, recall)
    }

    fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> impl Future<Output = Completion<WriteBuf>> + Send {
        self.write(offset, buf, options)
    }

    async fn flush(&self, options: FlushOptions) -> Result<(), Error> {
        self.flush(options).await
    }

    async fn probe(&self, kind: ProbeKind, timeout: Duration) -> ProbeResult {
        let checked = match kind {
            ProbeKind::Nop => {
                match self.session().ping().await {
                    Ok(_) => return ProbeResult::Ready,
                    // Other units behind this session ask already, as many as may at a time.
                    Err(error) if error.kind() == ErrorKind::Busy => {
                        self.check(Some(timeout)).await
                    }
                    Err(_) => return ProbeResult::ConnectionLost,
                }
            }
            ProbeKind::Tur => self.check(Some(timeout)).await,
            ProbeKind::Read => self.check_by_read(Some(timeout)).await,
            ProbeKind::Rtpg => self.check_by_port_groups(Some(timeout)).await.map(drop),
        };
        match checked {
            Ok(()) => ProbeResult::Ready,
            Err(error) => judge(&error),
        }
    }

    fn target_port(&self) -> Option<TargetPort> {
        let tpgs = self.inquiry().tpgs;
        if tpgs == Tpgs::None {
            return None;
        }
        let group = self.identification().target_port_group()?;
        Some(TargetPort { group, tpgs })
    }

    async fn port_groups(&self, timeout: Duration) -> Result<TargetPortGroups, Error> {
        self.target_port_groups(Some(timeout)).await
    }

    async fn probe_port_groups(&self, timeout: Duration) -> Result<TargetPortGroups, ProbeReport> {
        // The check has one deadline, and a report that is slow is no sign that the unit is not ready.
        let half = timeout / 2;
        let groups = self.check_by_port_groups(Some(half)).await;
        let kind = ProbeKind::Tur;
        match groups.map_err(|error| judge(&error)) {
            Ok(groups) => Ok(groups),
            // Nothing more is to be asked there.
            Err(result @ (ProbeResult::ConnectionLost | ProbeResult::Disconnected)) => {
                Err(ProbeReport { kind, result })
            }
            Err(_) => {
                let planted = self.session().options().core.planted;
                let result = match planted.has(Bug::RefusalIsNotReady) {
                    true => ProbeResult::NotReady,
                    false => self.probe(kind, half).await,
                };
                Err(ProbeReport { kind, result })
            }
        }
    }

    async fn activate(&self, group: u16, timeout: Duration) -> Result<(), Error> {
        let groups = [(group, AccessState::ActiveOptimized)];
        self.set_target_port_groups(&groups, Some(timeout)).await
    }

    async fn access_changed(&self, mut seen: u64) -> Option<u64> {
        loop {
            let event = self.next_event(seen).await.ok()?;
            seen = event.number;
            if changes_access(event.sense.code()) {
                return Some(seen);
            }
        }
    }

    async fn verify(&self) -> Result<IdentityCheck, Error> {
        match self.verify_identity(Some(VERIFY_TIMEOUT)).await {
            Ok(()) => Ok(IdentityCheck::Verified),
            Err(error) if matches!(error.kind(), ErrorKind::WrongUnit | ErrorKind::NoSuchUnit) => {
                Ok(IdentityCheck::Mismatch)
            }
            Err(error) => Err(error),
        }
    }

    fn status(&self) -> PathStatus {
        let status = self.session().status();
        PathStatus::new(status.generation, link(&status.state), false)
            .with_carrier(status.has_carrier)
    }

    async fn changed(&self, seen: u64) -> PathStatus {
        let status = self.session().changed(seen).await;
        let SessionStatus {
            generation, state, ..
        } = status;
        let events = self.session().events(seen);
        // Events that are not kept any more were many, and a quiet session has none.
        let missed = events.first().is_none_or(|event| event.number != seen + 1);
        let lost = |kind: &SessionEventKind| matches!(kind, SessionEventKind::Down { .. });
        let was_lost = missed || events.iter().any(|event| lost(&event.kind));
        let wait = events.iter().rev().find_map(|event| match event.kind {
            SessionEventKind::Down { time2wait, .. } => Some(time2wait),
            _ => None,
        });
        let is_down = matches!(state, SessionState::Down { .. });
        let wait = wait.filter(|_| is_down).unwrap_or(Duration::ZERO);
        PathStatus::new(generation, link(&state), was_lost)
            .with_carrier(status.has_carrier)
            .with_nexus_wait(wait)
    }

    fn fence(&self) {
        self.session().reconnect();
    }

    fn portal_group(&self) -> Option<PortalGroup> {
        let session = self.session();
        Some(PortalGroup {
            target: session.target_name()?.as_str().into(),
            tag: session.login().portal_group()?.0,
        })
    }

    fn nexus_changes(&self) -> u64 {
        self.session().nexus_changes()
    }

    async fn reinstate(&self, dead: &Self) -> Result<(), Error> {
        Ok(dead.session().reinstate_through(self.session()).await?)
    }

    async fn register(&self, keys: PathKeys) -> Result<Registered, Error> {
        reservations::register(self, keys).await
    }

    async fn unregister(&self, key: u64) -> Result<(), Error> {
        reservations::needs_connection(self)?;
        reservations::unregister(self, key).await
    }

    async fn preempt_and_abort(
        &self,
        keys: PathKeys,
        own: u64,
        victim: u64,
    ) -> Result<Preempted, Error> {
        reservations::preempt_and_abort(self, keys, own, victim).await
    }

    fn nexus_key(&self, keys: PathKeys) -> u64 {
        reservations::key_of(self, keys).0
    }

    async fn reserve_out(
        &self,
        order: &PersistentReserveOut,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        reservations::needs_connection(self)?;
        self.persistent_reserve_out(order, timeout).await
    }

    async fn reservation_keys(&self, timeout: Option<Duration>) -> Result<ReservationKeys, Error> {
        reservations::needs_connection(self)?;
        self.reservation_keys(timeout).await
    }

    async fn reservation(&self, timeout: Option<Duration>) -> Result<CurrentReservation, Error> {
        reservations::needs_connection(self)?;
        self.reservation(timeout).await
    }

    async fn registrations(&self, timeout: Option<Duration>) -> Result<FullStatus, Error> {
        reservations::needs_connection(self)?;
        self.registrations(timeout).await
    }

    async fn reservation_capabilities(
        &self,
        timeout: Option<Duration>,
    ) -> Result<ReservationCapabilities, Error> {
        reservations::needs_connection(self)?;
        self.reservation_capabilities(timeout).await
    }

    async fn registrations_ended(&self, mut seen: u64) -> Option<u64> {
        loop {
            let event = self.next_event(seen).await.ok()?;
            seen = event.number;
            if ends_registrations(event.sense.code()) {
                return Some(seen);
            }
        }
    }

    async fn reset_unit(&self) -> Result<(), Error> {
        let reset = TaskManagement::LogicalUnitReset(self.lun());
        let answer = self.session().task_management(reset, None).await?;
        match answer.response {
            TaskManagementResponseCode::FunctionComplete => Ok(()),
            // Refused, or not possible: nothing was ended.
            _ => Err(Error::not_executed(ErrorKind::Protocol)),
        }
    }

    fn last_receive(&self) -> Instant {
        self.session().last_receive()
    }

    fn network_progress(&self) -> Option<NetworkProgress> {
        let progress = self.session().network_progress()?;
        let told = NetworkProgress::new(progress.acked, progress.in_flight());
        Some(
            told.since(progress.unacknowledged_for)
                .with_rtt(progress.rtt),
        )
    }

    async fn close(&self) {
        // The unit first: its requests then fail as closed and not as lost.
        if BlockDevice::close(self).await.is_ok() {
            self.session().close().await;
        }
    }

    fn local_end(&self) -> Option<LocalEnd> {
        let bind = self.session().bind().clone();
        // All of the loopback is one device, and has no cable to share.
        if matches!(&bind, Bind::Address(address) if address.is_loopback()) {
            return None;
        }
        let device = bind.device()?;
        Some(LocalEnd { bind, device })
    }

    fn warning(&self) -> Option<Arc<str>> {
        let events = self.session().events(0);
        events.into_iter().rev().find_map(|event| match event.kind {
            SessionEventKind::BindWarning(why) => Some(why),
            _ => None,
        })
    }
}

/// 2A/06 and 2A/07; and after a reset nothing is as it was.
fn changes_access(code: AdditionalSenseCode) -> bool {
    code == AdditionalSenseCode::ASYMMETRIC_ACCESS_STATE_CHANGED
        || code == AdditionalSenseCode::IMPLICIT_ASYMMETRIC_ACCESS_STATE_TRANSITION_FAILED
        || code.0 == 0x29
}

/// RESERVATIONS PREEMPTED and REGISTRATIONS PREEMPTED.
pub(crate) fn ends_registrations(code: AdditionalSenseCode) -> bool {
    code == AdditionalSenseCode::RESERVATIONS_PREEMPTED
        || code == AdditionalSenseCode::REGISTRATIONS_PREEMPTED
}

/// What a failed check says about the path.
fn judge(error: &Error) -> ProbeResult {
    match error.kind() {
        // A conflict is an answer of a healthy path; so is a target that is busy, and a bad block is
        // the same on every other path.
        ErrorKind::ReservationConflict | ErrorKind::Busy | ErrorKind::Medium => ProbeResult::Ready,
        ErrorKind::NoSuchUnit | ErrorKind::WrongUnit => ProbeResult::Disconnected,
        ErrorKind::NotReady if is_standby(error) => ProbeResult::Ghost,
        ErrorKind::NotReady if is_in_transition(error) => ProbeResult::Transitioning,
        ErrorKind::Transport | ErrorKind::Closed | ErrorKind::Auth => ProbeResult::ConnectionLost,
        // The checker has a timeout of its own, and an answer that comes too late is no answer.
        ErrorKind::Timeout => ProbeResult::ConnectionLost,
        _ => ProbeResult::NotReady,
    }
}

/// 04/0B standby, 04/0C unavailable (SPC-4 section 5.15.2).
fn is_standby(error: &Error) -> bool {
    error.sense().is_some_and(|sense| {
        let code = sense.code();
        code.0 == 0x04 && matches!(code.1, 0x0b | 0x0c)
    })
}

fn is_in_transition(error: &Error) -> bool {
    let transition = AdditionalSenseCode::ASYMMETRIC_ACCESS_STATE_TRANSITION;
    error
        .sense()
        .is_some_and(|sense| sense.code() == transition)
}

fn link(state: &SessionState) -> PathLink {
    match state {
        SessionState::Up => PathLink::Up,
        SessionState::Down { reason, .. } => PathLink::Down(match reason {
            // `fence` is the only one here who asks for a reconnect. The session tells it at the
            // moment of the request and aborts the connection at its driver's next poll: next to a
            // quiet time of seconds that is nothing, and a reinstatement comes after both.
            SessionDown::Requested => DownReason::Fenced,
            SessionDown::NexusTaken => DownReason::NexusTaken,
            SessionDown::Login(_) => DownReason::LoginFailed,
            _ => DownReason::ConnectionLost,
        }),
        _ => PathLink::Closed,
    }
}
