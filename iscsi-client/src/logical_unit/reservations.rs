//! Persistent reservations (SPC-4 section 5.12).

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iscsi_proto::{
    DecodeError,
    scsi::{
        CurrentReservation, FullStatus, PersistentReserveOut, ReservationCapabilities,
        ReservationKey, ReservationKeys, ReservationType, ReserveAction, ReserveReport,
    },
};

use super::{
    LogicalUnit,
    classify::CommandClass,
    command::{Attempt, Step, stale},
    open::{is_kept_out, malformed},
};
use crate::{error::Error, session::Payload};

/// What is asked for first: a hundred keys, or a dozen nexuses.
const LENGTH: u16 = 1024;
/// A key of READ KEYS in bytes.
const KEY: u32 = 8;
/// A descriptor of READ FULL STATUS: 24 bytes and a TransportID, the longest of which (iSCSI's) has 228 and an
/// ISID.
const DESCRIPTOR: u32 = 24 + 256;

/// Persistent reservations.
///
/// A registration and a reservation belong to the I_T nexus (initiator name, ISID, target portal group), not
/// to the session: they outlive a lost connection and a reset of the unit, and, unless they were made with
/// APTPL, end when the target loses its power. So a session that is logged in again is registered as before,
/// and one whose login another portal group has taken
/// ([`Session::nexus_changes`](crate::session::Session::nexus_changes)) is not.
///
/// # What others notice
///
/// By a unit attention, which their next command finds: REGISTRATIONS PREEMPTED (2A/05) whoever was
/// unregistered by a PREEMPT; RESERVATIONS RELEASED (2A/04) other registered nexuses, when a reservation for
/// registrants is released, or changes its type by a PREEMPT; RESERVATIONS PREEMPTED (2A/03) other registered
/// nexuses, by a CLEAR. A write that finds 2A/03 or 2A/05 fails as
/// [`ReservationConflict`](crate::error::ErrorKind::ReservationConflict): somebody has taken its right away.
///
/// # Errors
///
/// The orders (all but those that ask) fail with
/// [`ReservationConflict`](crate::error::ErrorKind::ReservationConflict) where the target answers RESERVATION
/// CONFLICT: this nexus is not registered with the key that was given, or a reservation stands against it, or
/// nobody has the key that is to be preempted. A unit without persistent reservations, or without the service
/// action, is [`Unsupported`](crate::error::ErrorKind::Unsupported).
///
/// None of them is idempotent, and none is repeated here unless the target has said that it did not execute
/// it (a unit attention, BUSY). With [`Outcome::Unknown`](crate::error::Outcome::Unknown), after a lost
/// connection for instance, [ask for the keys](Self::reservation_keys) before anything else: they say what
/// came of it. Keys that are gone do not say that a PREEMPT AND ABORT has aborted everything yet.
///
/// # APTPL
///
/// All orders here but [`persistent_reserve_out`](Self::persistent_reserve_out) have APTPL = 0, and the last
/// REGISTER decides for the whole unit (SPC-4 section 5.12.5): `register` and
/// `register_and_ignore_existing_key` on a unit whose registrations are to outlive a loss of power, those of
/// others included, end that. Where a cluster has set APTPL, give the order with it.
///
/// # Cancel safety
///
/// What asks is cancel safe. An order that is dropped is aborted at the target; whether it was carried out is
/// unknown.
impl LogicalUnit {
    /// Asks for the keys of all registrations (READ KEYS, SPC-4 section 6.15.2). Any nexus may ask. A list that
    /// fills 65535 bytes counts as [truncated](ReservationKeys::truncated).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::error::ErrorKind::Protocol) for an answer that cannot be; those of
    /// the session.
    pub async fn reservation_keys(
        &self,
        timeout: Option<Duration>,
    ) -> Result<ReservationKeys, Error> {
        let parse = ReservationKeys::parse;
        // A key more would not have had room.
        let is_full = |keys: &ReservationKeys, length: u16| {
            keys.truncated || keys.needed_length().saturating_add(KEY) > length.into()
        };
        let (mut keys, length) = self
            .report(ReserveReport::Keys, timeout, parse, is_full)
            .await?;
        keys.truncated |= is_full(&keys, length);
        Ok(keys)
    }

    /// Asks for the reservation (READ RESERVATION, SPC-4 section 6.15.3).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn reservation(
        &self,
        timeout: Option<Duration>,
    ) -> Result<CurrentReservation, Error> {
        let parse = CurrentReservation::parse;
        let report = self.report(ReserveReport::Reservation, timeout, parse, |_, _| false);
        Ok(report.await?.0)
    }

    /// Asks what the unit does about persistent reservations (REPORT CAPABILITIES, SPC-4 section 6.15.4).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn reservation_capabilities(
        &self,
        timeout: Option<Duration>,
    ) -> Result<ReservationCapabilities, Error> {
        let parse = ReservationCapabilities::parse;
        let report = self.report(ReserveReport::Capabilities, timeout, parse, |_, _| false);
        Ok(report.await?.0)
    }

    /// Asks for all registrations and whose they are (READ FULL STATUS, SPC-4 section 6.15.5).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn registrations(&self, timeout: Option<Duration>) -> Result<FullStatus, Error> {
        let parse = FullStatus::parse;
        let is_full = |status: &FullStatus, length: u16| {
            status.truncated || status.needed_length().saturating_add(DESCRIPTOR) > length.into()
        };
        let report = self.report(ReserveReport::FullStatus, timeout, parse, is_full);
        Ok(report.await?.0)
    }

    /// Registers this nexus with `new`, where it has the key `old` so far (REGISTER, SPC-4 section 5.12.7):
    /// [`ReservationKey::NONE`] as `old` where it has none, and as `new` to unregister it. What an
    /// unregistered holder held is released.
    ///
    /// # Errors
    ///
    /// See [above](#errors); a conflict where it has another key than `old`.
    pub async fn register(
        &self,
        old: ReservationKey,
        new: ReservationKey,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(ReserveAction::Register, None, old, new);
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Registers this nexus with `new`, whatever key it has so far (REGISTER AND IGNORE EXISTING KEY).
    ///
    /// # Errors
    ///
    /// See [above](#errors).
    pub async fn register_and_ignore_existing_key(
        &self,
        new: ReservationKey,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let action = ReserveAction::RegisterAndIgnoreExistingKey;
        let order = order(action, None, ReservationKey::NONE, new);
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Reserves the unit for this nexus, which is registered with `key` (RESERVE, SPC-4 section 5.12.9). To
    /// do so again is no error.
    ///
    /// # Errors
    ///
    /// See [above](#errors); a conflict where somebody else has a reservation, or this nexus one of another
    /// type.
    pub async fn reserve(
        &self,
        key: ReservationKey,
        kind: ReservationType,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(
            ReserveAction::Reserve,
            Some(kind),
            key,
            ReservationKey::NONE,
        );
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Gives the reservation up (RELEASE, SPC-4 section 5.12.11.2.2); without effect where this nexus holds
    /// none.
    ///
    /// # Errors
    ///
    /// See [above](#errors); [`Unsupported`](crate::error::ErrorKind::Unsupported) (26/04) where it holds one
    /// of another type.
    pub async fn release(
        &self,
        key: ReservationKey,
        kind: ReservationType,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(
            ReserveAction::Release,
            Some(kind),
            key,
            ReservationKey::NONE,
        );
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Ends the reservation and all registrations, whosever they are, this nexus's too (CLEAR, SPC-4 section
    /// 5.12.11.2.7).
    ///
    /// # Errors
    ///
    /// See [above](#errors).
    pub async fn clear_reservations(
        &self,
        key: ReservationKey,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(ReserveAction::Clear, None, key, ReservationKey::NONE);
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Unregisters every nexus with the key `victim`; if one of them holds the reservation, this nexus has
    /// it then, of type `kind` (PREEMPT, SPC-4 section 5.12.11.2.4). Commands that they have under way go
    /// on.
    ///
    /// # Errors
    ///
    /// See [above](#errors); a conflict where nobody has that key.
    pub async fn preempt(
        &self,
        key: ReservationKey,
        victim: ReservationKey,
        kind: ReservationType,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(ReserveAction::Preempt, Some(kind), key, victim);
        self.persistent_reserve_out(&order, timeout).await
    }

    /// As [`preempt`](Self::preempt), and all commands of those nexuses are aborted before it ends (PREEMPT
    /// AND ABORT, SPC-4 section 5.12.11.2.6). What of them is still on its way to the target becomes a
    /// command afterwards; without a reservation for registrants it is executed then.
    ///
    /// # Errors
    ///
    /// As [`preempt`](Self::preempt).
    pub async fn preempt_and_abort(
        &self,
        key: ReservationKey,
        victim: ReservationKey,
        kind: ReservationType,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let order = order(ReserveAction::PreemptAndAbort, Some(kind), key, victim);
        self.persistent_reserve_out(&order, timeout).await
    }

    /// Gives any order: for [APTPL](PersistentReserveOut::persist_through_power_loss), above all.
    ///
    /// # Errors
    ///
    /// See [above](#errors).
    pub async fn persistent_reserve_out(
        &self,
        order: &PersistentReserveOut,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.inner.info.with(|_| Ok(()))?;
        let commander = &self.inner.commander;
        let deadline = commander.deadline(timeout);
        let list = Bytes::copy_from_slice(&order.list());
        let payload = Payload::Out(list.into());
        let mut attempt = Attempt::new(CommandClass::Reserve, order.cdb(), payload, deadline);
        loop {
            // Another unit is not to be given the order.
            if commander.stale() != 0 {
                match self.attend(deadline).await {
                    // What else is to be looked at may wait for what this order is to end.
                    Err(error)
                        if is_kept_out(&error) && commander.stale() & stale::IDENTITY == 0 => {}
                    attended => attended.map_err(|error| attempt.after_all(error))?,
                }
            }
            match commander.run(attempt).await {
                Step::Done(result, _) => return result.map(drop),
                Step::Attend(again) => attempt = again,
            }
        }
    }

    /// Asks, and where the answer may go on, asks once more for as much as there can be. A target that
    /// cuts it off may report the length of what it has sent (LIO did), so one that fills its room is
    /// taken for one that goes on. With the length that was asked for last.
    async fn report<T>(
        &self,
        what: ReserveReport,
        timeout: Option<Duration>,
        parse: impl Fn(&[u8]) -> Result<T, DecodeError>,
        is_full: impl Fn(&T, u16) -> bool,
    ) -> Result<(T, u16), Error> {
        self.inner.info.with(|_| Ok(()))?;
        let deadline = self.inner.commander.deadline(timeout);
        let mut length = LENGTH;
        loop {
            let data = self.reserve_in(what, length, deadline).await?;
            let answer = parse(&data).map_err(malformed)?;
            if length == u16::MAX || !is_full(&answer, length) {
                return Ok((answer, length));
            }
            length = u16::MAX;
        }
    }

    async fn reserve_in(
        &self,
        what: ReserveReport,
        length: u16,
        deadline: Instant,
    ) -> Result<BytesMut, Error> {
        let commander = &self.inner.commander;
        let cdb = what.cdb(length);
        commander.data_in(cdb, length.into(), deadline).await
    }
}

const fn order(
    action: ReserveAction,
    kind: Option<ReservationType>,
    key: ReservationKey,
    action_key: ReservationKey,
) -> PersistentReserveOut {
    PersistentReserveOut {
        action,
        kind,
        key,
        action_key,
        persist_through_power_loss: false,
    }
}
