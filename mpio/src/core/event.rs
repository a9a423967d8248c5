//! What the core tells an operator.

use std::{fmt, time::Duration};

use iscsi_proto::scsi::{AccessState, ReservationType};

use super::{
    arena::{IoId, PathId},
    delivery::Delivery,
    path_keys::KeyRefusal,
    rung::{FenceRung, RungStep},
};

/// Why a path takes no I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum DownReason {
    /// Never logged in so far.
    NotConnected,
    /// The connection was lost.
    ConnectionLost,
    /// The login was refused or not answered.
    LoginFailed,
    /// The target asked us to leave, or closed the session.
    TargetRequest,
    /// Somebody else uses our ISID.
    NexusTaken,
    /// The core had it closed.
    Fenced,
    /// The logical unit behind it is another one, or none any more.
    IdentityMismatch,
    /// The checker found the logical unit not ready.
    NotReady,
    /// The checker found a logical unit that takes no I/O here.
    Ghost,
    /// The checker found no logical unit.
    Disconnected,
    /// The checker got no answer within its timeout.
    CheckerTimeout,
    /// It is back, and what it had under way before is being preempted.
    Preempting,
    /// It is connected, and its reservation key is being registered.
    Registering,
    /// It is connected, and its reservation key could not be registered; that is tried again.
    Unregistered,
    /// The device holds a reservation that lets the nexus of another path alone do I/O.
    Reserved,
    /// An operator has taken it out of use.
    Operator,
    /// It is being removed.
    Removed,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "not connected yet",
            Self::ConnectionLost => "connection lost",
            Self::LoginFailed => "login failed",
            Self::TargetRequest => "target asked to leave",
            Self::NexusTaken => "another initiator uses our ISID",
            Self::Fenced => "closed to fence its writes",
            Self::IdentityMismatch => "another logical unit",
            Self::NotReady => "logical unit not ready",
            Self::Ghost => "standby",
            Self::Disconnected => "no such logical unit",
            Self::CheckerTimeout => "checker timeout",
            Self::Preempting => "its lost writes are being preempted",
            Self::Registering => "its key is being registered",
            Self::Unregistered => "its key is not registered",
            Self::Reserved => "the device's reservation is for another path alone",
            Self::Operator => "taken out of use",
            Self::Removed => "being removed",
        })
    }
}

/// Why a path is given no new I/O though it is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum SuspectCause {
    /// A NOP-Out on an otherwise silent connection was not answered in time.
    Silence,
    /// An I/O failed with an error of the path; a TUR is under way.
    PathError,
    /// The network device that it leaves through has no carrier.
    LinkDown,
    /// Its port group is between two states (SPC-4 section 5.15.2.6), and is asked every now and then.
    Transition,
}

/// Why a path that works is used only where no sound one is left; see [`MarginalConfig`](super::MarginalConfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum MarginalCause {
    /// It was lost too often, and came back.
    Flapping {
        /// How often it was down, or silent.
        losses: u32,
        /// In which time.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "within_ns", serialize_with = "crate::serial::nanos")
        )]
        within: Duration,
    },
    /// I/Os failed there too often.
    PathErrors {
        /// How often, losses included.
        errors: u32,
        /// In which time.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "within_ns", serialize_with = "crate::serial::nanos")
        )]
        within: Duration,
    },
    /// It is slow.
    Latency {
        /// What an I/O takes there, on average.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "mean_ns", serialize_with = "crate::serial::nanos")
        )]
        mean: Duration,
        /// What the same would take on the best path of its group.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "best_ns", serialize_with = "crate::serial::nanos")
        )]
        best: Duration,
    },
    /// An operator has said so ([`mark_marginal`](crate::MultipathDevice::mark_marginal)).
    Operator,
}

impl fmt::Display for MarginalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flapping { losses, within } => {
                write!(f, "lost {losses} times in {} s", within.as_secs())
            }
            Self::PathErrors { errors, within } => {
                write!(f, "{errors} errors in {} s", within.as_secs())
            }
            Self::Latency { mean, best } => {
                write!(f, "an I/O takes {mean:?} instead of {best:?}")
            }
            Self::Operator => f.write_str("until an operator reinstates it"),
        }
    }
}

impl fmt::Display for SuspectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "no answer",
            Self::PathError => "an I/O failed there",
            Self::Transition => "its port group is between two states",
            Self::LinkDown => "no carrier",
        })
    }
}

/// What ended the wait for the writes of a lost path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FencedBy {
    /// The target confirmed that the last of them is dead.
    Confirmed,
    /// The nexus was reinstated on a target where that is a barrier.
    Reinstated,
    /// The nexus was reinstated through another portal of its group, where that is a barrier.
    SiblingReinstated,
    /// The commands of its nexus were aborted by PREEMPT AND ABORT, after the drain time.
    Preempted,
    /// The logical unit was reset, after the drain time.
    UnitReset,
    /// The quiet time passed since the abortive close.
    QuietTime,
    /// Nothing: no means is configured or none worked, and their callers were told `Unknown`.
    Unfenced,
}

/// Something that an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Event {
    /// A path was added; it is down until its first `PathUp`.
    PathAdded {
        /// Which.
        path: PathId,
    },
    /// A path takes I/O.
    PathUp {
        /// Which.
        path: PathId,
    },
    /// A path takes no I/O.
    PathDown {
        /// Which.
        path: PathId,
        /// Why.
        reason: DownReason,
    },
    /// A path takes no I/O as before, and for another reason now: for instance since it is not logged in again after its
    /// connection was lost.
    StillDown {
        /// Which.
        path: PathId,
        /// Why.
        reason: DownReason,
    },
    /// A path is given no new I/O for the moment.
    Suspect {
        /// Which.
        path: PathId,
        /// Why.
        cause: SuspectCause,
    },
    /// A path is silent and has been asked, another one like it is not, and reads have moved there; once for each
    /// question, when the first ones move.
    Hedged {
        /// The silent one.
        path: PathId,
        /// How many have moved.
        moved: u32,
        /// How many stay, since the budget is spent.
        denied: u32,
    },
    /// What the platform says of a path that is silent, if it does: whether what was sent there is acknowledged. Told again
    /// if it changes.
    Delivery {
        /// Which.
        path: PathId,
        /// What it says.
        delivery: Delivery,
    },
    /// The suspicion was wrong.
    Cleared {
        /// Which.
        path: PathId,
    },
    /// A path works, but so badly that it takes I/O only where no sound one can; or an operator wants it so.
    PathMarginal {
        /// Which.
        path: PathId,
        /// Why.
        cause: MarginalCause,
    },
    /// A path that was marginal is as good as the others: it has stood its probation, or an operator says so.
    PathSound {
        /// Which.
        path: PathId,
        /// How long it was marginal.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "after_ns", serialize_with = "crate::serial::nanos")
        )]
        after: Duration,
    },
    /// A path has another class of latency than before, or its first one ([`LatencyClasses`](super::LatencyClasses)).
    PathRanked {
        /// Which.
        path: PathId,
        /// What a check takes there, as a rule.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "round_trip_ns", serialize_with = "crate::serial::nanos")
        )]
        round_trip: Duration,
    },
    /// A path is gone; its id means nothing any more.
    PathRemoved {
        /// Which.
        path: PathId,
    },
    /// After a login a path led to another logical unit: one of another name, serial number or device
    /// type, or none. It is kept out, and asked again, until it leads to the right one.
    IdentityMismatch {
        /// Which.
        path: PathId,
    },
    /// Two paths that were given different local ends leave through one network device: one cable
    /// takes both away, and their bandwidths do not add up.
    SharedDevice {
        /// The path that joined.
        path: PathId,
        /// The one that was there.
        with: PathId,
    },
    /// The I/O of a path that was lost, or is suspected, goes elsewhere now. Once per loss.
    Failover {
        /// The lost path.
        from: PathId,
        /// The first path that took over.
        to: PathId,
    },
    /// A spare takes I/O: the path that it stands by for does not.
    SpareInUse {
        /// The spare.
        path: PathId,
        /// That path.
        instead_of: PathId,
    },
    /// A spare takes no new I/O any more, as the path that it stands by for takes it again.
    SpareStandsBy {
        /// The spare.
        path: PathId,
    },
    /// The target port group of a path has another access state, or another preference, than it was known to have.
    AccessChanged {
        /// Which.
        path: PathId,
        /// The state.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
        state: AccessState,
        /// PREF: the array would have I/O come this way.
        preferred: bool,
    },
    /// All paths stand by, and the target is asked to make a port group active.
    Activating {
        /// Through which path.
        path: PathId,
        /// Which group.
        group: u16,
    },
    /// Another path group is in use.
    GroupSwitched {
        /// A path of the group that took the I/O before, if one did.
        from: Option<PathId>,
        /// A path of the group in use now.
        to: PathId,
    },
    /// An operator has suspended the device: I/O waits.
    Suspended,
    /// It is suspended or paused, and nothing is in flight any more.
    Quiesced,
    /// An operator lets I/O go on.
    Resumed,
    /// An order about reservations needs quiet: I/O waits until it is carried out.
    Paused,
    /// The pause is over. I/O goes on, unless the device is suspended.
    Unpaused,
    /// All paths in use tell a new size, and the device has taken it.
    Resized {
        /// The old one in bytes.
        from: u64,
        /// The new one in bytes.
        to: u64,
    },
    /// All paths in use tell another size, and the device keeps its own: see [`AutoResize`](super::AutoResize).
    SizeNotTaken {
        /// The device's in bytes.
        size: u64,
        /// The unit's in bytes.
        told: u64,
    },
    /// After `SizeNotTaken` all paths in use tell the device's own size again.
    SizeAgreed {
        /// In bytes.
        size: u64,
    },
    /// No path takes I/O.
    AllPathsDown,
    /// I/O waits for a path.
    Queueing {
        /// For how long at most; `None`: without limit.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "limit_ns", serialize_with = "crate::serial::nanos_or_none")
        )]
        limit: Option<Duration>,
    },
    /// The wait for a path has reached its limit: I/O fails until one comes back.
    QueueingExpired,
    /// A path is back after `AllPathsDown`.
    Restored,
    /// A write waits for the end of a write that it overlaps and whose path was lost.
    WriteHeld {
        /// The one that waits.
        io: IoId,
    },
    /// A write of this path has an unknown outcome; it is being proven dead.
    FenceStarted {
        /// Which path.
        path: PathId,
    },
    /// No write of this path can land any more (see `by` for how that is known).
    FenceDone {
        /// Which path.
        path: PathId,
        /// How it is known.
        by: FencedBy,
    },
    /// What a rung of the fencing ladder came to.
    FenceStep {
        /// Whose writes it is about; `None` for a reset of the logical unit, which is about all, and for
        /// those of a former process.
        path: Option<PathId>,
        /// Which rung.
        rung: FenceRung,
        /// What became of it.
        step: RungStep,
    },
    /// A path takes I/O without a key, though keys are configured: its lost writes cannot be preempted. Once,
    /// until it has one.
    KeyRefused {
        /// Which path.
        path: PathId,
        /// Why.
        why: KeyRefusal,
    },
    /// A path is registered with the device's key, or anew.
    PathRegistered {
        /// Which.
        path: PathId,
    },
    /// A path could not be registered with the device's key. It takes no I/O, and is tried again. Once, until it is.
    PathNotRegistered {
        /// Which.
        path: PathId,
    },
    /// Somebody has ended the device's registration: its writes fail until it is registered again.
    RegistrationLost {
        /// The path that has found it.
        path: PathId,
    },
    /// The device is not registered any more, because its user wants it so.
    Unregistered,
    /// The device holds the reservation.
    Reserved {
        /// Of which type.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "type", serialize_with = "crate::serial::text")
        )]
        kind: ReservationType,
    },
    /// The device holds no reservation any more.
    Released,
    /// The first path is up, and writes wait until those of a former process are proven dead.
    FormerLifeFenceStarted,
    /// No write of a former process can land any more.
    FormerLifeFenced {
        /// How it is known.
        by: FencedBy,
    },
}

impl fmt::Display for FencedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Confirmed => "the target confirmed it",
            Self::Reinstated => "its session was reinstated",
            Self::SiblingReinstated => "its session was reinstated through a sibling",
            Self::Preempted => "its commands were aborted by its key",
            Self::UnitReset => "the logical unit was reset",
            Self::QuietTime => "the quiet time has passed",
            Self::Unfenced => "nothing proves it, and the callers were told",
        })
    }
}

impl Event {
    /// The same line as `Display`, with names in the place of ids: what `names` does not know keeps its id. An event
    /// may tell of a path that is gone, so names are best kept from its [`PathAdded`](Self::PathAdded) on.
    pub fn named<N: fmt::Display>(&self, names: impl Fn(PathId) -> Option<N>) -> impl fmt::Display {
        Line { event: self, names }
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, names: &Names<'_>) -> fmt::Result {
        let name = |path: &PathId| Named { path: *path, names };
        match self {
            Self::PathAdded { path } => write!(f, "{path} added", path = name(path)),
            Self::PathUp { path } => write!(f, "{path} is up", path = name(path)),
            Self::PathDown { path, reason } => {
                write!(f, "{path} is down: {reason}", path = name(path))
            }
            Self::StillDown { path, reason } => {
                write!(f, "{path} is still down: {reason}", path = name(path))
            }
            Self::Suspect {
                path,
                cause: cause @ (SuspectCause::Silence | SuspectCause::PathError),
            } => write!(f, "{path} is suspected: {cause}", path = name(path)),
            Self::Suspect {
                path,
                cause: SuspectCause::LinkDown,
            } => write!(f, "{path} has no carrier", path = name(path)),
            Self::Suspect {
                path,
                cause: SuspectCause::Transition,
            } => write!(
                f,
                "{path} waits: its port group is between two states",
                path = name(path)
            ),
            Self::Hedged {
                path,
                moved,
                denied,
            } => {
                write!(
                    f,
                    "{path} is silent and others are not: {moved} reads move",
                    path = name(path)
                )?;
                match denied {
                    0 => Ok(()),
                    _ => write!(f, ", {denied} are beyond the budget"),
                }
            }
            Self::PathMarginal { path, cause } => {
                write!(f, "{path} is marginal: {cause}", path = name(path))
            }
            Self::PathSound { path, after } => write!(
                f,
                "{path} is sound again after {after} s",
                path = name(path),
                after = after.as_secs()
            ),
            Self::PathRanked { path, round_trip } => write!(
                f,
                "{path} is ranked by a round trip of {round_trip:?}",
                path = name(path)
            ),
            Self::Delivery { path, delivery } => {
                write!(
                    f,
                    "what was sent on {path} is {delivery}",
                    path = name(path)
                )
            }
            Self::Cleared { path } => write!(f, "{path} is no longer suspected", path = name(path)),
            Self::PathRemoved { path } => write!(f, "{path} removed", path = name(path)),
            Self::IdentityMismatch { path } => {
                write!(
                    f,
                    "{path} leads to another logical unit and is kept out",
                    path = name(path)
                )
            }
            Self::SharedDevice { path, with } => {
                write!(
                    f,
                    "{path} and {with} leave through one network device",
                    path = name(path),
                    with = name(with)
                )
            }
            Self::Failover { from, to } => write!(
                f,
                "failover from {from} to {to}",
                from = name(from),
                to = name(to)
            ),
            Self::SpareInUse { path, instead_of } => write!(
                f,
                "{path} is used instead of {instead_of}",
                path = name(path),
                instead_of = name(instead_of)
            ),
            Self::SpareStandsBy { path } => {
                write!(f, "{path} stands by again", path = name(path))
            }
            Self::AccessChanged {
                path,
                state,
                preferred,
            } => {
                let preferred = if *preferred { ", preferred" } else { "" };
                write!(f, "{path} is {state}{preferred}", path = name(path))
            }
            Self::Activating { path, group } => {
                write!(
                    f,
                    "port group {group} is asked to become active, through {path}",
                    path = name(path)
                )
            }
            Self::GroupSwitched {
                from: Some(from),
                to,
            } => write!(
                f,
                "group of {to} in use instead of that of {from}",
                from = name(from),
                to = name(to)
            ),
            Self::GroupSwitched { from: None, to } => {
                write!(f, "group of {to} in use", to = name(to))
            }
            Self::Suspended => f.write_str("suspended: I/O waits"),
            Self::Quiesced => f.write_str("nothing is in flight any more"),
            Self::Resumed => f.write_str("resumed"),
            Self::Paused => f.write_str("paused for an order about reservations: I/O waits"),
            Self::Unpaused => f.write_str("the pause is over"),
            Self::Resized { from, to } => write!(f, "resized from {from} to {to} bytes"),
            Self::SizeNotTaken { size, told } => {
                write!(
                    f,
                    "all paths tell {told} bytes, and the device keeps {size}"
                )
            }
            Self::SizeAgreed { size } => write!(f, "all paths tell {size} bytes again"),
            Self::AllPathsDown => f.write_str("all paths are down"),
            Self::Queueing { limit: Some(limit) } => {
                write!(f, "I/O waits for a path, at most {limit:?}")
            }
            Self::Queueing { limit: None } => f.write_str("I/O waits for a path"),
            Self::QueueingExpired => f.write_str("I/O fails for want of a path"),
            Self::Restored => f.write_str("a path is back"),
            Self::WriteHeld { io } => {
                write!(f, "{io} waits for a write whose outcome is unknown")
            }
            Self::FenceStarted { path } => {
                write!(
                    f,
                    "a write of {path} has an unknown outcome",
                    path = name(path)
                )
            }
            Self::FenceDone { path, by } => {
                write!(
                    f,
                    "no write of {path} can land any more: {by}",
                    path = name(path)
                )
            }
            Self::FenceStep {
                path: Some(path),
                rung,
                step,
            } => write!(f, "fence of {path}: {rung} {step}", path = name(path)),
            Self::FenceStep {
                path: None,
                rung,
                step,
            } => write!(f, "fence: {rung} {step}"),
            Self::KeyRefused { path, why } => {
                write!(f, "{path} has no reservation key: {why}", path = name(path))
            }
            Self::PathRegistered { path } => write!(f, "{path} is registered", path = name(path)),
            Self::PathNotRegistered { path } => {
                write!(
                    f,
                    "{path} could not be registered, and takes no I/O",
                    path = name(path)
                )
            }
            Self::RegistrationLost { path } => write!(
                f,
                "somebody has ended the registration, as {path} finds: writes fail",
                path = name(path)
            ),
            Self::Unregistered => f.write_str("not registered any more"),
            Self::Reserved { kind } => write!(f, "reserved: {kind}"),
            Self::Released => f.write_str("not reserved by this device any more"),
            Self::FormerLifeFenceStarted => {
                f.write_str("writes of a former process are being proven dead")
            }
            Self::FormerLifeFenced { by } => {
                write!(f, "no write of a former process can land any more: {by}")
            }
        }
    }
}

type Names<'a> = dyn Fn(PathId, &mut fmt::Formatter<'_>) -> fmt::Result + 'a;

struct Named<'a> {
    path: PathId,
    names: &'a Names<'a>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.names)(self.path, f)
    }
}

struct Line<'a, F> {
    event: &'a Event,
    names: F,
}

impl<N: fmt::Display, F: Fn(PathId) -> Option<N>> fmt::Display for Line<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.line(f, &|path, f| match (self.names)(path) {
            Some(name) => name.fmt(f),
            None => path.fmt(f),
        })
    }
}

impl fmt::Display for Event {
    /// One line; paths by their id, whose names the snapshot has. See [`named`](Self::named).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(f, &|path, f| path.fmt(f))
    }
}
