//! What the logical units of a session have reported on their own account.
//!
//! A target reports a unit attention once per I_T nexus, to whichever command comes next: with several
//! users of one LUN, one of them finds it, and all of them have to know. So it is kept here, beside the
//! session, and not with the user who happened to ask.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use iscsi_proto::scsi::{AdditionalSenseCode, Lun, SenseData};

/// Something that happened to a logical unit, as it reported it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnitEvent {
    /// Its number, from 1, among those of the LUN and the session.
    pub number: u64,
    /// When it was found, by the runtime's clock.
    pub at: Instant,
    /// What.
    pub attention: UnitAttention,
    /// The sense data, as it came.
    pub sense: SenseData,
}

/// The unit attention conditions that an initiator acts on (SPC-4 section 5.14 and annex D).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnitAttention {
    /// 29/xx: power on, a reset, or the loss of the nexus; the code says which.
    Reset(AdditionalSenseCode),
    /// 28/xx: the medium may be another one.
    MediumMayHaveChanged,
    /// 2A/01: mode parameters changed.
    ModeParametersChanged,
    /// 2A/03: a reservation was preempted.
    ReservationsPreempted,
    /// 2A/04: a reservation was released.
    ReservationsReleased,
    /// 2A/05: our registration was preempted.
    RegistrationsPreempted,
    /// 2A/06: a target port group went to another asymmetric access state.
    AccessStateChanged,
    /// 2A/07: a transition that the device began by itself has failed.
    ImplicitTransitionFailed,
    /// 2A/09: the capacity is another one.
    CapacityChanged,
    /// 2F/xx: another initiator has cleared our commands.
    CommandsCleared,
    /// 38/07: a thin-provisioned pool has reached its soft threshold.
    ThinProvisioningThreshold,
    /// 3F/01: other firmware.
    MicrocodeChanged,
    /// 3F/03: INQUIRY data changed.
    InquiryDataChanged,
    /// 3F/05: the identifier changed.
    DeviceIdentifierChanged,
    /// 3F/0E: logical units were added or removed: list them again
    /// ([`Session::report_luns`](super::Session::report_luns)).
    ReportedLunsChanged,
    /// Any other code.
    Other(AdditionalSenseCode),
}

impl UnitAttention {
    /// The condition with this code.
    #[must_use]
    pub const fn from_code(code: AdditionalSenseCode) -> Self {
        match (code.0, code.1) {
            (0x29, _) => Self::Reset(code),
            (0x28, _) => Self::MediumMayHaveChanged,
            (0x2a, 0x01) => Self::ModeParametersChanged,
            (0x2a, 0x03) => Self::ReservationsPreempted,
            (0x2a, 0x04) => Self::ReservationsReleased,
            (0x2a, 0x05) => Self::RegistrationsPreempted,
            (0x2a, 0x06) => Self::AccessStateChanged,
            (0x2a, 0x07) => Self::ImplicitTransitionFailed,
            (0x2a, 0x09) => Self::CapacityChanged,
            (0x2f, _) => Self::CommandsCleared,
            (0x38, 0x07) => Self::ThinProvisioningThreshold,
            (0x3f, 0x01) => Self::MicrocodeChanged,
            (0x3f, 0x03) => Self::InquiryDataChanged,
            (0x3f, 0x05) => Self::DeviceIdentifierChanged,
            (0x3f, 0x0e) => Self::ReportedLunsChanged,
            _ => Self::Other(code),
        }
    }
}

/// How many events of a unit are kept for a reader that sleeps. A unit with more to say than this
/// between two looks of a reader has lost its mind; the numbers show that some are missing.
const KEPT_EVENTS: usize = 64;

/// The reports of one logical unit through one session: its events, and how often something about it
/// has gone out of date.
#[derive(Debug, Default)]
pub(crate) struct UnitReports {
    journal: Mutex<Journal>,
    capacity: AtomicU64,
    identity: AtomicU64,
}

#[derive(Debug, Default)]
struct Journal {
    last: u64,
    events: VecDeque<UnitEvent>,
    watchers: Vec<(u64, Waker)>,
    next_watcher: u64,
}

impl UnitReports {
    fn lock(&self) -> MutexGuard<'_, Journal> {
        // Every critical section leaves the journal whole, so poison says nothing.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, at: Instant, sense: &SenseData) {
        let mut journal = self.lock();
        if journal.events.len() == KEPT_EVENTS {
            journal.events.pop_front();
        }
        journal.last += 1;
        let event = UnitEvent {
            number: journal.last,
            at,
            attention: UnitAttention::from_code(sense.code()),
            sense: sense.clone(),
        };
        journal.events.push_back(event);
        let watchers = std::mem::take(&mut journal.watchers);
        // Wakers may run anything, even a look at the journal.
        drop(journal);
        watchers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn events_after(&self, number: u64) -> Vec<UnitEvent> {
        let journal = self.lock();
        let newer = journal.events.iter().filter(|e| e.number > number);
        newer.cloned().collect()
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        Watch {
            reports: Arc::clone(self),
            id: None,
        }
    }

    /// Something about the unit is out of date now, for everybody who uses it.
    pub(crate) fn outdate(&self, capacity: bool, identity: bool) {
        if capacity {
            self.capacity.fetch_add(1, Ordering::AcqRel);
        }
        if identity {
            self.identity.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How often capacity and identity went out of date.
    pub(crate) fn outdated(&self) -> [u64; 2] {
        [&self.capacity, &self.identity].map(|count| count.load(Ordering::Acquire))
    }
}

/// Waits for an event; takes its waker away when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    reports: Arc<UnitReports>,
    id: Option<u64>,
}

impl Watch {
    /// The oldest event after number `seen` that is kept.
    pub(crate) fn poll_after(&mut self, seen: u64, cx: &Context<'_>) -> Poll<UnitEvent> {
        let mut journal = self.reports.lock();
        if let Some(event) = journal.events.iter().find(|e| e.number > seen) {
            return Poll::Ready(event.clone());
        }
        let id = self.id;
        let known = journal.watchers.iter_mut().find(|(n, _)| Some(*n) == id);
        match known {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => {
                let number = journal.next_watcher;
                journal.next_watcher += 1;
                journal.watchers.push((number, cx.waker().clone()));
                self.id = Some(number);
            }
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.reports.lock().watchers.retain(|(n, _)| *n != id);
        }
    }
}

/// The reports of all logical units of a session that somebody uses.
#[derive(Debug, Default)]
pub(super) struct UnitTable(Mutex<BTreeMap<Lun, Weak<UnitReports>>>);

impl UnitTable {
    /// The reports of a LUN, the same for all who use it at a time.
    pub(super) fn get(&self, lun: Lun) -> Arc<UnitReports> {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reports) = units.get(&lun).and_then(Weak::upgrade) {
            return reports;
        }
        // Those that nobody uses any more, or a host that opens LUN after LUN would fill the table.
        units.retain(|_, unit| unit.strong_count() > 0);
        let reports = Arc::default();
        units.insert(lun, Arc::downgrade(&reports));
        reports
    }
}

#[cfg(test)]
mod tests {
    use iscsi_proto::scsi::SenseKey;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn some_instant() -> Instant {
        Instant::now()
    }

    fn sense(asc: u8, ascq: u8) -> SenseData {
        SenseData::fixed(SenseKey::UnitAttention, AdditionalSenseCode(asc, ascq))
    }

    #[test]
    fn a_storm_stays_bounded_and_its_numbers_show_what_is_missing() {
        let reports = UnitReports::default();
        let now = some_instant();
        for _ in 0..1000 {
            reports.push(now, &sense(0x2a, 0x09));
        }
        let events = reports.events_after(0);
        assert_eq!(events.len(), KEPT_EVENTS);
        assert_eq!((events[0].number, events[63].number), (937, 1000));
        assert!(reports.events_after(1000).is_empty());
    }

    #[test]
    fn every_watcher_is_woken_and_leaves_nothing_behind() {
        let reports = Arc::new(UnitReports::default());
        let cx = Context::from_waker(Waker::noop());
        let mut watches = [reports.watch(), reports.watch()];
        for watch in &mut watches {
            assert!(watch.poll_after(0, &cx).is_pending());
            assert!(watch.poll_after(0, &cx).is_pending());
        }
        assert_eq!(reports.lock().watchers.len(), 2);
        reports.push(some_instant(), &sense(0x2a, 0x06));
        for watch in &mut watches {
            let Poll::Ready(event) = watch.poll_after(0, &cx) else {
                panic!("an event was missed")
            };
            assert_eq!(event.attention, UnitAttention::AccessStateChanged);
            assert!(watch.poll_after(event.number, &cx).is_pending());
        }
        drop(watches);
        assert!(reports.lock().watchers.is_empty());
    }

    #[test]
    fn a_lun_has_one_journal_while_somebody_uses_it_and_the_table_forgets_the_others() {
        let table = UnitTable::default();
        let one = table.get(Lun::new(1));
        assert!(Arc::ptr_eq(&one, &table.get(Lun::new(1))));
        for number in 2..100 {
            drop(table.get(Lun::new(number)));
        }
        assert!(table.0.lock().unwrap().len() <= 2);
        assert!(Arc::ptr_eq(&one, &table.get(Lun::new(1))));
    }

    #[test]
    fn codes_without_a_name_are_kept() {
        let raw = AdditionalSenseCode(0x2a, 0x14);
        assert_eq!(UnitAttention::from_code(raw), UnitAttention::Other(raw));
        let reset = AdditionalSenseCode::I_T_NEXUS_LOSS_OCCURRED;
        assert_eq!(UnitAttention::from_code(reset), UnitAttention::Reset(reset));
    }
}
