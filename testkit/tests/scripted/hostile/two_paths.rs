//! A device with two paths to one disk, of which the second one's target does what a row wants.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, join, select};
use iscsi_client::logical_unit::LogicalUnit;
use iscsi_testkit::{scripted::Peer, target::TargetCore};
use mpio::{
    DeviceEvent, EventReader, MultipathBuilder, MultipathDevice,
    core::{Config, Event, PathId, PathSelector, PathSnapshot},
};

use super::disk::Lies;
use crate::support::{TARGET, World};

/// The good path's portal, and the other one's.
pub(super) struct TwoPaths {
    good: World,
    bad: World,
    pub(super) core: Arc<TargetCore>,
}

impl TwoPaths {
    /// For the `number`-th case of a row.
    pub(super) async fn new(world: &World, number: usize) -> Self {
        Self::with_core(world, number, World::core).await
    }

    /// The same before this target.
    pub(super) async fn with_core(
        world: &World,
        number: usize,
        core: impl FnOnce(&World) -> Arc<TargetCore>,
    ) -> Self {
        let good = world.case(2 * number).await;
        let bad = world.case(2 * number + 1).await;
        let core = core(&good);
        Self { good, bad, core }
    }

    /// Lets a client use a device whose second path lies.
    pub(super) async fn lying(
        &self,
        config: Config,
        lies: &Lies,
        client: impl AsyncFnOnce(&MultipathDevice),
    ) {
        let answer = async |peer: &mut Peer| {
            peer.relay_lying(|command, truth| lies.answer(command, truth))
                .await;
        };
        self.run(config, answer, client).await;
    }

    /// Lets a client use a device, while `bad` has each connection of the second path in turn. The target must not
    /// have found fault with anything in the end.
    pub(super) async fn run(
        &self,
        config: Config,
        mut bad: impl AsyncFnMut(&mut Peer),
        client: impl AsyncFnOnce(&MultipathDevice),
    ) {
        let good = async {
            loop {
                let mut peer = self.good.accept_before(&self.core).await;
                peer.relay_to_the_end().await;
            }
        };
        let bad = async {
            loop {
                let mut peer = self.bad.accept_before(&self.core).await;
                bad(&mut peer).await;
            }
        };
        let initiator = self.good.initiator();
        let client = async {
            let builder = MultipathBuilder::new(TARGET.parse().unwrap())
                .portal(self.good.portal().into())
                .portal(self.bad.portal().into())
                .config(config);
            let device = builder.connect_spawned(&initiator).await.unwrap();
            assert_eq!(device.snapshot().paths().count(), 2);
            client(&device).await;
        };
        match select(pin!(join(good, bad)), pin!(client)).await {
            Either::Left(_) => unreachable!("they accept for ever"),
            Either::Right(((), _)) => {}
        }
        assert_eq!(self.core.violations(), []);
    }

    /// Where the second path leads to.
    pub(super) const fn bad_portal(&self) -> &World {
        &self.bad
    }

    /// The path that goes there.
    pub(super) fn bad_path(&self, device: &MultipathDevice) -> PathSnapshot {
        let portal = self.bad.portal().to_string();
        let snapshot = device.snapshot();
        let mut paths = snapshot.paths();
        paths
            .find(|path| path.name.contains(&portal))
            .unwrap()
            .clone()
    }
}

/// The default settings, with a check of each path every tenth of a second, and requests through each in turn.
pub(super) fn checked_often() -> Config {
    let often = Duration::from_millis(100);
    let builder = Config::builder().path_selector(PathSelector::RoundRobin);
    builder.polling_interval(often, often).build().unwrap()
}

/// Waits for this event.
pub(super) async fn happens(
    events: &mut EventReader<LogicalUnit>,
    wanted: impl Fn(&Event) -> bool,
) -> DeviceEvent {
    loop {
        let event = events.next().await.expect("the device is open");
        if wanted(&event.event) {
            return event;
        }
    }
}

/// Waits until a path is up again.
pub(super) async fn comes_back(events: &mut EventReader<LogicalUnit>, path: PathId) {
    happens(events, |event| *event == Event::PathUp { path }).await;
}
