//! How lost writes are proven dead: what may be used, and who else writes.

use std::time::Duration;

use super::{config_error::ConfigError, path_keys::PathKeys, profile::TargetProfile};

/// Who writes to the device, which decides when a lost write may be tried again.
///
/// A write whose path was lost with an unknown outcome may still be executed, at any later time: a
/// *ghost*. See `docs/fencing.md` for the whole story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriterMode {
    /// Nobody but this device, as with the disk of a virtual machine. The write is tried again through
    /// another path at once, and its caller is told when that has succeeded. The ghost has the same
    /// bytes for the same place, so it does no harm until somebody writes that place again: later
    /// writes that overlap it wait until the ghost is proven dead. The proof is background work, and
    /// most programs never wait for it.
    Single,
    /// Others as well (a cluster file system). The write is tried again only when its ghost is proven
    /// dead. To try earlier and complete later would not do: as soon as the repetition is in the
    /// medium, another host may read it, conclude from it and write something newer to the same
    /// place, which the ghost would then overwrite; and no range that is held back here holds back
    /// another host. So nothing of the repetition leaves before the proof.
    Shared,
}

/// Whether writes of an earlier process may still land when this one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormerLife {
    /// None can: the process before this one closed its device when that had
    /// [no ghost](super::Snapshot) left, or never was, or ended long ago. The caller knows, and the device
    /// does not, so this is the default: to assume the worst would hold back the first write of every start
    /// for the quiesce time, with most targets.
    None,
    /// A process with the same initiator name, portals and local ends may have died with writes under
    /// way, or has closed its device while one of them was not proven dead. Everything that modifies waits
    /// until they are proven dead: by this device's own logins, which reinstate all the nexuses that the
    /// former process had, on a target where that is a barrier; by a
    /// [unit reset](FenceConfig::unit_reset) after its drain time, or by the target's quiesce time, both since
    /// the first login. The two count on a runtime whose connections are reset when their process is killed,
    /// as those of `iscsi-client`'s adapters are. Reads do not wait.
    Fence,
}

/// How PREEMPT AND ABORT is used; see [`FenceConfig::preempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PreemptAndAbort {
    /// The keys that the paths are registered with.
    pub keys: PathKeys,
    /// How long after the abortive close it is sent: what is on its way to the target then is to arrive, as with
    /// [`FenceConfig::unit_reset`]. Range 100 ms to 10 s: a path that is back stays out for as long.
    pub drain: Duration,
}

/// When and how the writes of a lost path are proven dead. What is not allowed here is not done, and what
/// is [not known](super::Reinstatement::Unknown) does not count.
///
/// If nothing here can prove anything (no barrier, no quiesce time, no reset), a lost write ends as
/// `Unknown` at once, in both modes: were it repeated and completed, its range would have to be held for
/// ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FenceConfig {
    /// Default [`WriterMode::Single`].
    pub mode: WriterMode,
    /// What is known of the target. Default [`TargetProfile::UNKNOWN`].
    pub target: TargetProfile,
    /// Whether the nexus of a lost path may be reinstated through another portal of its target portal
    /// group, where that is a barrier. It costs a connection and a login, and disturbs nobody. Default
    /// yes.
    pub sibling_reinstatement: bool,
    /// Whether the commands of a lost path may be aborted through another one by PREEMPT AND ABORT (SPC-4
    /// section 5.12.11.2.6), by the key that the path was registered with. It ends the commands of that path and
    /// of nobody else.
    ///
    /// Each path registers a key of its own when it joins, and again after each login, before it takes I/O;
    /// it unregisters when it is closed. The device makes no reservation. Where the unit is reserved, or
    /// somebody has registered a key of another [family](PathKeys), paths are used without a key, and nothing is
    /// preempted. A path that is back before it was preempted stays out until that is done, if there is
    /// another one.
    ///
    /// A target that ends the order in GOOD and goes on with the commands is silent corruption, and LIO does
    /// so. So this is for targets that are known to keep to the standard, and refused for those that
    /// [do not](TargetProfile::preempt_aborts). There has to be another proof too (a barrier, a quiesce time
    /// or a unit reset): a path that was used again, or has no key, has no proof here. Default `None`: not
    /// used, and nothing is registered.
    pub preempt: Option<PreemptAndAbort>,
    /// Whether a LOGICAL UNIT RESET through another path may be used, and how long after the abortive
    /// close. It ends the commands of *all* initiators in the logical unit, so it is for a device that
    /// nobody else uses. The reset ends what is a task in the target by then; what is still on the
    /// wire, or in the target's receive buffer, becomes one after it. The drain time is for that to
    /// arrive. Default `None`: not used. Range 100 ms to 1 h.
    pub unit_reset: Option<Duration>,
    /// How long the proof may take, since the abortive close, where time proves nothing. Then a write
    /// that waits for it is given up as `Unknown`; one that was repeated and completed meanwhile keeps
    /// its range, and later writes that overlap it fail, as not executed, until the proof comes after
    /// all. Default 60 s, range 100 ms to 1 h.
    pub limit: Duration,
    /// How long the target may take to confirm that a write that was cancelled or timed out on a
    /// *living* connection is dead, before the connection is closed to make sure. Default 10 s:
    /// twice what the session gives an ABORT TASK before it drops the connection by itself. Range
    /// 100 ms to 1 h.
    pub abort_grace: Duration,
    /// Default [`FormerLife::None`].
    pub former_life: FormerLife,
}

impl FenceConfig {
    pub(crate) const DEFAULT: Self = Self {
        mode: WriterMode::Single,
        target: TargetProfile::UNKNOWN,
        sibling_reinstatement: true,
        preempt: None,
        unit_reset: None,
        limit: Duration::from_secs(60),
        abort_grace: Duration::from_secs(10),
        former_life: FormerLife::None,
    };

    /// Whether anything but the target's own word can prove a write dead, whatever its path does meanwhile.
    #[must_use]
    pub const fn can_fence(&self) -> bool {
        self.target.is_barrier() || self.target.quiesce.is_some() || self.unit_reset.is_some()
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const RANGE: &str = "100 ms to 1 h";
        const TIMES: std::ops::RangeInclusive<Duration> =
            Duration::from_millis(100)..=Duration::from_secs(3600);
        let time = |value: Option<Duration>, field| match value {
            Some(value) if !TIMES.contains(&value) => Err(ConfigError {
                field,
                range: RANGE,
            }),
            _ => Ok(()),
        };
        time(self.target.quiesce, "quiet_time")?;
        time(self.unit_reset, "unit_reset")?;
        time(Some(self.limit), "fence_limit")?;
        time(Some(self.abort_grace), "abort_grace")?;
        if self.former_life == FormerLife::Fence && !self.can_fence() {
            return Err(ConfigError {
                field: "former_life",
                range: "Fence only with a barrier, a quiesce time or a unit reset",
            });
        }
        self.check_preempt()
    }

    fn check_preempt(&self) -> Result<(), ConfigError> {
        let Some(terms) = self.preempt else {
            return Ok(());
        };
        let drains = Duration::from_millis(100)..=Duration::from_secs(10);
        let range = if self.target.preempt_aborts == Some(false) {
            "not with a target that does not abort what it preempts"
        } else if !drains.contains(&terms.drain) {
            "100 ms to 10 s"
        } else if !self.can_fence() {
            "only with a barrier, a quiesce time or a unit reset as well"
        } else {
            return Ok(());
        };
        Err(ConfigError {
            field: "preempt_and_abort",
            range,
        })
    }
}
