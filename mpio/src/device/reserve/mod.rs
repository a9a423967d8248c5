//! Persistent reservations of the device's user, through whatever path works: what `mpathpersist` does.
//!
//! * `types` and `error`: keys, outcomes, errors.
//! * `book`: what is kept, of the device and of each path.
//! * `attend`: one path is registered, or not.
//! * `state`: what is wanted of all paths, and how far they are.
//! * `ask`: questions, and quiet for an order.
//! * `orders`, `release`: what a call does.

mod ask;
mod attend;
pub(super) mod book;
mod error;
mod orders;
mod release;
mod state;
mod types;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use iscsi_client::error::{Error, ErrorKind, Outcome};
use iscsi_proto::scsi::{
    CurrentReservation, FullStatus, ReservationCapabilities, ReservationKey, ReservationKeys,
    ReservationType,
};

use book::is_of_one_nexus;
pub use error::ReserveError;
pub(super) use state::{Attended, attend};
pub use types::{PathRegistration, RegistrationKeys, RegistrationOutcome, Registrations};

use self::{ask::ask, attend::TIMEOUT};
use super::{MultipathDevice, job::Job, shared::State};
use crate::{core::Registration, path::Path};

/// Persistent reservations (SPC-4 section 5.12) of the device as a whole.
///
/// A registration belongs to a nexus, so every path needs its own. Once [`register`](Self::register) was called the
/// device sees to that: a path that comes back, or is added, is registered before its first I/O, and one that cannot be
/// takes none. `docs/reservations.md` has the rules.
///
/// # Somebody else's word counts
///
/// A registration that somebody has ended (PREEMPT, CLEAR) is not made again. The device tells
/// [`RegistrationLost`](crate::core::Event::RegistrationLost), and its writes fail with
/// [`ReservationConflict`](ErrorKind::ReservationConflict), also those that wait and whatever the target would let
/// pass, until `register` or [`unregister`](Self::unregister) is called.
///
/// # Errors
///
/// [`ReserveError`]. A question is repeated on another path. An order is given through another path only if it is known
/// not to have been executed; after an unknown outcome the keys and the reservation are asked for, and where they do not
/// tell that it was carried out, the error's outcome is unknown.
///
/// # Cancel safety
///
/// Orders are carried out by the device's driver, one after the other: from the first time that it is their turn they go
/// on to their end, whether or not the future is dropped. Questions are cancel safe.
impl<P: Path> MultipathDevice<P> {
    /// Registers all paths, now and from now on, in place of whatever keys they have. Without APTPL: registrations end
    /// when the target loses its power, and are made again.
    ///
    /// # Errors
    ///
    /// [`Nowhere`](ReserveError::Nowhere) if not one path could be registered: then the device is as it was, but that a
    /// device that was registered with other keys goes on trying. Where some could, the result tells of each.
    pub async fn register(
        &self,
        keys: impl Into<RegistrationKeys>,
    ) -> Result<Registrations, ReserveError> {
        let keys = keys.into();
        if keys == RegistrationKeys::One(ReservationKey::NONE) {
            return Err(ReserveError::NoKey);
        }
        let shared = Arc::clone(self.shared());
        self.call(orders::register(shared, keys), |_| Ok(())).await
    }

    /// Takes all registrations back, after the reservation if the device holds it. Paths that are not connected are
    /// unregistered when they are. Writes that failed since a registration was lost are let through again.
    ///
    /// # Errors
    ///
    /// [`FenceHasKeys`](ReserveError::FenceHasKeys). Where the reservation cannot be given up, as where no path is
    /// connected, the device stays registered: one path unregistered before the holder's could not write. What failed on
    /// a path is in the result, and is tried again.
    pub async fn unregister(&self) -> Result<Registrations, ReserveError> {
        let shared = Arc::clone(self.shared());
        self.call(orders::unregister(shared), |_| Ok(())).await
    }

    /// Reserves the unit for this device, with a type that is for registrants: with the others one nexus alone could do
    /// I/O. To do so again is no error.
    ///
    /// # Errors
    ///
    /// [`OnePathOnly`](ReserveError::OnePathOnly); a conflict where somebody else has a reservation.
    pub async fn reserve(&self, kind: ReservationType) -> Result<(), ReserveError> {
        self.order(orders::reserve(Arc::clone(self.shared()), kind), Some(kind))
            .await
    }

    /// Gives the reservation up; without effect where the device holds none. If the path that holds it is gone, another
    /// one takes the reservation over first. With one key for all paths that unregisters the others, and I/O waits until
    /// they are registered again.
    ///
    /// # Errors
    ///
    /// [`OtherType`](ReserveError::OtherType).
    pub async fn release(&self, kind: ReservationType) -> Result<(), ReserveError> {
        self.order(release::release(Arc::clone(self.shared()), kind), None)
            .await
    }

    /// Ends the reservation and all registrations, whosever they are, this device's too (CLEAR). I/O waits meanwhile.
    ///
    /// # Errors
    ///
    /// [`ReserveError`].
    pub async fn clear_reservations(&self) -> Result<(), ReserveError> {
        self.order(orders::clear(Arc::clone(self.shared())), None)
            .await
    }

    /// Unregisters every nexus with the key `victim`; if one of them holds the reservation, this device has it then, of
    /// type `kind` (PREEMPT). Commands that they have under way go on.
    ///
    /// # Errors
    ///
    /// [`OwnKey`](ReserveError::OwnKey), [`OnePathOnly`](ReserveError::OnePathOnly),
    /// [`NotPreempted`](ReserveError::NotPreempted); a conflict where nobody has that key.
    pub async fn preempt(
        &self,
        victim: ReservationKey,
        kind: ReservationType,
    ) -> Result<(), ReserveError> {
        let work = orders::preempt(Arc::clone(self.shared()), victim, kind, false);
        self.order(work, Some(kind)).await
    }

    /// As [`preempt`](Self::preempt), and all commands of those nexuses are aborted before it ends (PREEMPT AND ABORT).
    ///
    /// # Errors
    ///
    /// As `preempt`. Keys that are gone do not tell that all commands are aborted, so after an unknown outcome the error
    /// is unknown as well.
    pub async fn preempt_and_abort(
        &self,
        victim: ReservationKey,
        kind: ReservationType,
    ) -> Result<(), ReserveError> {
        let work = orders::preempt(Arc::clone(self.shared()), victim, kind, true);
        self.order(work, Some(kind)).await
    }

    /// The keys of all registrations, whosever they are: one for each nexus (READ KEYS).
    ///
    /// # Errors
    ///
    /// [`NoPath`](ErrorKind::NoPath), or the last path's.
    pub async fn reservation_keys(&self) -> Result<ReservationKeys, Error> {
        ask(self.shared(), |path: Arc<P>| async move {
            path.reservation_keys(TIMEOUT).await
        })
        .await
    }

    /// The reservation, whosever it is (READ RESERVATION).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn reservation(&self) -> Result<CurrentReservation, Error> {
        ask(self.shared(), |path: Arc<P>| async move {
            path.reservation(TIMEOUT).await
        })
        .await
    }

    /// All registrations, and whose they are (READ FULL STATUS).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn registrations(&self) -> Result<FullStatus, Error> {
        ask(self.shared(), |path: Arc<P>| async move {
            path.registrations(TIMEOUT).await
        })
        .await
    }

    /// What the unit does about persistent reservations (REPORT CAPABILITIES).
    ///
    /// # Errors
    ///
    /// As [`reservation_keys`](Self::reservation_keys).
    pub async fn reservation_capabilities(&self) -> Result<ReservationCapabilities, Error> {
        ask(self.shared(), |path: Arc<P>| async move {
            path.reservation_capabilities(TIMEOUT).await
        })
        .await
    }

    /// An order that needs a registration; `kind` has to let all paths do I/O.
    async fn order(
        &self,
        work: impl Future<Output = Result<(), ReserveError>> + Send + 'static,
        kind: Option<ReservationType>,
    ) -> Result<(), ReserveError> {
        let allowed = move |state: &State<P>| {
            match state.core.registration() {
                Registration::Registered => {}
                Registration::Lost => return Err(ReserveError::Lost),
                Registration::None => return Err(ReserveError::NotRegistered),
            }
            match kind {
                Some(kind) if is_of_one_nexus(kind) && state.has_several_paths() => {
                    Err(ReserveError::OnePathOnly(kind))
                }
                _ => Ok(()),
            }
        };
        self.call(work, allowed).await
    }

    /// Leaves something to the driver when it is its turn and `allowed`, and waits for what comes of it.
    async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ReserveError>> + Send + 'static,
        allowed: impl Fn(&State<P>) -> Result<(), ReserveError>,
    ) -> Result<T, ReserveError> {
        let shared = self.shared();
        let slot = Arc::new(Mutex::new(None));
        let mut job = Some({
            let (shared, slot) = (Arc::clone(shared), Arc::clone(&slot));
            Box::pin(async move {
                let result = work.await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                shared.act(|state, _| {
                    state.reserve.busy = false;
                    state.news = true;
                });
            })
        });
        while job.is_some() {
            shared.until(State::is_free).await?;
            shared.act(|state, _| {
                // Another one may have been quicker.
                if let Some(Ok(())) = state.is_free() {
                    allowed(state)?;
                    if let Some(job) = job.take() {
                        state.reserve.busy = true;
                        state.jobs.push(Job::Call(job));
                    }
                }
                Ok::<_, ReserveError>(())
            })?;
        }
        let result = |state: &State<P>| {
            let result = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            // It was given to the driver, and nobody can tell how far that came.
            let ended = || {
                let error = Error::new(ErrorKind::Closed, Outcome::Unknown);
                state.ended.then(|| Err(error.into()))
            };
            result.or_else(ended)
        };
        shared.until(result).await
    }
}

impl<P: Path> State<P> {
    /// Whether the next call may begin, once it may.
    fn is_free(&self) -> Option<Result<(), ReserveError>> {
        if self.keys().is_some() {
            return Some(Err(ReserveError::FenceHasKeys));
        }
        if self.ended || self.core.is_closing() {
            return Some(Err(Error::not_executed(ErrorKind::Closed).into()));
        }
        (!self.reserve.busy).then_some(Ok(()))
    }

    fn has_several_paths(&self) -> bool {
        let members = self.members.iter().flatten().count();
        members + self.missing.len() + self.spares_coming() > 1
    }
}
