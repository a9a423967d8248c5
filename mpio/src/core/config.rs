//! What can be set, and within which limits.

use std::time::Duration;

use iscsi_proto::planted::Planted;

use super::{
    auto_resize::AutoResize,
    config_error::ConfigError,
    fence_config::{FenceConfig, FormerLife, PreemptAndAbort, WriterMode},
    given::{Given, LONGEST_FAILBACK, LONGEST_QUEUEING},
    hedge_config::HedgeConfig,
    latency_classes::LatencyClasses,
    marginal_config::MarginalConfig,
    path_checker::PathChecker,
    profile::{Reinstatement, TargetProfile},
};

/// How paths are put into groups. One group is in use at a time, the best one that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum PathGroupingPolicy {
    /// By priority where the unit tells the access states of its port groups, or where paths are ranked by their
    /// [latency](Prioritizer::PathLatency), all in one group otherwise (`detect_pgpolicy`).
    Detect,
    /// One path per group: one works, the others stand by.
    Failover,
    /// All paths in one group: all work.
    Multibus,
    /// Paths of one [priority](Prioritizer) are a group (`group_by_prio`).
    GroupByPriority,
    /// Paths to one target port group are one (`group_by_tpg`); those of which it is not known are one more.
    GroupByTargetPortGroup,
    /// Paths to one target are a group (`group_by_node_name`).
    GroupByNodeName,
    /// Paths on which the unit tells one serial number are a group (`group_by_serial`): where it is that of the
    /// controller that answers.
    GroupBySerial,
    /// Paths with one [number](super::PathAttributes::group) are a group.
    Manual,
}

impl PathGroupingPolicy {
    /// The name that multipath.conf(5) gives it, where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Failover => "failover",
            Self::Multibus => "multibus",
            Self::GroupByPriority => "group_by_prio",
            Self::GroupByTargetPortGroup => "group_by_tpg",
            Self::GroupByNodeName => "group_by_node_name",
            Self::GroupBySerial => "group_by_serial",
            Self::Manual => "manual",
        }
    }
}

/// What makes one path better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prioritizer {
    /// As `Alua` for a path whose access state is known, otherwise as `Given` (`detect_prio`).
    Detect,
    /// What the program says: [`PathAttributes::priority`](super::PathAttributes::priority). The same for all is
    /// multipath-tools' `const`, another one for single paths its `weightedpath`, `iet` and `sysfs`.
    Given,
    /// The state of the path's target port group: active/optimized 50, active/non-optimized 10, logical block
    /// dependent 5, standby 1, others 0; 80 more where the group has the PREF bit. Among equals what the program
    /// says decides.
    Alua {
        /// Whether an active/optimized group with the PREF bit is a better one than one without
        /// (`exclusive_pref_bit`).
        exclusive_pref_bit: bool,
    },
    /// By classes of latency, the quickest first (`path_latency`). Where access states are known they count before it: of
    /// paths of one state the quicker ones are better. What the program says decides among equals.
    PathLatency(LatencyClasses),
}

/// How a path is chosen within the group in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathSelector {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest I/Os in flight; among equals, one after the other.
    QueueLength,
    /// The one where it would be over first: bytes in flight there and its own, divided by what the
    /// path was measured to get done; among those that are nearly as good, one after the other. A path
    /// that was left out for being slow gets an I/O now and then (after a second at the earliest, and
    /// for three percent of the time at most) to see whether it still is.
    ServiceTime,
    /// The one where the I/Os in flight and this one would take the least time, at the smoothed time that an I/O
    /// took there by itself: from its dispatch, or from the end of the one before it if that was later. A path
    /// that was left out is tried again as with `ServiceTime`. For paths whose latency differs more than their
    /// bandwidth.
    HistoricalServiceTime,
    /// The better of two that are drawn by lot: fewer I/Os in flight times the smoothed latency. As good as looking at
    /// all, and devices that share paths do not all run to the same one at the same time. For many paths.
    PowerOfTwoChoices,
}

impl PathSelector {
    /// Whether it has to know how long I/Os take.
    pub(crate) const fn is_by_latency(self) -> bool {
        matches!(self, Self::HistoricalServiceTime | Self::PowerOfTwoChoices)
    }

    /// The name that device-mapper gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::QueueLength => "queue-length",
            Self::ServiceTime => "service-time",
            Self::HistoricalServiceTime => "historical-service-time",
            Self::PowerOfTwoChoices => "power-of-two-choices",
        }
    }
}

/// When a better group than the one in use is used again after its paths came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failback {
    /// When an operator says so ([`MultipathDevice::fail_back`](crate::MultipathDevice::fail_back)).
    Manual,
    /// At once.
    Immediate,
    /// After it has been usable for this long.
    After(Duration),
    /// At once, if its paths came back while this device looked (none of them worked, then one does); not if it
    /// has become the better one by a change of priorities, which another host may have brought about.
    FollowOver,
}

/// What happens to I/O while there is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", content = "limit_ns", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum NoPathRetry {
    /// It fails at once.
    Fail,
    /// It waits until this long after the last path went; then all that waits fails, and all that
    /// comes fails at once, until a path is back.
    QueueFor(
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::nanos"))] Duration,
    ),
    /// It waits.
    Queue,
}

/// When a silent path is suspected. See `suspicion.rs` for the reasons of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SuspicionConfig {
    /// A command must be at least this old. Default 100 ms, range 1 ms to 1 min.
    pub floor: Duration,
    /// And this many times the path's 99th percentile. Default 4, range 1 to 100.
    pub factor: u32,
    /// But beyond this age it needs no comparison. Default 500 ms, range `floor` to 10 min.
    pub ceiling: Duration,
    /// How long the NOP-Out may stay without an answer. Default 250 ms, range 1 ms to 1 min.
    pub nop_timeout: Duration,
    /// How long a path is only suspected, before its connection is closed. Default 5 s, range
    /// 10 ms to 10 min.
    pub tear_down: Duration,
    /// The same where another usable path has heard from the target meanwhile, which is asked for that if it is idle:
    /// the network is dead and not the target. Not twice on one path within 10 s. Default 400 ms, range 10 ms to
    /// 10 min; of more than `tear_down` it is without effect. Where the path's platform tells that what was sent is not
    /// acknowledged ([`Delivery`](super::Delivery)), it is enough that the other path was heard from since this one was
    /// asked.
    pub tear_down_if_others_answer: Duration,
    /// The same where the path's platform tells that everything that was sent is acknowledged: the target is slow or
    /// hung, and not the network. Its session is left alone for longer, since its writes may be under way. Default 5 s,
    /// range 10 ms to 10 min; of more than `tear_down` it is without effect, of less than `tear_down_if_others_answer` as
    /// that one.
    pub tear_down_if_acknowledged: Duration,
    /// For how long something that was sent has to be unacknowledged for the network to count as dead; never less
    /// than four round trips. Default 200 ms, which is the longest that most stacks delay an acknowledgement; range
    /// 1 ms to 1 min.
    pub unacknowledged_after: Duration,
}

/// The settings of a multipath device. Names follow multipath.conf(5) where it has them.
///
/// Built by [`Config::builder`]; the default differs from multipath-tools' built-in one where
/// that is meant for an unknown array behind a kernel: see [`ConfigBuilder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) path_grouping_policy: PathGroupingPolicy,
    pub(crate) prioritizer: Prioritizer,
    pub(crate) activate_groups: Option<Duration>,
    pub(crate) path_selector: PathSelector,
    pub(crate) path_checker: PathChecker,
    pub(crate) polling_interval: Duration,
    pub(crate) max_polling_interval: Duration,
    pub(crate) checker_timeout: Duration,
    /// `None`: as the paths are.
    pub(crate) failback: Option<Failback>,
    pub(crate) no_path_retry: NoPathRetry,
    pub(crate) auto_resize: AutoResize,
    pub(crate) fence: FenceConfig,
    pub(crate) suspicion: SuspicionConfig,
    pub(crate) hedge: Option<HedgeConfig>,
    pub(crate) marginal: Option<MarginalConfig>,
    pub(crate) max_retries: u32,
    pub(crate) max_moves: u32,
    pub(crate) queue_limit: usize,
    pub(crate) decision_trace: usize,
    pub(crate) given: Given,
    pub(crate) planted: Planted,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path_grouping_policy: PathGroupingPolicy::Detect,
            prioritizer: Prioritizer::Detect,
            activate_groups: Some(Duration::from_secs(1)),
            path_selector: PathSelector::ServiceTime,
            path_checker: PathChecker::Tur,
            polling_interval: Duration::from_secs(5),
            max_polling_interval: Duration::from_secs(20),
            checker_timeout: Duration::from_secs(30),
            failback: None,
            no_path_retry: NoPathRetry::QueueFor(Duration::from_secs(60)),
            auto_resize: AutoResize::GrowOnly,
            fence: FenceConfig::DEFAULT,
            suspicion: SuspicionConfig {
                floor: Duration::from_millis(100),
                factor: 4,
                ceiling: Duration::from_millis(500),
                nop_timeout: Duration::from_millis(250),
                tear_down: Duration::from_secs(5),
                tear_down_if_others_answer: Duration::from_millis(400),
                tear_down_if_acknowledged: Duration::from_secs(5),
                unacknowledged_after: Duration::from_millis(200),
            },
            hedge: Some(HedgeConfig::DEFAULT),
            marginal: Some(MarginalConfig::DEFAULT),
            max_retries: 5,
            max_moves: 16,
            queue_limit: 65_536,
            decision_trace: 0,
            given: Given::default(),
            planted: Planted::NONE,
        }
    }
}

impl Config {
    /// With a fence before what an earlier device of the same unit may have left, as far as that can be proven dead.
    pub(crate) fn fencing_a_former_life(mut self) -> Self {
        if self.fence.can_fence() {
            self.fence.former_life = FormerLife::Fence;
        }
        self
    }

    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder(Self::default())
    }

    /// Starts from these settings: to change one of a device, `reconfigure` it with
    /// `device.config().to_builder()`, changed and built.
    pub fn to_builder(&self) -> ConfigBuilder {
        ConfigBuilder(self.clone())
    }

    /// How paths are put into groups, as far as that does not depend on them.
    pub(crate) const fn grouping(&self) -> PathGroupingPolicy {
        match (self.path_grouping_policy, self.prioritizer) {
            (PathGroupingPolicy::Detect, Prioritizer::PathLatency(_)) => {
                PathGroupingPolicy::GroupByPriority
            }
            (policy, _) => policy,
        }
    }

    /// The no-path policy.
    #[must_use]
    pub const fn no_path_retry(&self) -> NoPathRetry {
        self.no_path_retry
    }

    /// What a new size of the unit does.
    #[must_use]
    pub const fn auto_resize(&self) -> AutoResize {
        self.auto_resize
    }

    /// How lost writes are proven dead.
    #[must_use]
    pub const fn fence(&self) -> &FenceConfig {
        &self.fence
    }

    /// The selector.
    #[must_use]
    pub const fn path_selector(&self) -> PathSelector {
        self.path_selector
    }

    /// See [`ConfigBuilder::path_checker`].
    #[must_use]
    pub const fn path_checker(&self) -> PathChecker {
        self.path_checker
    }
}

/// Sets what is to differ from the defaults; [`build`](Self::build) checks the ranges.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Default `Detect`: the optimized paths of an array that tells its access states work, and all NICs where
    /// there is no such thing. (multipath-tools' default for the latter is `failover`, because of arrays that punish
    /// I/O through their other controller without telling. Set that for such an array.)
    pub const fn path_grouping_policy(mut self, policy: PathGroupingPolicy) -> Self {
        self.0.path_grouping_policy = policy;
        self.0.given.grouping = true;
        self
    }

    /// Default `Detect`.
    pub const fn prioritizer(mut self, prioritizer: Prioritizer) -> Self {
        self.0.prioritizer = prioritizer;
        self.0.given.prioritizer = true;
        self
    }

    /// After which time the target is asked to make a port group active (explicit ALUA; SET TARGET PORT GROUPS), when
    /// all paths that are left stand by or are unavailable; `None`: never. Default 1 s, range 0 to 1 h: a connection
    /// that was merely reset is back sooner, and a takeover costs an array more than that. It is asked every two
    /// seconds at most, and more seldom after failures.
    pub const fn activate_groups(mut self, patience: Option<Duration>) -> Self {
        self.0.activate_groups = patience;
        self
    }

    /// Default `ServiceTime`: links of different speeds are all used, and none of them makes I/O wait
    /// longer than the others do. A path that hangs gets less before anybody has noticed, as with
    /// `QueueLength`.
    pub const fn path_selector(mut self, selector: PathSelector) -> Self {
        self.0.path_selector = selector;
        self
    }

    /// Time between two checks of a path; doubles from the first to the second value while all is
    /// well. Default 5 s and 20 s; range 100 ms to 1 h, the second not below the first.
    pub const fn polling_interval(mut self, first: Duration, max: Duration) -> Self {
        self.0.polling_interval = first;
        self.0.max_polling_interval = max;
        self
    }

    /// What a path is asked at each check. Default [`PathChecker::Tur`].
    pub const fn path_checker(mut self, checker: PathChecker) -> Self {
        self.0.path_checker = checker;
        self
    }

    /// How long the answer to a check may take. Default 30 s, range 100 ms to 1 h.
    pub const fn checker_timeout(mut self, timeout: Duration) -> Self {
        self.0.checker_timeout = timeout;
        self
    }

    /// Default: `Immediate` where access states are known, since the array then says which paths are the better
    /// ones; else `Manual`. A delay may be up to 24 h.
    pub const fn failback(mut self, failback: Failback) -> Self {
        self.0.failback = Some(failback);
        self.0.given.failback = true;
        self
    }

    /// Default `QueueFor` 60 s: what multipath-tools' device table gives the common software
    /// targets (12 checks of 5 s). Its built-in default for an unknown device is `Fail`, which turns
    /// a switch that reboots into I/O errors. The limit may be up to 30 days.
    pub const fn no_path_retry(mut self, policy: NoPathRetry) -> Self {
        self.0.no_path_retry = policy;
        self.0.given.no_path_retry = true;
        self
    }

    /// Default `GrowOnly`.
    pub const fn auto_resize(mut self, policy: AutoResize) -> Self {
        self.0.auto_resize = policy;
        self
    }

    /// See [`FenceConfig::mode`].
    pub const fn writer_mode(mut self, mode: WriterMode) -> Self {
        self.0.fence.mode = mode;
        self
    }

    /// See [`FenceConfig::target`].
    pub const fn target_profile(mut self, profile: TargetProfile) -> Self {
        self.0.fence.target = profile;
        self
    }

    /// Sets [`TargetProfile::reinstatement`] alone: `Barrier` or `NotBarrier`.
    pub const fn reinstatement_is_barrier(mut self, barrier: bool) -> Self {
        self.0.fence.target.reinstatement = if barrier {
            Reinstatement::Barrier
        } else {
            Reinstatement::NotBarrier
        };
        self
    }

    /// Sets [`TargetProfile::quiesce`] alone.
    pub const fn quiet_time(mut self, quiet_time: Option<Duration>) -> Self {
        self.0.fence.target.quiesce = quiet_time;
        self
    }

    /// See [`FenceConfig::sibling_reinstatement`].
    pub const fn sibling_reinstatement(mut self, allowed: bool) -> Self {
        self.0.fence.sibling_reinstatement = allowed;
        self
    }

    /// See [`FenceConfig::preempt`].
    pub const fn preempt_and_abort(mut self, terms: Option<PreemptAndAbort>) -> Self {
        self.0.fence.preempt = terms;
        self
    }

    /// See [`FenceConfig::unit_reset`].
    pub const fn unit_reset(mut self, drain: Option<Duration>) -> Self {
        self.0.fence.unit_reset = drain;
        self
    }

    /// See [`FenceConfig::former_life`].
    pub const fn former_life(mut self, former_life: FormerLife) -> Self {
        self.0.fence.former_life = former_life;
        self
    }

    /// See [`FenceConfig::limit`].
    pub const fn fence_limit(mut self, limit: Duration) -> Self {
        self.0.fence.limit = limit;
        self
    }

    /// See [`FenceConfig::abort_grace`].
    pub const fn abort_grace(mut self, grace: Duration) -> Self {
        self.0.fence.abort_grace = grace;
        self
    }

    /// See [`SuspicionConfig::floor`], [`factor`](SuspicionConfig::factor) and
    /// [`ceiling`](SuspicionConfig::ceiling).
    pub const fn suspicion(mut self, floor: Duration, factor: u32, ceiling: Duration) -> Self {
        self.0.suspicion.floor = floor;
        self.0.suspicion.factor = factor;
        self.0.suspicion.ceiling = ceiling;
        self
    }

    /// See [`SuspicionConfig::nop_timeout`].
    pub const fn nop_timeout(mut self, timeout: Duration) -> Self {
        self.0.suspicion.nop_timeout = timeout;
        self
    }

    /// See [`SuspicionConfig::tear_down`].
    pub const fn tear_down(mut self, after: Duration) -> Self {
        self.0.suspicion.tear_down = after;
        self
    }

    /// See [`SuspicionConfig::tear_down_if_others_answer`].
    pub const fn tear_down_if_others_answer(mut self, after: Duration) -> Self {
        self.0.suspicion.tear_down_if_others_answer = after;
        self
    }

    /// See [`SuspicionConfig::tear_down_if_acknowledged`].
    pub const fn tear_down_if_acknowledged(mut self, after: Duration) -> Self {
        self.0.suspicion.tear_down_if_acknowledged = after;
        self
    }

    /// See [`SuspicionConfig::unacknowledged_after`].
    pub const fn unacknowledged_after(mut self, after: Duration) -> Self {
        self.0.suspicion.unacknowledged_after = after;
        self
    }

    /// How many reads leave a path when it has only been asked; `None`: none do, they wait until it is suspected. New I/O
    /// prefers other paths from the question on in any case. Default 64 at once, and 5 % of all reads.
    pub const fn hedge(mut self, budget: Option<HedgeConfig>) -> Self {
        self.0.hedge = budget;
        self
    }

    /// When a path that works is marginal, and used as the last resort only; `None`: never. Default
    /// [`MarginalConfig::DEFAULT`].
    pub const fn marginal(mut self, marginal: Option<MarginalConfig>) -> Self {
        self.0.marginal = marginal;
        self
    }

    /// Attempts after an error that is not the path's fault. Default 5 (the kernel's for a disk),
    /// range 0 to 1000.
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.0.max_retries = retries;
        self
    }

    /// How often one I/O may change its path. Default 16: more than any real outage takes, since
    /// waiting for a path does not count, and few enough that a request that kills every
    /// connection it is sent on is given up. Range 1 to 10000.
    pub const fn max_moves(mut self, moves: u32) -> Self {
        self.0.max_moves = moves;
        self
    }

    /// Not part of the API.
    #[doc(hidden)]
    pub const fn planted(mut self, planted: Planted) -> Self {
        self.0.planted = planted;
        self
    }

    /// I/Os that may be unfinished at a time. Default 65536, range 1 to 2^20.
    pub const fn queue_limit(mut self, limit: usize) -> Self {
        self.0.queue_limit = limit;
        self
    }

    /// How many of the last decisions are kept, for [`MultipathDevice::trace`](crate::MultipathDevice::trace): which
    /// path an I/O took and why no other one, what followed its failure, and all events. Some 200 bytes each, and 48
    /// for each path of the device. Default 0: none, at no cost. Range 0 to 65536.
    pub const fn decision_trace(mut self, capacity: usize) -> Self {
        self.0.decision_trace = capacity;
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn build(self) -> Result<Config, ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        const TENTH: Duration = Duration::from_millis(100);
        const MS: Duration = Duration::from_millis(1);
        let c = self.0;
        let check = |ok: bool, field, range| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError { field, range })
            }
        };
        check(
            (TENTH..=HOUR).contains(&c.polling_interval),
            "polling_interval",
            "100 ms to 1 h",
        )?;
        check(
            (c.polling_interval..=HOUR).contains(&c.max_polling_interval),
            "max_polling_interval",
            "polling_interval to 1 h",
        )?;
        check(
            (TENTH..=HOUR).contains(&c.checker_timeout),
            "checker_timeout",
            "100 ms to 1 h",
        )?;
        check(
            !matches!(c.failback, Some(Failback::After(d)) if d > LONGEST_FAILBACK),
            "failback",
            "up to 24 h",
        )?;
        check(
            !matches!(c.no_path_retry, NoPathRetry::QueueFor(d) if d > LONGEST_QUEUEING),
            "no_path_retry",
            "up to 30 days",
        )?;
        check(
            c.activate_groups.is_none_or(|patience| patience <= HOUR),
            "activate_groups",
            "up to 1 h",
        )?;
        if let Prioritizer::PathLatency(classes) = c.prioritizer {
            classes.check()?;
        }
        c.fence.check()?;
        let s = c.suspicion;
        check(
            (MS..=HOUR / 60).contains(&s.floor),
            "suspicion.floor",
            "1 ms to 1 min",
        )?;
        check(
            (1..=100).contains(&s.factor),
            "suspicion.factor",
            "1 to 100",
        )?;
        check(
            (s.floor..=HOUR / 6).contains(&s.ceiling),
            "suspicion.ceiling",
            "floor to 10 min",
        )?;
        check(
            (MS..=HOUR / 60).contains(&s.nop_timeout),
            "nop_timeout",
            "1 ms to 1 min",
        )?;
        check(
            (10 * MS..=HOUR / 6).contains(&s.tear_down),
            "tear_down",
            "10 ms to 10 min",
        )?;
        check(
            (10 * MS..=HOUR / 6).contains(&s.tear_down_if_others_answer),
            "tear_down_if_others_answer",
            "10 ms to 10 min",
        )?;
        check(
            (10 * MS..=HOUR / 6).contains(&s.tear_down_if_acknowledged),
            "tear_down_if_acknowledged",
            "10 ms to 10 min",
        )?;
        check(
            (MS..=HOUR / 60).contains(&s.unacknowledged_after),
            "unacknowledged_after",
            "1 ms to 1 min",
        )?;
        if let Some(hedge) = c.hedge {
            hedge.check()?;
        }
        if let Some(marginal) = c.marginal {
            marginal.check()?;
        }
        check(c.max_retries <= 1000, "max_retries", "0 to 1000")?;
        check(
            (1..=10_000).contains(&c.max_moves),
            "max_moves",
            "1 to 10000",
        )?;
        check(
            (1..=1 << 20).contains(&c.queue_limit),
            "queue_limit",
            "1 to 2^20",
        )?;
        check(c.decision_trace <= 65_536, "decision_trace", "0 to 65536")?;
        Ok(c)
    }
}
