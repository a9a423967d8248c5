//! A target in the simulator, and sessions with it.

use std::{cell::Cell, future::Future, sync::Arc};

use iscsi_client::{
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    logical_unit::LogicalUnit,
    session::{Session, SessionOptions},
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::{
    sim::SimRuntime,
    target::{LunConfig, SimTarget, TargetConfig, TargetCore},
};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const PORTALS: [&str; 2] = ["10.0.0.1:3260", "10.0.0.2:3260"];
pub(crate) const SIZE: u64 = 64 << 20;

pub(crate) struct World {
    pub(crate) sim: SimRuntime,
    pub(crate) target: SimTarget,
    initiator: Initiator,
    name: String,
    sessions: Cell<u16>,
}

impl World {
    /// Two portals, each a group of its own.
    pub(crate) fn new(configure: impl FnOnce(TargetConfig) -> TargetConfig) -> Self {
        let sim = SimRuntime::new(1);
        let config = TargetConfig::new(TARGET)
            .with_portal(PORTALS[0].parse().unwrap(), 1)
            .with_portal(PORTALS[1].parse().unwrap(), 2);
        let config = configure(config);
        let name = config.name.clone();
        let target = SimTarget::start(&sim.handle(), config).unwrap();
        let host = "iqn.2026-01.example:host".parse().unwrap();
        let initiator = Initiator::builder(host, Arc::new(sim.handle())).build();
        Self {
            sim,
            target,
            initiator,
            name,
            sessions: Cell::new(0),
        }
    }

    pub(crate) fn with_disk() -> Self {
        Self::new(|config| config.with_lun(LunConfig::new(0, SIZE)))
    }

    pub(crate) fn core(&self) -> &Arc<TargetCore> {
        self.target.core()
    }

    pub(crate) async fn session_with(&self, portal: usize, options: SessionOptions) -> Session {
        let to = SessionTarget::new(self.name.parse().unwrap(), PORTALS[portal].parse().unwrap())
            .with_options(options)
            .with_slot(SessionSlot {
                bind: 0,
                portal: 0,
                number: self.sessions.replace(self.sessions.get() + 1),
            });
        self.initiator.connect_spawned(&to).await.unwrap()
    }

    pub(crate) async fn session(&self, portal: usize) -> Session {
        self.session_with(portal, SessionOptions::default()).await
    }

    pub(crate) async fn open(&self) -> LogicalUnit {
        let session = self.session(0).await;
        LogicalUnit::open(session, Lun::ZERO).await.unwrap()
    }

    /// Runs `test`, then looks at what the target thought of it.
    pub(crate) fn run(&self, test: impl Future<Output = ()>) {
        self.sim.block_on(test);
        assert_eq!(self.core().violations(), []);
    }
}
