//! What an inventory is told before it begins.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use iscsi_client::{
    bind::Bind, discovery::Discovery, initiator::Initiator, logical_unit::LogicalUnitOptions,
    session::SessionOptions,
};
use iscsi_proto::{login::Authentication, name::IscsiName, portal::Portal};

use super::{
    Handle, Inventory, InventoryDriver, InventoryError, filter::Filter, limits::Limits, plan::Plan,
    settings::Settings, shared::Shared,
};
use crate::{
    arrays::ArrayTable,
    core::{Config, PathAttributes},
    rule::{FoundUnit, Rule},
    spares::Spares,
};

/// Between two scans, unless another time is set.
const RESCAN: Duration = Duration::from_secs(60);
/// The shortest such time.
const SHORTEST_RESCAN: Duration = Duration::from_secs(1);
/// How long a device without a path is kept, unless another time is set: as long as requests wait there with the
/// default settings.
const KEEP: Duration = Duration::from_secs(60);
/// How long a scan is waited for, unless another time is set: a unit that is slow is given half of it.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// A caller may well say `Duration::MAX` for "ever", which added to a clock is a panic.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Describes an [`Inventory`]: where to look, from where, for what, and how to use it.
#[derive(Clone, Debug)]
#[must_use]
pub struct InventoryBuilder {
    plan: Plan,
}

impl InventoryBuilder {
    pub(super) fn new() -> Self {
        Self {
            plan: Plan {
                discoveries: Vec::new(),
                targets: Vec::new(),
                binds: Vec::new(),
                authentication: BTreeMap::new(),
                session: None,
                unit: LogicalUnitOptions::default(),
                filter: Filter::default(),
                settings: Settings::default(),
                arrays: ArrayTable::default(),
                across_targets: false,
                spares: Spares::default(),
                limits: Limits::default(),
                rescan: Some(RESCAN),
                keep: KEEP,
                scan_timeout: SCAN_TIMEOUT,
            },
        }
    }

    /// Adds a portal that is asked for targets (SendTargets), from each local end, at every scan. What it tells
    /// is logged in to from all of them.
    pub fn discover(self, portal: Portal) -> Self {
        self.discover_with(Discovery::new(portal))
    }

    /// The same with credentials, options, or a local end of its own; or asks for one target only.
    pub fn discover_with(mut self, discovery: Discovery) -> Self {
        self.plan.discoveries.push(discovery);
        self
    }

    /// Adds a portal of a target that need not be discovered.
    pub fn target(mut self, target: IscsiName, portal: Portal) -> Self {
        self.plan.targets.push((target, portal));
        self
    }

    /// Adds a local end: a device, a hardware address or an address of this host. There is a session from each
    /// to every portal that it can reach. Without any the routing table decides, and there is one session for
    /// each portal.
    pub fn bind(mut self, bind: Bind) -> Self {
        // Twice the same would be two sessions in one slot.
        if !self.plan.binds.contains(&bind) {
            self.plan.binds.push(bind);
        }
        self
    }

    /// How to authenticate with this target, instead of as the initiator does. Where secrets change, or are
    /// looked up, give the [session's options](Self::session_options) a
    /// [provider](SessionOptions::credentials) of them.
    pub fn authentication(mut self, target: IscsiName, authentication: Authentication) -> Self {
        self.plan.authentication.insert(target, authentication);
        self
    }

    /// Options of all sessions, those of discovery included, instead of the initiator's.
    pub fn session_options(mut self, options: SessionOptions) -> Self {
        self.plan.session = Some(options);
        self
    }

    /// How each path uses its logical unit.
    /// [`fail_fast`](LogicalUnitOptions::fail_fast) and
    /// [`open_without_access`](LogicalUnitOptions::open_without_access) are set in any case. Its
    /// [`open_timeout`](LogicalUnitOptions::open_timeout) is also that of a list of logical units.
    pub fn unit_options(mut self, options: LogicalUnitOptions) -> Self {
        self.plan.unit = options;
        self
    }

    /// What is taken and what is left out. Default: all is taken.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.plan.filter = filter;
        self
    }

    /// Settings of the devices for which none of [`config_for`](Self::config_for) and
    /// [`config_by`](Self::config_by) has any.
    pub fn config(mut self, config: Config) -> Self {
        self.plan.settings.others = config;
        self
    }

    /// Settings of the devices that a rule is about, as in the sections `devices` (a rule about
    /// [vendor and product](Rule::device)) and `multipaths` ([the identifier](Rule::wwid)) of multipath.conf. The
    /// first rule that matches counts, so give the narrower ones first. A device is judged by its first path.
    pub fn config_for(mut self, rule: Rule, config: Config) -> Self {
        self.plan.settings.table.push((rule, config));
        self
    }

    /// Settings by whatever the program likes; `None` leaves it to the others. It must not block.
    pub fn config_by(
        mut self,
        choose: impl Fn(&FoundUnit) -> Option<Config> + Send + Sync + 'static,
    ) -> Self {
        self.plan.settings.choose = Some(Arc::new(choose));
        self
    }

    /// What single arrays need where these settings leave it unset, and which of their units are no disks to use. Default:
    /// the [built-in table](crate::arrays); [`ArrayTable::none`] for nothing.
    pub fn arrays(mut self, table: ArrayTable) -> Self {
        self.plan.arrays = table;
        self
    }

    /// The priority of paths that a rule is about, instead of 1: by the local end, the portal, both together, the target,
    /// or whatever the unit tells (`prio weightedpath`). The first rule that matches counts, so give the narrower ones
    /// first. What becomes of it is for the [`Prioritizer`](crate::core::Prioritizer) and the
    /// [grouping](crate::core::PathGroupingPolicy::GroupByPriority) of the [settings](Self::config) to say.
    ///
    /// ```
    /// use mpio::{core::{Config, PathGroupingPolicy, Prioritizer}, inventory::{Inventory, Rule}};
    ///
    /// // The slow NIC is there for when nothing else is.
    /// let config = Config::builder()
    ///     .prioritizer(Prioritizer::Given)
    ///     .path_grouping_policy(PathGroupingPolicy::GroupByPriority)
    ///     .build()?;
    /// let builder = Inventory::builder()
    ///     .config(config)
    ///     .priority_by(Rule::path("eth1 -> 10.0.1.*"), 100)
    ///     .priority_by(Rule::bind("eth0"), 10);
    /// # Ok::<(), mpio::core::ConfigError>(())
    /// ```
    pub fn priority_by(mut self, rule: Rule, priority: u32) -> Self {
        self.plan.settings.priorities.push(rule, priority);
        self
    }

    /// Changes what a device is told of a path, after [`priority_by`](Self::priority_by). It must not block. Who
    /// renames a path puts the new name into [`spare_for`](PathAttributes::spare_for) of its [spare](Self::spares) too: a
    /// spare whose path is not found by that name takes I/O like any other path.
    pub fn path_attributes(
        mut self,
        describe: impl Fn(&FoundUnit, PathAttributes) -> PathAttributes + Send + Sync + 'static,
    ) -> Self {
        self.plan.settings.describe = Some(Arc::new(describe));
        self
    }

    /// Lets a device have paths to several targets, as with arrays of which each controller is a target of its own.
    /// Otherwise the target of its first path is that of all: an identifier is whatever a target says, and one that
    /// claims that of another one's unit would be given what is written there. With this all targets that are taken
    /// have to be trusted as much as the one that has the data; a [filter](Self::filter) can see to that.
    pub const fn across_targets(mut self) -> Self {
        self.plan.across_targets = true;
        self
    }

    /// Which sessions have another one beside them, from the same local end to the same portal, as with
    /// [`MultipathBuilder::spares`](crate::MultipathBuilder::spares): each unit behind both is a path and its spare, which
    /// takes I/O only while the path does not. Default [`Spares::OnDemand`].
    ///
    /// It has an ISID of its own that depends on the two ends only; those of the other sessions are what they are without
    /// spares. Rules of filters, settings and priorities judge it as they judge its path, which it is called after
    /// (`eth0 -> 10.0.1.1:3260 spare`).
    ///
    /// One that is opened on demand gives up if neither it nor the session beside it has a connection after ten seconds, and
    /// leaves once that one has and no path needs it ([`Removal::SpareNotNeeded`](super::Removal::SpareNotNeeded)). A
    /// [warm](Spares::Warm) one is opened once the session beside it has told its units, and is removed by the same rules.
    /// Of [limits](Self::limits) each counts as a session, and as a path of its device, first come, first served: for warm
    /// ones they leave room for twice of each.
    pub const fn spares(mut self, spares: Spares) -> Self {
        self.plan.spares = spares;
        self
    }

    /// Bounds on what targets can make of this.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.plan.limits = limits;
        self
    }

    /// The time from the end of a scan to the next one; `None`: only [`rescan`](Inventory::rescan) begins
    /// another one, and what targets tell by themselves. Default a minute, at least a second. While a device has no
    /// path the pauses are shorter, from one to ten seconds.
    pub fn rescan_interval(mut self, interval: Option<Duration>) -> Self {
        let clamp = |interval: Duration| interval.clamp(SHORTEST_RESCAN, YEAR);
        self.plan.rescan = interval.map(clamp);
        self
    }

    /// How long a device is kept that has no path any more. If its unit comes back until then, it is the same
    /// device, and requests that wait there go on; afterwards it is closed, unless a write that was lost may still
    /// land: it is kept until that is [proven dead](crate::core::Snapshot::ghosts). Default a minute.
    pub fn keep_without_path(mut self, time: Duration) -> Self {
        self.plan.keep = time.min(YEAR);
        self
    }

    /// How long a scan takes at most. What has not answered by then is still waited for, but no longer by those who
    /// wait for the scan, nor by the next one. One that begins in the time of another may take twice as long. Default a
    /// minute, at least a second.
    pub fn scan_timeout(mut self, time: Duration) -> Self {
        self.plan.scan_timeout = time.clamp(SHORTEST_RESCAN, YEAR);
        self
    }

    /// The inventory, and the driver that makes it look: the caller polls or spawns it. The initiator's name and
    /// runtime are those of all sessions.
    ///
    /// # Errors
    ///
    /// [`InventoryError::NothingToAsk`]. What goes wrong later is no error, but an
    /// [event](Inventory::events) and part of the [snapshot](Inventory::snapshot).
    pub fn open(
        mut self,
        initiator: &Initiator,
    ) -> Result<(Inventory, InventoryDriver), InventoryError> {
        if self.plan.discoveries.is_empty() && self.plan.targets.is_empty() {
            return Err(InventoryError::NothingToAsk);
        }
        if self.plan.binds.is_empty() {
            self.plan.binds.push(Bind::Any);
        }
        let shared = Arc::new(Shared::new(initiator.runtime().now()));
        let driver = InventoryDriver::new(self.plan, initiator.clone(), Arc::clone(&shared));
        let inventory = Inventory(Arc::new(Handle { shared }));
        Ok((inventory, driver))
    }

    /// As [`open`](Self::open), and the driver is spawned on the initiator's runtime.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub fn open_spawned(self, initiator: &Initiator) -> Result<Inventory, InventoryError> {
        let (inventory, driver) = self.open(initiator)?;
        initiator.runtime().spawn(Box::pin(driver));
        Ok(inventory)
    }
}
