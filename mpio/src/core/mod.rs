//! The decisions of multipath I/O, without any I/O.
//!
//! Nothing in this module owns a byte, reads a clock, starts a task or draws a random number. That is
//! what allows the failover of a device to be run a thousand times under a simulator, and a
//! different shell to be built around the same decisions.

mod access;
mod action;
mod admission;
mod alua;
pub(crate) mod arena;
mod ask;
mod auto_resize;
mod checker;
mod config;
mod config_error;
mod delivery;
mod dispatch;
#[cfg(test)]
mod each_event;
mod event;
mod events;
mod fence;
mod fence_config;
mod former;
mod given;
mod group;
mod hedge;
mod hedge_config;
mod histogram;
mod ladder;
mod lately;
mod latency;
mod latency_classes;
mod links;
mod lots;
mod marginal;
mod marginal_config;
mod no_path;
mod operate;
mod path;
mod path_checker;
mod path_keys;
mod pin;
mod preempt;
mod priority;
mod profile;
mod progress;
mod rank;
mod ranking;
mod recorder;
mod reserve;
mod retry;
mod rung;
mod selector;
mod service;
mod snapshot;
mod spare;
mod spare_state;
mod suspicion;
mod throughput;
pub mod trace;
mod upkeep;
mod weigh;

use std::{collections::VecDeque, time::Instant};

use iscsi_client::runtime::Beat;
use iscsi_proto::planted::Bug;

pub use access::TargetPort;
pub use action::{
    Action, Execution, FailReason, Failure, FenceResult, FenceStepId, IoClass, IoKind, Outcome,
    ProbeKind, ProbeReport, ProbeResult, Retry, Scope, Verdict,
};
pub use admission::Admission;
pub use arena::{AttemptId, IoId, PathId};
pub use auto_resize::AutoResize;
pub use checker::PathState;
pub use config::{
    Config, ConfigBuilder, Failback, NoPathRetry, PathGroupingPolicy, PathSelector, Prioritizer,
    SuspicionConfig,
};
pub use config_error::ConfigError;
pub use delivery::{Delivery, NetworkProgress};
pub use event::{DownReason, Event, FencedBy, MarginalCause, SuspectCause};
pub use fence_config::{FenceConfig, FormerLife, PreemptAndAbort, WriterMode};
pub use hedge_config::HedgeConfig;
pub use histogram::{Bucket, Histogram, Latencies};
pub use latency_classes::LatencyClasses;
pub use marginal_config::{LatencyLimit, MarginalConfig};
pub use path::{PathAttributes, PathCounters, PortalGroup};
pub use path_checker::PathChecker;
pub use path_keys::{KeyRefusal, PathKeys, Preempted, Registered};
pub use profile::{Reinstatement, TargetProfile};
pub use reserve::Registration;
pub use rung::{FenceCounters, FenceRung, RungCounters, RungStep, SkipReason};
pub use snapshot::{DeviceCounters, GroupSnapshot, GroupStatus, PathSnapshot, Snapshot};
pub use spare_state::SpareState;

use access::Activation;
use arena::Arena;
use events::Events;
use fence::{ClaimId, Ghost, WriteRanges};
use former::Former;
use group::Groups;
use hedge::Budget;
use ladder::{Effort, Ladder};
use lots::Lots;
use no_path::NoPath;
use path::Path;
use pin::Pin;
use recorder::Recorder;
use reserve::Standstill;
use retry::{Limits, TakenBack, Tries};
use selector::{Candidate, Select};

/// Whether a session that was opened leads to the logical unit of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityCheck {
    /// It is the same: by VPD page 83h above all.
    Verified,
    /// It is another one, or none any more.
    Mismatch,
}

/// Why an I/O was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The limit of unfinished I/Os is reached.
    #[error("too many unfinished I/Os")]
    QueueFull,
    /// The device is closed or being closed.
    #[error("the device is closed")]
    Closed,
}

/// A command names a path that the device does not have: it was removed meanwhile, or is another device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device has no {path} (any more): its snapshot says which it has")]
#[non_exhaustive]
pub struct UnknownPath {
    /// Its id.
    pub path: PathId,
}

/// Where an I/O stands. In flight it has exactly one attempt, otherwise none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IoState {
    /// In `pending`: goes out as soon as there is a path.
    Pending,
    /// In `held`: waits for an earlier write that it overlaps.
    Held,
    /// In `delayed`: waits for a moment.
    Delayed,
    /// Waits for its own ghost, where others write too.
    Fencing,
    InFlight(AttemptId),
}

/// Which path the next attempt is to take or to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steer {
    Any,
    Prefer(PathId),
    Avoid(PathId),
    /// It was hedged away from this one: to one as good, or back.
    Leave(PathId),
}

#[derive(Debug)]
struct Io {
    class: IoClass,
    state: IoState,
    steer: Steer,
    tries: Tries,
    /// Of a write.
    claim: Option<ClaimId>,
    /// Of all attempts so far; once unknown, always unknown.
    execution: Execution,
    cancelled: bool,
    /// When it was accepted.
    since: Instant,
}

#[derive(Debug)]
struct Attempt {
    io: IoId,
    path: PathId,
    epoch: u32,
    /// The nexus of its path when it was dispatched.
    nexus: u64,
    started: Instant,
    taken_back: TakenBack,
    /// It was to be hedged, and the budget was spent.
    denied: bool,
}

/// One device behind several paths: the decisions, without any I/O.
///
/// # Driving it
///
/// A caller (the shell) feeds it and does as it says:
///
/// * **Commands** come from users of the device: [`add_path`](Self::add_path),
///   [`remove_path`](Self::remove_path), [`submit`](Self::submit), [`cancel`](Self::cancel),
///   [`fail_back`](Self::fail_back), [`close`](Self::close).
/// * **Inputs** tell what happened: the `handle_*` methods.
/// * **Outputs**: after any command or input, and after any number of them, take
///   [`poll_action`](Self::poll_action) until it is empty and carry the actions out in that order;
///   then arm a timer for [`poll_timeout`](Self::poll_timeout) and call
///   [`handle_timeout`](Self::handle_timeout) when it fires. [`poll_event`](Self::poll_event) may be
///   read at leisure.
///
/// Inputs may come in any order and from any number of sources; time never goes backwards. What the
/// shell promises:
///
/// 1. Each `Dispatch` is followed by exactly one [`handle_outcome`](Self::handle_outcome) with its
///    attempt, whatever happens: on a lost connection soon after it was lost, after a `Recall` or
///    a `Detach` at once. An outcome is honest about execution: `Unknown` unless there is proof. It may have been
///    sent on a later connection of the path than was there when it was dispatched. If its connection
///    is closed, its outcome is reported after that was done.
/// 2. [`handle_path_down`](Self::handle_path_down) is reported when the connection has been closed
///    *abortively*: nothing of it is left in our own send buffers.
/// 3. [`handle_path_up`](Self::handle_path_up) is reported after each login, after the identity was
///    read through the new session and before anything else is sent there.
///    Before it, and before a fence step that is done, [`handle_nexus`](Self::handle_nexus) tells whom the
///    session is with, if that is ever another portal group. With [`FenceConfig::preempt`] the nexus is
///    registered before it is up, and [`handle_registered`](Self::handle_registered) tells what came of it.
///    [`handle_target_port`](Self::handle_target_port) tells where it ends, if the unit knows asymmetric access.
/// 4. Before `handle_timeout`, and after the answer to a probe, it reports by
///    [`handle_activity`](Self::handle_activity) when each connection last received something.
///    (A success of an attempt counts by itself.)
///
/// 5. Each `ReportPortGroups` is followed by [`handle_port_groups`](Self::handle_port_groups), each `Activate` by one
///    [`handle_activated`](Self::handle_activated), if only because the connection was lost; and when a unit tells that
///    access states have changed, [`handle_access_changed`](Self::handle_access_changed) tells it here.
///
/// 6. Where it is known whether the network devices have a carrier, [`handle_links`](Self::handle_links) tells it: of all
///    paths of one device together.
///
/// What it promises: each accepted I/O gets exactly one `Finish`, after which neither the I/O nor any
/// attempt of it is mentioned again; no `Dispatch` to a path that is down, suspected or unverified;
/// no `Dispatch` of a write while an earlier write that it overlaps is unfinished or may still land
/// (`fence.rs`; the exception is what the caller was told is `Unknown` because nothing proved it, see
/// [`FenceConfig`]). In a steady state it allocates nothing.
#[derive(Debug)]
pub struct Multipath {
    config: Config,
    made: Instant,
    beat: Option<Beat>,
    paths: Arena<Path>,
    groups: Groups,
    /// Some of the paths are spares.
    has_spares: bool,
    selector: Box<dyn Select>,
    candidates: Vec<Candidate>,

    ios: Arena<Io>,
    attempts: Arena<Attempt>,
    pending: VecDeque<IoId>,
    held: VecDeque<IoId>,
    delayed: Vec<(Instant, IoId)>,
    writes: WriteRanges,
    ghosts: Vec<Ghost>,
    /// One for each path that has ghosts.
    ladders: Vec<Ladder>,
    reset: Effort,
    former: Option<Former>,
    activation: Activation,
    /// For reads that move at the question.
    budget: Budget,
    /// Some path may have been asked. Until that is looked at again, so that those who dispatch need not look.
    asking: bool,
    /// Of the last ghost or rung.
    fence_number: u64,
    /// A claim in `writes` was released: look through `held`.
    released: bool,

    no_path: NoPath,
    /// `AllPathsDown` was told.
    told_down: bool,
    fail_back_at: Option<Instant>,
    /// When to look which paths are marginal, if there is something to look at.
    look_at: Option<Instant>,
    /// When a path had another class of latency than before.
    ranked: Option<Instant>,
    /// Some of the paths can be compared with each other.
    is_comparing: bool,
    /// Something was dispatched since the group in use became that.
    group_used: bool,
    /// A path's standing may have changed.
    restless: bool,
    /// Some path is `failing_over`.
    failing_over: bool,
    closing: bool,
    suspended: bool,
    standstill: Standstill,
    /// It is not the usual case: suspended, or something of `standstill`.
    stopped: bool,
    told_quiesced: bool,
    /// An operator has chosen the group in use.
    pinned: Option<Pin>,
    joined: u64,
    lots: Lots,

    actions: VecDeque<Action>,
    events: Events,
    counters: DeviceCounters,
    /// From when an I/O was accepted until it succeeded, whatever happened in between.
    latencies: Latencies,
    /// See [`take_sooner`](Self::take_sooner).
    sooner: Option<Instant>,
}

impl Multipath {
    /// A device without paths. `seed` spreads the checks of many devices over time; any number
    /// serves, the same number makes the same run.
    #[must_use]
    pub fn new(now: Instant, config: Config, seed: u64) -> Self {
        let mut writes = WriteRanges::default();
        let mut events = Events::default();
        events.trace = Recorder::new(now, now, config.decision_trace);
        writes.planted = config.planted;
        let fences_former = config.fence.former_life == FormerLife::Fence
            && !config.planted.has(Bug::FormerLifeForgotten);
        Self {
            former: fences_former.then(|| Former::new(&mut writes)),
            selector: selector::new(config.path_selector, seed),
            no_path: NoPath::new(now, config.no_path_retry),
            budget: Budget::new(config.hedge),
            asking: false,
            config,
            made: now,
            beat: None,
            paths: Arena::new(),
            groups: Groups::default(),
            has_spares: false,
            candidates: Vec::new(),
            ios: Arena::new(),
            attempts: Arena::new(),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            delayed: Vec::new(),
            writes,
            ghosts: Vec::new(),
            ladders: Vec::new(),
            reset: Effort::default(),
            activation: Activation::default(),
            fence_number: 0,
            released: false,
            told_down: false,
            fail_back_at: None,
            look_at: None,
            ranked: None,
            is_comparing: false,
            group_used: false,
            restless: false,
            failing_over: false,
            closing: false,
            suspended: false,
            standstill: Standstill::default(),
            stopped: false,
            told_quiesced: false,
            pinned: None,
            joined: 0,
            lots: Lots(seed),
            actions: VecDeque::new(),
            events,
            counters: DeviceCounters::default(),
            latencies: Latencies::new(),
            sooner: None,
        }
    }

    /// Checks of paths that are well are done on the beat from now on, by the paths that are added after this: those of
    /// many devices then cost few wake-ups. `None`, as it is to begin with: each when it is due.
    pub const fn set_beat(&mut self, beat: Option<Beat>) {
        self.beat = beat;
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a path, which is down until `handle_path_up`.
    pub fn add_path(&mut self, now: Instant, attributes: PathAttributes) -> PathId {
        self.joined += 1;
        let path = Path::new(now, &self.config, attributes, self.joined, self.beat);
        let path = PathId(self.paths.insert(path));
        self.prioritize();
        self.regroup();
        self.events.push(Event::PathAdded { path });
        self.shut_out();
        self.settle(now);
        path
    }

    /// Takes a path out: no new I/O there from now on; what is in flight may end. Then comes the
    /// action `Close`, then (after `handle_path_down`) the event `PathRemoved`.
    pub fn remove_path(&mut self, now: Instant, path: PathId) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        entry.removing = true;
        self.regroup();
        self.shut_out();
        self.settle(now);
    }

    /// Accepts an I/O.
    ///
    /// # Errors
    /// [`SubmitError`]: nothing was accepted and nothing will be reported.
    pub fn submit(&mut self, now: Instant, class: IoClass) -> Result<IoId, SubmitError> {
        match self.admit(now, class)? {
            Admission::Go { io, attempt, path } => {
                let go = Action::Dispatch { io, attempt, path };
                self.actions.push_back(go);
                Ok(io)
            }
            Admission::Wait(io) => Ok(io),
        }
    }

    /// The caller has lost interest. The I/O still gets its `Finish`: at once if it is waiting,
    /// after the outcome of the recalled attempt if it is in flight.
    pub fn cancel(&mut self, now: Instant, io: IoId) {
        let Some(entry) = self.ios.get_mut(io.0) else {
            return;
        };
        entry.cancelled = true;
        match entry.state {
            IoState::InFlight(attempt) => {
                if let Some(running) = self.attempts.get_mut(attempt.0) {
                    if running.taken_back == TakenBack::No {
                        running.taken_back = TakenBack::Recalled;
                        self.actions.push_back(Action::Recall { attempt });
                    }
                }
            }
            IoState::Pending => {
                self.pending.retain(|&other| other != io);
                self.give_up(io, FailReason::Cancelled);
            }
            IoState::Held => {
                self.held.retain(|&other| other != io);
                self.give_up(io, FailReason::Cancelled);
            }
            IoState::Delayed => {
                self.delayed.retain(|&(_, other)| other != io);
                self.give_up(io, FailReason::Cancelled);
            }
            IoState::Fencing => self.give_up(io, FailReason::Cancelled),
        }
        self.settle(now);
    }

    /// Uses the best group again, whatever `failback` says.
    pub fn fail_back(&mut self, now: Instant) {
        self.pinned = None;
        self.switch_to_best();
        self.settle(now);
    }

    /// Ends all I/O that waits, lets finish what is in flight, and removes all paths.
    pub fn close(&mut self, now: Instant) {
        self.closing = true;
        for (_, path) in self.paths.iter_mut() {
            path.removing = true;
        }
        self.regroup();
        self.restless = true;
        self.settle(now);
    }

    /// An attempt has ended. Unknown attempts are ignored.
    pub fn handle_outcome(&mut self, now: Instant, attempt: AttemptId, outcome: Outcome) {
        let Some(ended) = self.attempts.remove(attempt.0) else {
            return;
        };
        let Some(io) = self.ios.get_mut(ended.io.0) else {
            return;
        };
        if let Some(path) = self.paths.get_mut(ended.path.0) {
            let change = path.ended(now, &self.config, &ended, &io.class, outcome);
            self.restless |= change.restless;
            self.sooner = earlier(self.sooner, change.sooner);
        }
        let Outcome::Failed(failure) = outcome else {
            let took = now.saturating_duration_since(io.since);
            self.latencies
                .record_in(io.class.kind, latency::bucket(took));
            self.finish(ended.io, Verdict::Success);
            self.settle(now);
            return;
        };
        let planted = self.config.planted;
        if io.execution != Execution::Unknown || planted.has(Bug::LastOutcomeCounts) {
            io.execution = failure.execution;
        }
        let disposition = if io.cancelled {
            retry::Disposition::Fail(FailReason::Cancelled)
        } else {
            let limits = Limits {
                retries: self.config.max_retries,
                moves: self.config.max_moves,
            };
            retry::decide(&io.class, outcome, ended.taken_back, &mut io.tries, limits)
        };
        let writes = io.class.modifies().is_some();
        let forgotten = planted.has(Bug::GhostForgotten);
        if retry::may_land_later(&io.class, failure) && !forgotten {
            self.raise_ghost(now, attempt, &ended);
        } else if failure.unsent && writes {
            self.count_unsent(ended.path);
        }
        if self.events.trace.is_some() {
            self.trace_failure(&ended, failure, disposition);
        }
        self.dispose(now, &ended, disposition);
        self.settle(now);
    }

    /// The target confirmed that an attempt whose outcome was `Unknown` cannot be executed any more.
    pub fn handle_attempt_dead(&mut self, now: Instant, attempt: AttemptId) {
        for ghost in self.ghosts.iter_mut().filter(|g| g.attempt == attempt) {
            ghost.proof = Some(FencedBy::Confirmed);
        }
        self.settle(now);
    }

    /// Something was received on the path's connection at `at`, which is not after `now`.
    pub fn handle_activity(&mut self, now: Instant, path: PathId, at: Instant) {
        let Some(entry) = self.paths.get_mut(path.0) else {
            return;
        };
        let was_suspect = entry.suspicion.is_suspect();
        entry.suspicion.activity(at);
        if was_suspect {
            self.restless = true;
            self.settle(now);
        }
    }

    /// When `handle_timeout` is to be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.iter().map(|&(at, _)| at);
        let ghosts = self.ghosts.iter().filter_map(|g| self.ghost_deadline(g));
        let paths = self
            .paths
            .iter()
            .filter_map(|(_, path)| path.deadline(&self.config));
        delayed
            .chain(ghosts)
            .chain(paths)
            .chain(self.ladders.iter().filter_map(Ladder::deadline))
            .chain(self.former.as_ref().and_then(Former::deadline))
            .chain(self.no_path.deadline())
            .chain(self.fail_back_at)
            .chain(self.look_at)
            .chain(self.activation.due)
            .min()
    }

    /// What to do next.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened. Of more than 1024 unread events the oldest are dropped (and counted in the
    /// snapshot).
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether an operator has taken a path out of use.
    pub(crate) fn is_failed(&self, path: PathId) -> bool {
        self.paths.get(path.0).is_some_and(Path::is_failed)
    }

    /// What a path was called when it was added.
    #[must_use]
    pub fn path_name(&self, path: PathId) -> Option<&std::sync::Arc<str>> {
        self.paths.get(path.0).map(|path| &path.name)
    }

    /// Whether `close` was called.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// I/Os that are not finished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.ios.len()
    }

    /// The earliest deadline that [`admit`](Self::admit) or [`complete`](Self::complete) has brought
    /// forward since this was last asked: a shell that has armed its timer for an earlier one need not
    /// ask [`poll_timeout`](Self::poll_timeout) after them.
    #[must_use]
    pub fn take_sooner(&mut self) -> Option<Instant> {
        self.sooner.take()
    }

    /// Whether [`poll_action`](Self::poll_action) or [`poll_event`](Self::poll_event) has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.actions.is_empty() || !self.events.is_empty()
    }

    fn regroup(&mut self) {
        self.pair_spares();
        self.groups.rebuild(&self.paths, self.config.grouping());
        let mut groups = self.groups.list().iter();
        let limit = self.config.marginal.and_then(|marginal| marginal.latency);
        self.is_comparing = limit.is_some() && groups.any(|group| group.on_duty.len() > 1);
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
