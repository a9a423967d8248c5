//! One path: three verdicts that are kept apart, and its figures.

use std::{sync::Arc, time::Instant};

use iscsi_client::runtime::Beat;

use super::{
    Attempt, PathId,
    access::{Allows, PathAccess},
    action::{FenceStepId, IoClass, IoKind, Outcome, Scope},
    checker::Checker,
    config::Config,
    event::{DownReason, SuspectCause},
    histogram::Latencies,
    lately::Lately,
    latency::{self, Latency},
    marginal::Marginal,
    path_keys::KeyRefusal,
    priority::Priority,
    rank::Rank,
    retry::TakenBack,
    selector::Candidate,
    service::Service,
    spare_state::Spare,
    suspicion::Suspicion,
    throughput::Throughput,
};

/// Where a session ends: a target portal group (RFC 7143 section 4.1). Sessions with different
/// portals of one group differ in nothing that a target looks at: a login through one of them, with the
/// ISID of a session through another, reinstates that one (section 6.3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortalGroup {
    /// The target's name.
    pub target: Arc<str>,
    /// The group's tag.
    pub tag: u16,
}

/// What a path is, as told by whoever adds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathAttributes {
    /// What an operator calls it, for instance `eth1 -> 10.0.0.2:3260,1`.
    pub name: Arc<str>,
    /// Higher is better; decides which group is in use, as far as [`Prioritizer`](super::Prioritizer) does not.
    /// 1 for all is usual.
    pub priority: u32,
    /// Its group, where groups are made by hand ([`Manual`](super::PathGroupingPolicy::Manual)). 0 for all is usual.
    pub group: u32,
    /// The serial number that the unit tells on this path.
    pub serial: Option<Arc<str>>,
    /// Where it ends, if that is known: paths of one group can reinstate each other's nexus.
    pub portal_group: Option<PortalGroup>,
    /// It is a spare: the name of the path, of the same target, that it stands by for. As long as that one takes I/O this
    /// one takes none. If none has that name, or it is removed, this one is used like any other path until one has.
    pub spare_for: Option<Arc<str>>,
}

impl PathAttributes {
    /// A path with priority 1, in group 0.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            priority: 1,
            group: 0,
            serial: None,
            portal_group: None,
            spare_for: None,
        }
    }

    /// Sets the group's number.
    #[must_use]
    pub const fn with_group(mut self, group: u32) -> Self {
        self.group = group;
        self
    }

    /// Sets the serial number.
    #[must_use]
    pub fn with_serial(mut self, serial: Option<Arc<str>>) -> Self {
        self.serial = serial;
        self
    }

    /// Sets the portal group.
    #[must_use]
    pub fn with_portal_group(mut self, group: PortalGroup) -> Self {
        self.portal_group = Some(group);
        self
    }

    /// Makes it the spare of the path with this name: one from the same local end to the same portal, with the same
    /// priority and group, and with a session of its own.
    #[must_use]
    pub fn with_spare_for(mut self, path: impl Into<Arc<str>>) -> Self {
        self.spare_for = Some(path.into());
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }
}

/// What a path did, since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PathCounters {
    /// I/Os that succeeded here.
    pub ios: u64,
    /// Bytes that they read.
    pub bytes_read: u64,
    /// Bytes that they wrote.
    pub bytes_written: u64,
    /// Attempts that failed here.
    pub errors: u64,
    /// Attempts that were taken back because the path was silent.
    pub recalled: u64,
    /// Of these, reads that moved when the path had only been asked ([`HedgeConfig`](super::HedgeConfig)).
    pub hedged: u64,
    /// Of these, those of a path that answered in time after all: they were read twice.
    pub hedges_wasted: u64,
    /// How often it went down.
    pub downs: u64,
    /// How often it was suspected.
    pub suspicions: u64,
    /// How often it became marginal.
    pub demotions: u64,
    /// How often it took over, if it is a spare.
    pub takeovers: u64,
}

/// Whether a session leads to the right logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down(DownReason),
}

/// The sum of the verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Takes new I/O.
    Usable,
    /// Takes none, but will be judged within seconds: I/O waits rather than fails.
    Doubtful(SuspectCause),
    /// Does not exist for I/O.
    Out(DownReason),
}

/// What the end of an attempt has changed beyond its path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// The path's standing may be another one.
    pub(crate) restless: bool,
    /// The path's deadline, if it is an earlier one.
    pub(crate) sooner: Option<Instant>,
    /// How long it took, as a bucket, if it succeeded.
    pub(crate) bucket: usize,
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) name: Arc<str>,
    pub(crate) priority: Priority,
    /// What the program says of it.
    pub(crate) given_priority: u32,
    pub(crate) group: u32,
    pub(crate) serial: Option<Arc<str>>,
    access: PathAccess,
    pub(crate) portal_group: Option<PortalGroup>,
    pub(super) spare: Option<Spare>,
    /// Differs if its sessions were with another portal group in between.
    pub(crate) nexus: u64,
    /// Order of joining: slots are reused, so the id does not tell.
    pub(crate) joined: u64,
    pub(crate) link: Link,
    pub(crate) checker: Checker,
    pub(crate) suspicion: Suspicion,
    /// There is a connection, wherever it leads.
    pub(crate) open: bool,
    /// Asked to be closed abortively; not reported closed yet.
    fencing: bool,
    /// The order that is under way against it.
    pub(crate) preempted_by: Option<FenceStepId>,
    /// Back, and held until its lost writes are preempted.
    pub(crate) awaits_preemption: bool,
    /// The device that it leaves through has no carrier.
    is_unplugged: bool,
    /// An operator has taken it out of use.
    is_failed: bool,
    /// Has to be registered before it takes I/O.
    pub(crate) is_unregistered: bool,
    /// And that was tried in vain, so nothing is to be expected of it soon.
    is_keyless: bool,
    /// The device's reservation lets another nexus alone do I/O.
    is_shut_out: bool,
    /// Any of these but that it is keyless, or a port group that takes no I/O: one question for every I/O.
    is_barred: bool,
    /// Has taken no I/O since its login.
    pub(crate) is_fresh: bool,
    /// What its present nexus is registered with.
    pub(crate) key: Option<u64>,
    pub(crate) key_refused: Option<KeyRefusal>,
    /// Preempted while it had no connection, or none that was told of.
    pub(crate) preempted_meanwhile: bool,
    pub(crate) removing: bool,
    /// `Close` was asked for.
    pub(crate) closing: bool,
    /// Counts connections, so that a late outcome is not blamed on the next one.
    pub(crate) epoch: u32,
    pub(crate) in_flight: u32,
    pub(crate) latency: Latency,
    pub(crate) lately: Lately,
    /// A stretch of that has just ended.
    pub(crate) has_stretch: bool,
    pub(crate) marginal: Marginal,
    /// Of a path that is ranked by its latency.
    pub(crate) rank: Option<Box<Rank>>,
    /// The same for ever, and for whoever wants to see it.
    pub(crate) latencies: Latencies,
    pub(crate) throughput: Throughput,
    pub(crate) service: Service,
    pub(crate) counters: PathCounters,
    /// Reads that succeeded here since the budget of hedged reads had its share of them.
    pub(crate) reads: u64,
    /// The standing that events have told of.
    pub(crate) told: Standing,
    /// Took I/O since it was last usable.
    pub(crate) used: bool,
    /// Lost while in use, and nothing has gone elsewhere yet.
    pub(crate) failing_over: bool,
    /// It was told that a write of this connection had not left.
    pub(crate) told_unsent: bool,
}

impl Path {
    pub(crate) fn new(
        now: Instant,
        config: &Config,
        attributes: PathAttributes,
        joined: u64,
        beat: Option<Beat>,
    ) -> Self {
        Self {
            name: attributes.name,
            priority: Priority::of(config.prioritizer, attributes.priority, None, None),
            given_priority: attributes.priority,
            group: attributes.group,
            serial: attributes.serial,
            access: PathAccess::new(),
            portal_group: attributes.portal_group,
            spare: attributes.spare_for.map(Spare::new),
            nexus: 0,
            joined,
            link: Link::Down(DownReason::NotConnected),
            checker: Checker::new(beat),
            suspicion: Suspicion::new(now),
            open: false,
            fencing: false,
            preempted_by: None,
            awaits_preemption: false,
            is_unplugged: false,
            is_failed: false,
            is_unregistered: false,
            is_keyless: false,
            is_shut_out: false,
            is_barred: false,
            is_fresh: false,
            key: None,
            key_refused: None,
            preempted_meanwhile: false,
            removing: false,
            closing: false,
            epoch: 0,
            in_flight: 0,
            latency: Latency::new(),
            lately: Lately::new(now),
            has_stretch: false,
            marginal: Marginal::new(),
            rank: None,
            latencies: Latencies::new(),
            throughput: Throughput::new(now),
            service: Service::new(now),
            counters: PathCounters::default(),
            reads: 0,
            told: Standing::Out(DownReason::NotConnected),
            used: false,
            failing_over: false,
            told_unsent: false,
        }
    }

    pub(crate) const fn standing(&self) -> Standing {
        if let Link::Down(reason) = self.link {
            return Standing::Out(reason);
        }
        if self.removing {
            return Standing::Out(DownReason::Removed);
        }
        if self.is_barred {
            if self.fencing {
                return Standing::Out(DownReason::Fenced);
            }
            if self.awaits_preemption {
                return Standing::Out(DownReason::Preempting);
            }
            if self.is_unregistered {
                return Standing::Out(match self.is_keyless {
                    true => DownReason::Unregistered,
                    false => DownReason::Registering,
                });
            }
            if self.is_failed {
                return Standing::Out(DownReason::Operator);
            }
            if self.is_shut_out {
                return Standing::Out(DownReason::Reserved);
            }
            return match (self.checker.fault(), self.access.allows()) {
                (Some(reason), _) => Standing::Out(reason),
                (None, Allows::Nothing) => Standing::Out(DownReason::Ghost),
                _ if self.is_unplugged => Standing::Doubtful(SuspectCause::LinkDown),
                (None, Allows::Wait) => Standing::Doubtful(SuspectCause::Transition),
                (None, _) => Standing::Out(DownReason::Ghost),
            };
        }
        if let Some(reason) = self.checker.fault() {
            return Standing::Out(reason);
        }
        if self.suspicion.is_suspect() {
            return Standing::Doubtful(SuspectCause::Silence);
        }
        if matches!(self.checker.state(), super::checker::PathState::Shaky) {
            let is_moving = self.checker.is_in_transition();
            return Standing::Doubtful(match is_moving {
                true => SuspectCause::Transition,
                false => SuspectCause::PathError,
            });
        }
        Standing::Usable
    }

    pub(crate) const fn set_fencing(&mut self, is: bool) {
        self.fencing = is;
        self.bar();
    }

    pub(crate) const fn set_awaiting(&mut self, is: bool) {
        self.awaits_preemption = is;
        self.bar();
    }

    pub(crate) const fn set_unregistered(&mut self, is: bool) {
        self.is_unregistered = is;
        self.is_keyless = false;
        self.bar();
    }

    pub(crate) const fn set_keyless(&mut self) {
        self.set_unregistered(true);
        self.is_keyless = true;
    }

    pub(crate) const fn set_failed(&mut self, is: bool) {
        self.is_failed = is;
        self.bar();
    }

    pub(super) const fn set_shut_out(&mut self, is: bool) {
        self.is_shut_out = is;
        self.bar();
    }

    /// The device's reservation lets another nexus alone do I/O.
    pub(super) const fn is_shut_out(&self) -> bool {
        self.is_shut_out
    }

    pub(super) const fn set_unplugged(&mut self, is: bool) {
        self.is_unplugged = is;
        self.bar();
    }

    const fn bar(&mut self) {
        self.is_barred = self.fencing
            || self.awaits_preemption
            || self.is_unregistered
            || self.is_failed
            || self.is_shut_out
            || self.is_unplugged
            || !matches!(self.access.allows(), Allows::Everything);
    }

    /// Its device has no carrier.
    pub(crate) const fn is_unplugged(&self) -> bool {
        self.is_unplugged
    }

    /// An operator has taken it out of use.
    pub(crate) const fn is_failed(&self) -> bool {
        self.is_failed
    }

    pub(crate) const fn access(&self) -> &PathAccess {
        &self.access
    }

    /// Changes what is known of its access.
    pub(crate) fn with_access<T>(&mut self, change: impl FnOnce(&mut PathAccess) -> T) -> T {
        let result = change(&mut self.access);
        self.bar();
        result
    }

    /// The target that it leads to.
    pub(crate) fn target(&self) -> Option<&Arc<str>> {
        self.portal_group.as_ref().map(|group| &group.target)
    }

    /// Whether what is asked through the other path holds for this one.
    pub(crate) fn shares_target(&self, other: &Self) -> bool {
        self.access.port.is_some() && self.target() == other.target()
    }

    /// It has a connection that works, and will take I/O as soon as its key is in order.
    pub(crate) const fn is_held(&self) -> bool {
        (self.awaits_preemption || self.is_unregistered)
            && !self.is_keyless
            && !self.fencing
            && !self.is_failed
            && !self.is_shut_out
            && !self.removing
            && matches!(self.link, Link::Up)
            && self.checker.fault().is_none()
            && !matches!(self.access.allows(), Allows::Nothing)
    }

    /// It may turn out to take I/O, once its unit has told in which state its port group is.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        (self.access.is_in_doubt() || self.contradicts_itself())
            && !self.is_failed
            && !self.is_shut_out
            && self.is_connected()
            && !self.removing
            && matches!(self.checker.fault(), None | Some(DownReason::Ghost))
    }

    /// The report says that it takes I/O, and the unit, which said that it does not, is being asked again.
    const fn contradicts_itself(&self) -> bool {
        let takes_io =
            self.access.port.is_some() && matches!(self.access.allows(), Allows::Everything);
        takes_io && self.checker.is_asking()
    }

    pub(crate) const fn is_usable(&self) -> bool {
        matches!(self.standing(), Standing::Usable)
    }

    #[inline]
    pub(crate) fn as_candidate(&self, now: Instant, path: PathId) -> Candidate {
        Candidate {
            path,
            in_flight: self.in_flight,
            load: self.throughput.load(),
            speed: self.throughput.speed(),
            service: self.service.nanos(),
            is_curious: self.throughput.is_curious(now),
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up) && !self.fencing
    }

    /// There is a connection to close, and nobody was asked to close it.
    pub(crate) const fn is_open(&self) -> bool {
        self.open && !self.fencing
    }

    /// Something is owed to us by the other side.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.in_flight > 0 || self.checker.is_asking() || self.access.is_asking()
    }

    /// Books an attempt; true if something is owed to us only from now on.
    pub(crate) fn started(&mut self, now: Instant, class: &IoClass) -> bool {
        let begins = !self.is_waiting();
        if begins {
            self.suspicion.started(now);
        }
        self.in_flight += 1;
        self.used = true;
        if is_measured(class) {
            self.throughput.started(now, class.bytes);
        }
        begins
    }

    /// Books the end of an attempt.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        config: &Config,
        ended: &Attempt,
        class: &IoClass,
        outcome: Outcome,
    ) -> Change {
        self.in_flight = self.in_flight.saturating_sub(1);
        let success = outcome == Outcome::Success;
        if is_measured(class) {
            self.throughput.ended(now, class.bytes, success);
            if success && config.path_selector.is_by_latency() {
                self.service.ended(now, ended.started);
            }
        }
        let same_connection = self.epoch == ended.epoch && self.is_connected();
        let mut change = Change {
            restless: self.removing,
            sooner: None,
            bucket: 0,
        };
        match outcome {
            Outcome::Success => {
                let took = now.saturating_duration_since(ended.started);
                let micros = latency::micros(took);
                change.bucket = latency::bucket_of(micros);
                let quicker = self.succeeded(class, micros, change.bucket);
                // An answer takes a question back, and the silence from then on may be over its limit
                // before the question's time would have been.
                let asked = same_connection && !self.suspicion.is_calm();
                if same_connection {
                    change.restless |= self.suspicion.is_suspect();
                    self.suspicion.answered(now);
                }
                if quicker || asked {
                    change.sooner = self.deadline(config);
                }
            }
            Outcome::Failed(failure) if ended.taken_back == TakenBack::No => {
                self.counters.errors += 1;
                if failure.scope == Scope::Path && same_connection {
                    self.checker.doubt(now);
                    // It may be that its port group takes no I/O any more, which a TEST UNIT READY need not tell.
                    self.access.recheck(now);
                    change.restless = true;
                }
            }
            Outcome::Failed(_) => {}
        }
        change
    }

    /// True if commands have become quicker.
    fn succeeded(&mut self, class: &IoClass, micros: u64, bucket: usize) -> bool {
        let quicker = self.latency.record(bucket);
        if is_measured(class) {
            self.lately.ended(class, micros);
        }
        self.latencies.record_in(class.kind, bucket);
        self.counters.ios += 1;
        if class.kind == IoKind::Read {
            self.reads += 1;
            self.counters.bytes_read += class.bytes;
        } else {
            self.counters.bytes_written += class.bytes;
        }
        quicker
    }

    pub(crate) fn deadline(&self, config: &Config) -> Option<Instant> {
        if !self.is_connected() {
            return None;
        }
        let suspicion =
            self.suspicion
                .deadline(&config.suspicion, self.latency.p99(), self.is_waiting());
        [suspicion, self.checker.deadline(), self.access.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Whether the time that it takes says something of its path. A flush takes as long as the medium does.
const fn is_measured(class: &IoClass) -> bool {
    class.bytes > 0
}
