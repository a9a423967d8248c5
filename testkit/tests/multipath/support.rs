//! A world with two NICs, one target of two portals, and a device over both.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use iscsi_client::{
    device::{BlockDevice, BlockDeviceExt},
    error::Error,
    initiator::Initiator,
};
use iscsi_testkit::{
    sim::{Link, SimConfig, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, PathSnapshot},
};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const LUN_SIZE: u64 = 1 << 30;

/// The portals' addresses.
pub(crate) fn portal(index: usize) -> SocketAddr {
    ["10.0.0.1:3260", "10.0.1.1:3260"][index].parse().unwrap()
}

pub(crate) fn target_config() -> TargetConfig {
    TargetConfig::new(TARGET)
        .with_portal(portal(0), 1)
        .with_portal(portal(1), 2)
        .with_lun(LunConfig::new(0, LUN_SIZE).with_seed(1))
}

pub(crate) struct World {
    pub(crate) sim: SimRuntime,
    pub(crate) target: SimTarget,
    pub(crate) initiator: Initiator,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_target(seed, target_config())
    }

    pub(crate) fn with_target(seed: u64, config: TargetConfig) -> Self {
        Self::with_options(SimConfig::new(seed), config)
    }

    pub(crate) fn with_options(mut options: SimConfig, config: TargetConfig) -> Self {
        options.step_limit = 200_000_000;
        let sim = SimRuntime::with_config(options);
        sim.net().add_device("eth0", "10.0.0.10".parse().unwrap());
        sim.net().add_device("eth1", "10.0.1.10".parse().unwrap());
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        let name = "iqn.2026-01.example:host".parse().unwrap();
        let initiator = Initiator::builder(name, Arc::new(sim.handle())).build();
        Self {
            sim,
            target,
            initiator,
        }
    }

    /// One path per NIC, each to its own portal.
    pub(crate) fn builder(&self, config: Config) -> MultipathBuilder {
        MultipathBuilder::new(TARGET.parse().unwrap())
            .portal(portal(0).into())
            .portal(portal(1).into())
            .bind("eth0".parse().unwrap())
            .bind("eth1".parse().unwrap())
            .paired()
            .config(config)
    }

    pub(crate) fn open(&self, config: Config) -> MultipathDevice {
        let builder = self.builder(config);
        self.sim
            .block_on(builder.connect_spawned(&self.initiator))
            .unwrap()
    }

    /// The same, once all its paths are usable.
    pub(crate) fn open_ready(&self, config: Config) -> MultipathDevice {
        let device = self.open(config);
        assert!(self.sim.block_on(self.all_usable(&device)));
        device
    }

    pub(crate) fn link(index: usize) -> Link {
        Link::to(portal(index))
    }

    /// Until all paths are usable; false after a minute.
    pub(crate) async fn all_usable(&self, device: &MultipathDevice) -> bool {
        for _ in 0..6000 {
            if paths(device).iter().all(PathSnapshot::is_usable) {
                return true;
            }
            self.sim.sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Closes the device and sees that nobody broke the protocol.
    pub(crate) fn end(&self, device: MultipathDevice) {
        self.sim.net().heal_all();
        self.sim.block_on(async move {
            device.close().await;
        });
        assert_eq!(self.target.core().violations(), []);
    }
}

pub(crate) fn paths(device: &MultipathDevice) -> Vec<PathSnapshot> {
    device.snapshot().paths().cloned().collect()
}

/// A block that tells who wrote it, and when.
pub(crate) fn stamp(worker: u64, generation: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(4096);
    while block.len() < 4096 {
        block.extend(worker.to_le_bytes());
        block.extend(generation.to_le_bytes());
    }
    block
}

pub(crate) async fn read(device: &dyn BlockDevice, offset: u64) -> Result<Vec<u8>, Error> {
    let mut block = vec![0; 4096];
    device.read_at(offset, &mut block).await?;
    Ok(block)
}

/// `MULTIPATH_SEEDS=from..to` for more of them.
pub(crate) fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("MULTIPATH_SEEDS") else {
        return default;
    };
    let (from, to) = text.split_once("..").expect("from..to");
    from.parse().unwrap()..to.parse().unwrap()
}
