//! A world with two NICs and a target of two portals and some logical units.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use iscsi_client::{device::BlockDeviceExt, initiator::Initiator};
use iscsi_testkit::{
    pattern,
    sim::{Link, SimConfig, SimHandle, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{
    MultipathDevice,
    inventory::{Inventory, InventoryBuilder, InventoryEvents},
};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
/// Another target, which only [`tell_of`](iscsi_testkit::target::TargetCore::tell_of) makes known.
pub(crate) const OTHER: &str = "iqn.2026-01.example:other";
pub(crate) const LUN_SIZE: u64 = 1 << 30;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The portals' addresses; the third one is the other target's.
pub(crate) fn portal(index: usize) -> SocketAddr {
    ["10.0.0.1:3260", "10.0.1.1:3260", "10.0.0.2:3260"][index]
        .parse()
        .unwrap()
}

pub(crate) fn target_config(units: u16) -> TargetConfig {
    let config = TargetConfig::new(TARGET)
        .with_portal(portal(0), 1)
        .with_portal(portal(1), 2);
    (0..units).fold(config, |config, number| {
        config.with_lun(LunConfig::new(number, LUN_SIZE))
    })
}

/// The other target has one unit, of seed 100.
pub(crate) fn other_config() -> TargetConfig {
    let mut lun = LunConfig::new(0, LUN_SIZE).with_seed(100);
    lun.naa[8] = 1;
    TargetConfig::new(OTHER)
        .with_portal(portal(2), 1)
        .with_lun(lun)
}

/// The identifier of a unit of the first target.
pub(crate) fn wwid(number: u16) -> String {
    format!("36001405f15c51d00000000000000{number:04x}")
}

/// That of the other target's.
pub(crate) fn other_wwid() -> String {
    "36001405f15c51d000100000000000000".to_owned()
}

pub(crate) struct World {
    pub(crate) sim: SimRuntime,
    pub(crate) target: SimTarget,
    pub(crate) initiator: Initiator,
    /// To count who still has it.
    pub(crate) runtime: Arc<SimHandle>,
}

impl World {
    pub(crate) fn new(seed: u64, units: u16) -> Self {
        Self::with_target(seed, target_config(units))
    }

    pub(crate) fn with_target(seed: u64, config: TargetConfig) -> Self {
        let mut options = SimConfig::new(seed);
        options.step_limit = 200_000_000;
        let sim = SimRuntime::with_config(options);
        sim.net().add_device("eth0", "10.0.0.10".parse().unwrap());
        sim.net().add_device("eth1", "10.0.1.10".parse().unwrap());
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let runtime = Arc::new(sim.handle());
        let initiator = Initiator::builder(name, Arc::clone(&runtime) as _).build();
        Self {
            sim,
            target,
            initiator,
            runtime,
        }
    }

    /// Starts the other target; the first one does not tell of it yet.
    pub(crate) fn start_other(&self) -> SimTarget {
        SimTarget::start(&self.sim.handle(), other_config()).unwrap()
    }

    pub(crate) fn tell_of_other(&self) {
        let addresses = [&*format!("{},1", portal(2))];
        self.target.core().tell_of(&[(OTHER, &addresses)]);
    }

    /// Both NICs, and the first portal to ask.
    pub(crate) fn builder() -> InventoryBuilder {
        Inventory::builder()
            .bind("eth0".parse().unwrap())
            .bind("eth1".parse().unwrap())
            .discover(portal(0).into())
    }

    /// Opens an inventory, with a reader that sees all events.
    pub(crate) fn open(&self, builder: InventoryBuilder) -> (Inventory, InventoryEvents) {
        let (inventory, driver) = builder.open(&self.initiator).unwrap();
        let events = inventory.events();
        self.sim.handle().spawn_driver(driver);
        (inventory, events)
    }

    /// The same, after the first scan.
    pub(crate) fn scanned(&self, builder: InventoryBuilder) -> (Inventory, InventoryEvents) {
        let (inventory, events) = self.open(builder);
        self.sim.block_on(inventory.scanned());
        (inventory, events)
    }

    pub(crate) fn link(index: usize) -> Link {
        Link::to(portal(index))
    }

    /// Closes the inventory and sees that nobody broke the protocol.
    pub(crate) fn end(&self, inventory: Inventory) {
        self.sim.net().heal_all();
        self.sim.block_on(inventory.close());
        assert!(self.initiator.sessions().is_empty());
        assert_eq!(self.target.core().violations(), []);
    }
}

/// Spawns what makes an inventory look.
trait SpawnDriver {
    fn spawn_driver(&self, driver: mpio::inventory::InventoryDriver);
}

impl SpawnDriver for SimHandle {
    fn spawn_driver(&self, driver: mpio::inventory::InventoryDriver) {
        iscsi_client::runtime::Runtime::spawn(self, Box::pin(driver));
    }
}

pub(crate) fn wwids(inventory: &Inventory) -> Vec<String> {
    let devices = inventory.devices();
    let names = devices.iter().map(|d| d.topology().wwid().to_owned());
    names.collect()
}

pub(crate) fn paths(device: &MultipathDevice) -> usize {
    device.snapshot().paths().count()
}

/// What has happened so far, a line each.
pub(crate) fn told(events: &mut InventoryEvents) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = events.try_next() {
        lines.push(event.kind.to_string());
    }
    lines
}

/// The first event from now on whose line has `part` in it.
pub(crate) async fn until_told(events: &mut InventoryEvents, part: &str) -> String {
    while let Some(event) = events.next().await {
        let line = event.kind.to_string();
        if line.contains(part) {
            return line;
        }
    }
    panic!("closed before {part:?}");
}

pub(crate) fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

/// Reads a block and compares it with the content of that seed.
pub(crate) async fn check(device: &MultipathDevice, seed: u64) {
    let block = device.read_bytes(8192, 4096).await.unwrap();
    assert_eq!(pattern::verify(seed, 8192, &block), Ok(()));
}
