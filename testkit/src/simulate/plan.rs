//! A world as data: what there is, what happens, and how to say that in a few lines.

use std::{fmt, ops::Range, time::Duration};

use iscsi_proto::planted::Planted;
use mpio::{
    Spares,
    core::{
        AutoResize, Config, Failback, FormerLife, HedgeConfig, MarginalConfig, NoPathRetry,
        PathChecker, PathGroupingPolicy, PathKeys, PathSelector, PreemptAndAbort, Prioritizer,
        WriterMode,
    },
};

use super::{check::invariants::Bound, orders::Orders, wire::Wire};
use crate::target::{AluaConfig, PortState, Reinstatement, WriteHold};

/// MAINTENANCE IN: REPORT TARGET PORT GROUPS is one of them.
pub(super) const MAINTENANCE_IN: u8 = 0xa3;

/// A world, and what befalls it. All of it is data: a run of an equal plan is an equal run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The seed, which decides whatever the rest leaves open.
    pub seed: u64,
    /// The target's portals, by their portal group tag: a group is a controller.
    pub portals: Vec<u16>,
    /// Network devices of each host.
    pub nics: u8,
    /// The portals are known to the hosts by names.
    pub names: bool,
    /// The first NIC reaches the first portal only, and so on; else each reaches each.
    pub paired: bool,
    /// Hosts, each with an initiator name of its own.
    pub hosts: u8,
    /// Logical units, and their sizes in blocks of 512 bytes. Each host has a device for each.
    pub units: Vec<u64>,
    /// The network.
    pub network: Network,
    /// The target.
    pub target: TargetTerms,
    /// The sessions.
    pub session: SessionTerms,
    /// The multipath devices.
    pub device: DeviceTerms,
    /// What the programs do.
    pub work: Work,
    /// When all faults are over.
    pub calm: Duration,
    /// The faults, by their beginning.
    pub faults: Vec<Fault>,
    /// What the programs order of persistent reservations, if they do.
    pub orders: Option<Orders>,
    /// The hosts are told of the carriers of their NICs: a NIC that is cut off has none.
    pub links: bool,
    /// Paths are checked, and sessions pinged, on a beat.
    pub beat: bool,
    /// When a response is acknowledged though nothing else is sent.
    pub acknowledge_after: Option<Duration>,
    /// The network tells the hosts how far the bytes of their connections have come.
    pub tells_progress: bool,
    /// A bug that is put into the hosts' software; none is drawn.
    #[doc(hidden)]
    pub planted: Planted,
}

/// The network; see [`SimConfig`](crate::sim::SimConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// One-way latency.
    pub latency: Range<Duration>,
    /// How many of 1000 reads and writes are partial.
    pub partial_per_mille: u16,
    /// Bytes that a direction of a connection holds.
    pub pipe_capacity: usize,
}

/// What both ends of a session bring along. Lengths in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionTerms {
    /// Header digests.
    pub header_digest: bool,
    /// Data digests.
    pub data_digest: bool,
    /// Whether the hosts authenticate themselves.
    pub chap: bool,
    /// And want the target to do so.
    pub mutual: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength of both sides.
    pub segment: u32,
    /// MaxBurstLength.
    pub max_burst: u32,
    /// FirstBurstLength.
    pub first_burst: u32,
    /// MaxOutstandingR2T.
    pub outstanding_r2t: u16,
    /// Commands that the target's window has room for.
    pub window: u32,
    /// Commands that a session has under way.
    pub queue_depth: u16,
    /// DefaultTime2Wait of the target, in seconds.
    pub time2wait: u16,
    /// Whether GOOD status travels in the last Data-In.
    pub status_in_data: bool,
    /// The target pings after so many commands; 0 is never.
    pub ping_every: u32,
    /// The longest transfer of one command.
    pub max_transfer: u32,
    /// Silence before a ping, and after it.
    pub nop: (Duration, Duration),
    /// Time for a command, at the session and at the logical unit.
    pub command_timeout: Duration,
    /// Time for a connection.
    pub connect_timeout: Duration,
    /// How long the target takes for a command at least.
    pub service_time: Duration,
}

/// What the target is like beyond its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetTerms {
    /// What a login that reinstates a session does about what the back end keeps of it.
    pub reinstatement: Reinstatement,
    /// How long writes stay in the back end.
    pub hold: WriteHold,
    /// Whether a loss of power takes away what was not flushed.
    pub volatile: bool,
    /// How many of 1000 serial numbers begin near their end.
    pub brink_per_mille: u16,
    /// How it does asymmetric access.
    pub access: AluaConfig,
}

/// How the hosts prove the writes of a lost path dead; see [`FenceConfig`](mpio::core::FenceConfig).
/// What is set is true of the target; a fence that proves nothing is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fence {
    /// Who else writes.
    pub mode: WriterMode,
    /// Whether a reinstating login proves anything.
    pub barrier: bool,
    /// After which time nothing lands any more.
    pub quiesce: Option<Duration>,
    /// Whether a session may be reinstated through another portal of its group.
    pub sibling: bool,
    /// Whether the commands of a lost path are aborted by its reservation key, and how long after the loss.
    pub preempt: Option<Duration>,
    /// Whether units may be reset, and how long after the loss.
    pub unit_reset: Option<Duration>,
    /// How long a proof may take.
    pub limit: Duration,
}

impl Fence {
    /// Only the time proves anything.
    #[must_use]
    pub const fn quiet_time(time: Duration) -> Self {
        Self {
            mode: WriterMode::Single,
            barrier: false,
            quiesce: Some(time),
            sibling: false,
            preempt: None,
            unit_reset: None,
            limit: Duration::from_secs(60),
        }
    }

    /// Whether it can prove anything.
    #[must_use]
    pub const fn proves(&self) -> bool {
        self.barrier || self.quiesce.is_some() || self.unit_reset.is_some()
    }
}

/// The settings of the multipath devices; see [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceTerms {
    /// Grouping.
    pub grouping: PathGroupingPolicy,
    /// What makes one path better than another.
    pub prioritizer: Prioritizer,
    /// When a group that stands by is asked to become active.
    pub activate: Option<Duration>,
    /// Selector.
    pub selector: PathSelector,
    /// Failback.
    pub failback: Failback,
    /// No-path policy.
    pub no_path_retry: NoPathRetry,
    /// Time between checks, first and longest.
    pub polling: (Duration, Duration),
    /// What a check asks.
    pub checker: PathChecker,
    /// Time for a check.
    pub checker_timeout: Duration,
    /// Suspicion: floor, factor, ceiling.
    pub suspicion: (Duration, u32, Duration),
    /// Time for a NOP-Out of a suspected path.
    pub nop_timeout: Duration,
    /// How long a path stays suspected.
    pub tear_down: Duration,
    /// What a new size of the unit does.
    pub auto_resize: AutoResize,
    /// How many reads leave a path that has only been asked.
    pub hedge: Option<HedgeConfig>,
    /// What makes a path marginal.
    pub marginal: Option<MarginalConfig>,
    /// Which paths have a spare.
    pub spares: Spares,
    /// The fence, which is true of the target.
    pub fence: Fence,
}

impl DeviceTerms {
    /// The configuration that this is; the default one where a value is out of its range.
    #[must_use]
    pub fn config(&self) -> Config {
        self.with(Planted::NONE, false)
    }

    /// With this bug; and, for a device that is `opened_again`, with a fence before what the one before it may
    /// have left.
    pub(super) fn with(&self, planted: Planted, opened_again: bool) -> Config {
        let (floor, factor, ceiling) = self.suspicion;
        let builder = Config::builder()
            .path_grouping_policy(self.grouping)
            .prioritizer(self.prioritizer)
            .activate_groups(self.activate)
            .path_selector(self.selector)
            .failback(self.failback)
            .no_path_retry(self.no_path_retry)
            .polling_interval(self.polling.0, self.polling.1)
            .path_checker(self.checker)
            .checker_timeout(self.checker_timeout)
            .suspicion(floor, factor, ceiling)
            .nop_timeout(self.nop_timeout)
            .tear_down(self.tear_down)
            .auto_resize(self.auto_resize)
            .hedge(self.hedge)
            .marginal(self.marginal)
            .planted(planted);
        let fence = &self.fence;
        let can_fence = fence.barrier || fence.quiesce.is_some() || fence.unit_reset.is_some();
        let former_life = match opened_again && can_fence {
            true => FormerLife::Fence,
            false => FormerLife::None,
        };
        let builder = builder
            .former_life(former_life)
            .writer_mode(fence.mode)
            .reinstatement_is_barrier(fence.barrier)
            .quiet_time(fence.quiesce)
            .sibling_reinstatement(fence.sibling)
            .preempt_and_abort(fence.preempt.and_then(preempt_terms))
            .unit_reset(fence.unit_reset)
            .fence_limit(fence.limit);
        builder.build().unwrap_or_default()
    }
}

/// All hosts say that they are the same one: their names tell their keys apart.
fn preempt_terms(drain: Duration) -> Option<PreemptAndAbort> {
    const FAMILY: u16 = 0x5331;
    let keys = PathKeys::new(FAMILY, 1)?;
    Some(PreemptAndAbort { keys, drain })
}

/// What the programs do. Shares are of 1000.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// Programs per device, each with one request at a time.
    pub clients: u16,
    /// Requests in all, of all programs together.
    pub requests: u32,
    /// Blocks at the start of each unit that are used.
    pub span: u64,
    /// Share of writes.
    pub writes: u16,
    /// Share of flushes.
    pub flushes: u16,
    /// Share of requests that are longer than 8 blocks.
    pub long: u16,
    /// Blocks of the longest request.
    pub longest: u64,
    /// Share of requests that are dropped before their end.
    pub dropped: u16,
    /// Share of requests with a short timeout.
    pub timed: u16,
    /// Share of requests with guest memory.
    pub regions: u16,
    /// Share of requests that are made when a fault begins, instead of at any time.
    pub rush: u16,
    /// All hosts write to the same blocks, under locks. Else each has its own.
    pub locked: bool,
}

/// Something that goes wrong, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, since the beginning.
    pub at: Duration,
    /// For how long; some take no time.
    pub lasts: Duration,
    /// What.
    pub what: What,
}

/// A piece of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All that leads to this portal.
    Portal(u8),
    /// All that leaves a host through this NIC.
    Nic {
        /// The host.
        host: u8,
        /// Its NIC.
        nic: u8,
    },
    /// What leaves a host through this NIC to this portal.
    Path {
        /// The host.
        host: u8,
        /// Its NIC.
        nic: u8,
        /// The portal.
        portal: u8,
    },
}

/// What a target answers instead of doing what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// This status.
    Status(u8),
    /// CHECK CONDITION with this sense key, additional sense code and qualifier.
    Sense(u8, u8, u8),
    /// GOOD with so many bytes, and the residual count that says so.
    Short(u16),
    /// GOOD with so many bytes, and no word of their being too few.
    Truncated(u16),
    /// None: it is not carried out, and stays until it is aborted.
    Nothing,
    /// None, though a write is carried out: it stays until it is aborted.
    Unanswered,
}

/// What a target says without being asked (RFC 7143 section 11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The initiator is to log out within so many seconds.
    Logout(u16),
    /// The connection will be dropped; Time2Wait and Time2Retain follow.
    Drop(u16),
    /// All connections of the session will be dropped.
    DropAll(u16),
    /// The initiator is to negotiate within so many seconds.
    Negotiate(u16),
}

/// How a host's program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// It is killed, and its kernel resets its connections: what was not sent never is. So it is with sockets
    /// that have a linger time of 0, as those of the client's adapters.
    Reset,
    /// It is killed, and its kernel goes on sending what it has, then FIN.
    Finish,
    /// Its host loses power, and nobody is told.
    Power,
}

/// A kind of fault, and where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// What is under way is lost, and nobody is told.
    Cut(Place),
    /// Nothing moves until it is over.
    Stall(Place),
    /// New connections are refused.
    Refuse(Place),
    /// Connections are reset, once.
    Reset(Place),
    /// So many bytes per second.
    Limit(Place, u64),
    /// Bits of so many PDUs out of a million change on the way from a portal, where a digest tells.
    Flip {
        /// The portal.
        portal: u8,
        /// How many.
        per_million: u32,
    },
    /// Something else that befalls cables.
    Wire(Place, Wire),
    /// The target takes that much longer for what comes through a portal.
    Delay {
        /// The portal.
        portal: u8,
        /// How much.
        by: Duration,
    },
    /// The next commands get another answer, once each.
    Answer {
        /// The logical unit.
        unit: u16,
        /// The operation code.
        opcode: u8,
        /// The answer.
        answer: Answered,
        /// How many.
        times: u8,
    },
    /// A unit attention, for everybody.
    Attention {
        /// The logical unit.
        unit: u16,
        /// Additional sense code and qualifier.
        code: (u8, u8),
    },
    /// A target port group is in another state.
    PortState {
        /// Its tag.
        group: u16,
        /// The state.
        state: PortState,
    },
    /// Logins are refused.
    RefuseLogins {
        /// The portal.
        portal: u8,
        /// Status class and detail.
        status: (u8, u8),
    },
    /// Logins are sent to another portal, for the moment.
    Redirect {
        /// The portal.
        portal: u8,
        /// Where they are sent.
        to: u8,
    },
    /// An asynchronous message.
    Notice {
        /// The portal.
        portal: u8,
        /// What is said.
        said: Said,
    },
    /// A path is taken out of a device, and put back at the end.
    RemovePath {
        /// The host.
        host: u8,
        /// The device's unit.
        unit: u16,
        /// The path.
        path: u8,
    },
    /// A device is closed, and opened again at once.
    Reopen {
        /// The host.
        host: u8,
        /// The device's unit.
        unit: u16,
    },
    /// The target dies, and refuses connections until it is there again.
    CrashTarget {
        /// Whether what is in its back end is done all the same.
        keeps_back_end: bool,
        /// Whether its caches lose their power.
        loses_power: bool,
    },
    /// The target stands still.
    Pause,
    /// The back end keeps writes for a while, whatever becomes of their connections.
    Hold {
        /// How many of 1000.
        per_mille: u16,
        /// The longest time.
        most: Duration,
    },
    /// A unit has another size for a while.
    Resize {
        /// The logical unit.
        unit: u16,
        /// The size, in blocks of 512 bytes; at least what the programs use.
        blocks: u64,
    },
    /// A device is asked to take the size that its paths tell.
    Rescan {
        /// The host.
        host: u8,
        /// The device's unit.
        unit: u16,
    },
    /// Whoever answers logins does not know the target's secret.
    Impersonate {
        /// Whether the proof is missing instead of wrong.
        skips: bool,
    },
    /// Somebody ends all registrations of a unit, by a CLEAR.
    Clear {
        /// The logical unit.
        unit: u16,
    },
    /// A unit forgets the registrations that came through a portal group, as a controller that was replaced.
    Forget {
        /// The logical unit.
        unit: u16,
        /// The group's tag.
        group: u16,
    },
    /// Another initiator reserves a unit for a while.
    Reserve {
        /// The logical unit.
        unit: u16,
        /// Whether it keeps others from reading, too.
        exclusive: bool,
    },
    /// Another unit is there for a while.
    Remap {
        /// The logical unit.
        unit: u16,
    },
    /// Names cannot be resolved.
    BreakNames,
    /// A host's program dies, with all that it had under way, and is started again at the end: with the
    /// same names, and devices that know that there was a life before.
    CrashHost {
        /// The host.
        host: u8,
        /// How it dies.
        death: Death,
    },
}

impl What {
    /// Its name in tables.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Stall(_) => "stall",
            Self::Refuse(_) => "refuse",
            Self::Reset(_) => "reset",
            Self::Limit(..) => "limit",
            Self::Wire(_, wire) => wire.kind(),
            Self::Delay { .. } => "delay",
            Self::Answer { .. } => "answer",
            Self::Attention { .. } => "attention",
            Self::PortState { .. } => "port state",
            Self::RefuseLogins { .. } => "login refusal",
            Self::Redirect { .. } => "redirect",
            Self::Notice { .. } => "notice",
            Self::RemovePath { .. } => "path removed",
            Self::Reopen { .. } => "reopen",
            Self::CrashTarget { .. } => "target crash",
            Self::Pause => "target pause",
            Self::Flip { .. } => "flip",
            Self::Hold { .. } => "hold",
            Self::Resize { .. } => "resize",
            Self::Clear { .. } => "clear",
            Self::Rescan { .. } => "rescan",
            Self::Forget { .. } => "registrations forgotten",
            Self::Remap { .. } => "remap",
            Self::Impersonate { .. } => "false target",
            Self::Reserve { .. } => "reservation",
            Self::BreakNames => "broken names",
            Self::CrashHost { death, .. } => match death {
                Death::Reset => "host killed",
                Death::Finish => "host killed (FIN)",
                Death::Power => "host power loss",
            },
        }
    }
}

impl Plan {
    /// The paths of each device: NIC and portal, in the order of the configuration.
    #[must_use]
    pub fn paths(&self) -> Vec<(u8, u8)> {
        let portals = u8::try_from(self.portals.len()).unwrap_or(u8::MAX);
        if self.paired {
            let last = |count: u8, at: u8| at.min(count.saturating_sub(1));
            return (0..self.nics.max(portals))
                .map(|at| (last(self.nics, at), last(portals, at)))
                .collect();
        }
        (0..self.nics)
            .flat_map(|nic| (0..portals).map(move |portal| (nic, portal)))
            .collect()
    }

    /// How many sessions a device has at most: one for each path, and one for its spare.
    pub(super) fn sessions_per_device(&self) -> usize {
        self.paths().len() * (1 + usize::from(self.device.spares != Spares::None))
    }

    /// How many it has when all is well.
    pub(super) fn sessions_at_rest(&self) -> usize {
        self.paths().len() * (1 + usize::from(self.device.spares == Spares::Warm))
    }

    /// Whether a fault makes the network slower than a target may expect it to be.
    #[must_use]
    pub fn holds_up(&self) -> bool {
        let slow = |fault: &Fault| {
            matches!(
                fault.what,
                What::Cut(_)
                    | What::Stall(_)
                    | What::Limit(..)
                    | What::Delay { .. }
                    | What::Pause
                    | What::Wire(_, Wire::Half(_) | Wire::Segments(_))
            )
        };
        self.faults.iter().any(slow)
    }

    /// Whether a fault is about a unit, or about a device itself.
    fn is_hit(&self, host: usize, unit: usize) -> bool {
        let is_unit = |number: u16| usize::from(number) == unit;
        let is_host = |number: u8| usize::from(number) == host;
        let hits = |fault: &Fault| match fault.what {
            // What becomes of I/O has nothing to do with that.
            What::Answer {
                opcode: MAINTENANCE_IN,
                answer: Answered::Status(_) | Answered::Sense(..),
                ..
            } => false,
            What::Answer { unit, .. } => is_unit(unit),
            What::Reopen { host, unit } => is_host(host) && is_unit(unit),
            What::Remap { unit }
            | What::Clear { unit }
            | What::Forget { unit, .. }
            | What::Reserve { unit, .. } => is_unit(unit),
            What::CrashTarget { .. } | What::Pause => true,
            _ => false,
        };
        self.faults.iter().any(hits)
    }

    /// Whether nothing is wrong with a path of a device at any time: neither with its network, nor with its portal or
    /// the unit behind it.
    pub(super) fn is_sound(&self, host: usize, unit: usize, (nic, portal): (u8, u8)) -> bool {
        let hits = |fault: &Fault| self.hits(&fault.what, host, nic, portal);
        !self.is_hit(host, unit) && !self.faults.iter().any(hits)
    }

    /// Whether the programs of a device should see no error at all: one of its paths is healthy all the
    /// time, no fault is about the unit or the device itself, and a write whose path is lost can be proven
    /// dead.
    #[must_use]
    pub fn is_spared(&self, host: usize, unit: usize) -> bool {
        let fence = &self.device.fence;
        let proves_in_time = fence.quiesce.is_some() || fence.unit_reset.is_some();
        // Others may keep a host from writing, also its own former life where a path was not registered.
        let dies = |fault: &Fault| matches!(fault.what, What::CrashHost { .. });
        let is_kept_out = self.orders.is_some() && (self.hosts > 1 || self.faults.iter().any(dies));
        let mut paths = self.paths().into_iter();
        proves_in_time && !is_kept_out && paths.any(|path| self.is_sound(host, unit, path))
    }

    /// Whether a path of `host` is not what it was while this lasts.
    fn hits(&self, what: &What, host: usize, nic: u8, portal: u8) -> bool {
        let is_host = |number: u8| usize::from(number) == host;
        match *what {
            What::Cut(place)
            | What::Stall(place)
            | What::Refuse(place)
            | What::Reset(place)
            | What::Limit(place, _)
            | What::Wire(place, _) => match place {
                Place::Portal(at) => at == portal,
                Place::Nic { host, nic: at } => is_host(host) && at == nic,
                Place::Path {
                    host,
                    nic: from,
                    portal: to,
                } => is_host(host) && (from, to) == (nic, portal),
            },
            What::Delay { portal: at, .. }
            | What::Flip { portal: at, .. }
            | What::RefuseLogins { portal: at, .. }
            | What::Redirect { portal: at, .. }
            | What::Notice { portal: at, .. } => at == portal,
            What::PortState { group, .. } => self.portals[usize::from(portal)] == group,
            What::RemovePath { host, path, .. } => {
                is_host(host) && self.paths().get(usize::from(path)) == Some(&(nic, portal))
            }
            What::Answer { .. }
            | What::Attention { .. }
            | What::Reopen { .. }
            | What::CrashTarget { .. }
            | What::Pause
            | What::Hold { .. }
            | What::Resize { .. }
            | What::Rescan { .. }
            | What::Impersonate { .. }
            | What::Clear { .. }
            | What::Forget { .. }
            | What::Reserve { .. }
            | What::Remap { .. }
            | What::BreakNames
            | What::CrashHost { .. } => false,
        }
    }

    /// How long the world may take to be well again once nothing is wrong with it any more: the times
    /// after which its parts notice, back off, try and prove, one after the other.
    #[must_use]
    pub fn bound(&self) -> Bound {
        const BACK_OFF: Duration = Duration::from_secs(10);
        const LOGIN: Duration = Duration::from_secs(15);
        const REOPEN: Duration = Duration::from_secs(30);
        const ABORTS: Duration = Duration::from_secs(20);
        let session = &self.session;
        let device = &self.device;
        let fence = device
            .fence
            .limit
            .max(device.fence.quiesce.unwrap_or_default());
        let checks = device.polling.1 + device.checker_timeout + device.tear_down;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Bound {
            nop_interval_ns: nanos(session.nop.0),
            nop_timeout_ns: nanos(session.nop.1),
            time2wait_ns: nanos(Duration::from_secs(session.time2wait.into())),
            max_backoff_ns: nanos(BACK_OFF + REOPEN),
            login_timeout_ns: nanos(session.connect_timeout + LOGIN),
            command_timeout_ns: nanos(session.command_timeout * 2 + ABORTS + checks),
            fence_ns: nanos(fence),
        }
    }

    /// The whole of [`bound`](Self::bound).
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_nanos(self.bound().total_ns())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:.4} s +{lasts:.4} s {:?}", self.what)
    }
}

impl fmt::Display for Plan {
    /// A few lines, and one per fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, nics) = (self.hosts, self.nics);
        let shape = if self.paired {
            "paired"
        } else {
            "each with each"
        };
        let names = if self.names { " by name" } else { "" };
        writeln!(f, "seed {}", self.seed)?;
        writeln!(
            f,
            "{hosts} hosts of {nics} NICs, portals{names} of groups {:?}, {shape}: {} paths; units of {:?} blocks",
            self.portals,
            self.paths().len(),
            self.units
        )?;
        writeln!(f, "{:?}", self.network)?;
        writeln!(f, "{:?}", self.target)?;
        writeln!(f, "{:?}", self.session)?;
        writeln!(f, "{:?}", self.device)?;
        writeln!(f, "{:?}", self.work)?;
        if let Some(orders) = &self.orders {
            writeln!(f, "{orders:?}")?;
        }
        write!(f, "{} faults, calm at {:?}", self.faults.len(), self.calm)?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
