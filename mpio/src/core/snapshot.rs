//! What the device looks like at a moment, as data and in the layout of `multipath -ll`.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use iscsi_proto::{
    held::HeldBytes,
    scsi::{AccessState, ReservationKey, ReservationType},
};

use super::{
    Delivery, DownReason, FenceCounters, Latencies, MarginalCause, Multipath, NoPathRetry,
    PathCounters, PathGroupingPolicy, PathId, PathState, Registration, SpareState, SuspectCause,
    group::Group,
    path::{Path, Standing},
    spare_state::Spare,
};

/// What the device did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeviceCounters {
    /// I/Os accepted.
    pub submitted: u64,
    /// I/Os that did not end in success.
    pub failed: u64,
    /// Of these, those that ended for want of a path.
    pub no_path_errors: u64,
    /// Losses of a path after which its I/O went elsewhere.
    pub failovers: u64,
    /// Reads that moved when their path had only been asked.
    pub reads_hedged: u64,
    /// Reads that would have, but for the budget.
    pub hedges_denied: u64,
    /// Changes of the group in use.
    pub group_switches: u64,
    /// How often a spare took over.
    pub takeovers: u64,
    /// Writes that ended on a path without anybody knowing whether they would land.
    pub ambiguous_writes: u64,
    /// Writes that had to wait for one of those.
    pub writes_held: u64,
    /// What the rungs of the fencing ladder came to.
    pub fence: FenceCounters,
    /// Events that were dropped because nobody read them.
    pub events_lost: u64,
}

/// Whether a group is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum GroupStatus {
    /// In use, and it works.
    Active,
    /// Could be used, or stands by: its target may make it active.
    Enabled,
    /// None of its paths can be used, and none stands by.
    Disabled,
}

impl fmt::Display for GroupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        })
    }
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PathSnapshot {
    /// Its id.
    pub id: PathId,
    /// Its name.
    pub name: Arc<str>,
    /// Its priority: what the access state is worth, if that is known and counts, else what the program said. Where paths
    /// are ranked by latency that of its class, to which the access state adds a thousand times what it is worth.
    pub priority: u32,
    /// The access state of its target port group, if that is known.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub access: Option<AccessState>,
    /// PREF of that group: the array would have I/O come this way.
    pub preferred: bool,
    /// What the checker found last.
    pub checker: PathState,
    /// Why it takes no I/O, if it does not.
    pub down: Option<DownReason>,
    /// Why it is given no new I/O for the moment, if so.
    pub suspect: Option<SuspectCause>,
    /// Whether its network device has a carrier, as far as is known ([`handle_links`](super::Multipath::handle_links)).
    pub has_carrier: bool,
    /// Whether what was sent there is acknowledged, if it is silent and the platform tells.
    pub delivery: Option<Delivery>,
    /// It is silent and has been asked for a sign of life, whose answer is not overdue: others are preferred meanwhile.
    pub is_silent: bool,
    /// What it does, if it is a [spare](super::PathAttributes::spare_for).
    pub spare: Option<SpareState>,
    /// Why it is used as the last resort only, if it is.
    pub marginal: Option<MarginalCause>,
    /// How long it will be so at least, in that case: the rest of its probation if nothing happens. Where an operator has
    /// said so it is his to end that.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "probation_left_ns",
            serialize_with = "crate::serial::nanos_or_none"
        )
    )]
    pub probation_left: Option<Duration>,
    /// A check of it, or the question for its access state, has no answer yet: what is said here may be another thing in
    /// a moment. So it is after each login.
    pub is_being_asked: bool,
    /// The reservation key that its nexus is registered with, as far as is known: the device's, or that of its fence.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub key: Option<ReservationKey>,
    /// What a check takes there as a rule, where it is [ranked](super::LatencyClasses) by that and was measured.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "round_trip_ns",
            serialize_with = "crate::serial::nanos_or_none"
        )
    )]
    pub round_trip: Option<Duration>,
    /// Attempts in flight.
    pub in_flight: u32,
    /// 99th percentile of the time that an I/O takes here (up to 25 % too high); zero before the
    /// first.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "latency_p99_ns", serialize_with = "crate::serial::nanos")
    )]
    pub latency_p99: Duration,
    /// How long I/Os took here, from the dispatch to the answer, since it was added.
    pub latency: Latencies,
    /// Bytes per second that it gets done while it is busy (a command counts 4 KiB besides its data);
    /// zero before the first measurement.
    pub throughput: u64,
    /// How long an I/O takes there by itself, smoothed; zero before the first one, and with selectors that do not ask.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "service_time_ns", serialize_with = "crate::serial::nanos")
    )]
    pub service_time: Duration,
    /// Until the next check, if one is planned.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "next_check_ns",
            serialize_with = "crate::serial::nanos_or_none"
        )
    )]
    pub next_check: Option<Duration>,
    /// Between this check and the one before it.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "check_interval_ns", serialize_with = "crate::serial::nanos")
    )]
    pub check_interval: Duration,
    /// What it did.
    pub counters: PathCounters,
}

impl PathSnapshot {
    /// Whether it takes new I/O; a spare that stands by would.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.down.is_none() && self.suspect.is_none()
    }

    /// The word of multipath-tools for this (`marginal_st`): `marginal` or `normal`.
    #[must_use]
    pub const fn marginal_state(&self) -> &'static str {
        match self.marginal {
            Some(_) => "marginal",
            None => "normal",
        }
    }

    /// A word for what it does as a spare: `standby` or `in_use`, and `-` for a path that is none.
    #[must_use]
    pub const fn spare_state(&self) -> &'static str {
        match self.spare {
            Some(SpareState::StandsBy) => "standby",
            Some(SpareState::InUse) => "in_use",
            None => "-",
        }
    }

    /// Whether its port group stands by: it takes no I/O, and is there for when no other one does.
    #[must_use]
    pub const fn is_ghost(&self) -> bool {
        matches!(self.down, Some(DownReason::Ghost))
    }

    /// The word of `multipath -ll` for this: `active` or `failed`. As there, one that stands by has not failed.
    #[must_use]
    pub const fn dm_state(&self) -> &'static str {
        match self.is_usable() || self.is_ghost() {
            true => "active",
            false => "failed",
        }
    }

    /// The word of `multipath -ll` for its connection: `running` or `offline`.
    #[must_use]
    pub const fn device_state(&self) -> &'static str {
        match self.down {
            None => "running",
            Some(
                DownReason::Ghost
                | DownReason::NotReady
                | DownReason::CheckerTimeout
                | DownReason::Preempting
                | DownReason::Registering
                | DownReason::Unregistered
                | DownReason::Reserved
                | DownReason::Operator,
            ) => "running",
            Some(_) => "offline",
        }
    }

    /// What `multipath -ll` calls the state of the checker: that of a path that stands by is `ghost`, whatever the unit
    /// answers to a TEST UNIT READY.
    #[must_use]
    pub const fn checker_state(&self) -> PathState {
        match self.is_ghost() {
            true => PathState::Ghost,
            false => self.checker,
        }
    }

    /// The words of `multipath -ll` for the three verdicts, for instance `active ready running`.
    #[must_use]
    pub fn state_words(&self) -> String {
        let device = self.device_state();
        format!("{} {} {device}", self.dm_state(), self.checker_state())
    }
}

impl fmt::Display for PathSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.state_words())?;
        match (self.down, self.suspect) {
            (Some(reason), _) if !self.has_carrier => write!(f, " (no carrier; {reason})"),
            (Some(reason), _) => write!(f, " ({reason})"),
            (None, Some(SuspectCause::Silence)) => match self.delivery {
                Some(delivery) => write!(f, " (suspect: silent; {delivery})"),
                None => f.write_str(" (suspect: silent)"),
            },
            (None, Some(SuspectCause::PathError)) => f.write_str(" (suspect: path error)"),
            (None, Some(SuspectCause::LinkDown)) => f.write_str(" (suspect: link down)"),
            (None, Some(SuspectCause::Transition)) => f.write_str(" (transitioning)"),
            (None, None) => Ok(()),
        }?;
        match self.spare {
            Some(SpareState::StandsBy) => f.write_str(" (spare)")?,
            Some(SpareState::InUse) => f.write_str(" (spare, in use)")?,
            None => {}
        }
        match self.marginal {
            Some(cause) => write!(f, " (marginal: {cause})"),
            None => Ok(()),
        }
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupSnapshot {
    /// The highest priority of its paths.
    pub priority: u32,
    /// Its paths are marginal.
    pub is_marginal: bool,
    /// Whether it is in use.
    pub status: GroupStatus,
    /// Its paths.
    pub paths: Vec<PathSnapshot>,
}

/// The device at a moment. `Display` prints the lines of `multipath -ll` from the second one on: the
/// first, and the size, belong to whoever knows the device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// How long ago it was made. The times of its events are since then too.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "uptime_ns", serialize_with = "crate::serial::nanos")
    )]
    pub uptime: Duration,
    /// How paths are grouped.
    pub grouping: PathGroupingPolicy,
    /// The name of the [selector](super::PathSelector::name).
    pub selector: &'static str,
    /// The no-path policy that counts: `Fail` while an operator has disabled queueing.
    pub no_path_retry: NoPathRetry,
    /// An operator has suspended the device.
    pub is_suspended: bool,
    /// Whether its user has registered it with the unit's persistent reservations.
    pub registration: Registration,
    /// The reservation that it holds, as last known.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serial::text_or_none")
    )]
    pub reservation: Option<ReservationType>,
    /// Groups, best first. Paths that are being removed belong to none.
    pub groups: Vec<GroupSnapshot>,
    /// I/Os that are not finished.
    pub unfinished: usize,
    /// Of these, those that are on no path at the moment.
    pub waiting: usize,
    /// Writes that may still land.
    pub ghosts: usize,
    /// Reads that may be hedged at this moment ([`HedgeConfig`](super::HedgeConfig)).
    pub hedge_tokens: u32,
    /// Bytes of memory that its tables hold: of I/Os, attempts, claims, ghosts, actions and events.
    /// Not the payload of I/Os, which is the callers', nor the sessions of its paths
    /// (`SessionStats::held_bytes`). Bounded by [`ConfigBuilder::queue_limit`](super::ConfigBuilder::queue_limit).
    pub held_bytes: u64,
    /// How long I/Os took for those who asked, all waits and retries included.
    pub latency: Latencies,
    /// What the device did.
    pub counters: DeviceCounters,
}

impl Snapshot {
    /// All paths, in the order of the groups.
    pub fn paths(&self) -> impl Iterator<Item = &PathSnapshot> {
        self.groups.iter().flat_map(|group| &group.paths)
    }

    /// A path by its id.
    #[must_use]
    pub fn path(&self, id: PathId) -> Option<&PathSnapshot> {
        self.paths().find(|path| path.id == id)
    }

    /// A path by its name; of several the first.
    #[must_use]
    pub fn path_named(&self, name: &str) -> Option<&PathSnapshot> {
        self.paths().find(|path| *path.name == *name)
    }

    /// The `hwhandler` string that device-mapper would show: `1 alua` where access states are known.
    #[must_use]
    pub fn hwhandler(&self) -> &'static str {
        match self.paths().any(|path| path.access.is_some()) {
            true => "1 alua",
            false => "0",
        }
    }

    /// The `features` string that device-mapper would show.
    #[must_use]
    pub const fn features(&self) -> &'static str {
        match self.no_path_retry {
            NoPathRetry::Fail => "0",
            NoPathRetry::QueueFor(_) | NoPathRetry::Queue => "1 queue_if_no_path",
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups.iter().enumerate() {
            let last = index + 1 == self.groups.len();
            let (branch, stem) = if last { ("`-+-", " ") } else { ("|-+-", "|") };
            let marginal = if group.is_marginal { " marginal" } else { "" };
            writeln!(
                f,
                "{branch} policy='{} 0' prio={} status={}{marginal}",
                self.selector, group.priority, group.status
            )?;
            for (at, path) in group.paths.iter().enumerate() {
                let twig = if at + 1 == group.paths.len() {
                    "`-"
                } else {
                    "|-"
                };
                writeln!(f, "{stem} {twig} {path}")?;
            }
        }
        Ok(())
    }
}

impl Multipath {
    /// When it was made.
    pub(crate) const fn made(&self) -> Instant {
        self.made
    }

    /// What the device looks like now. Allocates; meant for operators, not for each I/O.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let groups = self.groups.list().iter().enumerate();
        Snapshot {
            uptime: now.saturating_duration_since(self.made),
            grouping: self.config.path_grouping_policy,
            selector: self.config.path_selector.name(),
            no_path_retry: self.queueing(),
            is_suspended: self.suspended,
            registration: self.registration(),
            reservation: self.standstill.held,
            groups: groups
                .map(|(index, group)| self.group_snapshot(now, index, group))
                .collect(),
            unfinished: self.ios.len(),
            waiting: self.ios.len() - self.attempts.len(),
            ghosts: self.ghosts.len(),
            hedge_tokens: self.hedge_tokens(),
            held_bytes: self.held_bytes(),
            latency: self.latencies.clone(),
            counters: DeviceCounters {
                events_lost: self.events.lost(),
                ..self.counters
            },
        }
    }

    fn held_bytes(&self) -> u64 {
        [
            self.ios.held_bytes(),
            self.attempts.held_bytes(),
            self.pending.held_bytes(),
            self.held.held_bytes(),
            self.delayed.held_bytes(),
            self.writes.held_bytes(),
            self.ghosts.held_bytes(),
            self.ladders.held_bytes(),
            self.actions.held_bytes(),
            self.events.held_bytes(),
        ]
        .into_iter()
        .sum()
    }

    fn group_snapshot(&self, now: Instant, index: usize, group: &Group) -> GroupSnapshot {
        let paths: Vec<PathSnapshot> = group
            .paths
            .iter()
            .filter_map(|&id| Some(path_snapshot(now, id, self.paths.get(id.0)?)))
            .collect();
        let status = if !paths.iter().any(PathSnapshot::is_usable) {
            match paths.iter().any(PathSnapshot::is_ghost) {
                true => GroupStatus::Enabled,
                false => GroupStatus::Disabled,
            }
        } else if index == self.groups.active_index() {
            GroupStatus::Active
        } else {
            GroupStatus::Enabled
        };
        GroupSnapshot {
            priority: group.priority.shown(),
            is_marginal: !group.priority.is_sound(),
            status,
            paths,
        }
    }
}

fn path_snapshot(now: Instant, id: PathId, path: &Path) -> PathSnapshot {
    let standing = path.standing();
    PathSnapshot {
        id,
        name: Arc::clone(&path.name),
        priority: path.priority.shown(),
        access: path.access().known.map(|known| known.state),
        preferred: path.access().known.is_some_and(|known| known.preferred),
        service_time: path.service.time(),
        checker: path.checker.state(),
        down: match standing {
            Standing::Out(reason) => Some(reason),
            _ => None,
        },
        suspect: match standing {
            Standing::Doubtful(cause) => Some(cause),
            _ => None,
        },
        has_carrier: !path.is_unplugged(),
        delivery: path.suspicion.delivery(),
        is_silent: path.suspicion.is_asked(),
        spare: path.spare.as_ref().map(Spare::state),
        marginal: path.marginal.demotion().map(|demotion| demotion.cause),
        probation_left: path
            .marginal
            .demotion()
            .and_then(|demotion| demotion.left(now)),
        is_being_asked: path.checker.is_asking() || path.access().is_asking(),
        key: path.key.map(ReservationKey),
        round_trip: path.round_trip(),
        in_flight: path.in_flight,
        latency_p99: path.latency.p99(),
        latency: path.latencies.clone(),
        throughput: path.throughput.rate(),
        next_check: path.checker.next_check_in(now),
        check_interval: path.checker.interval(),
        counters: PathCounters {
            hedges_wasted: path.suspicion.wasted(),
            ..path.counters
        },
    }
}
