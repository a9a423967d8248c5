//! Sessions that follow the carrier of their device.

use std::time::Duration;

use crate::support::{World, address, assert_pattern, config, poll_once, read, to};
use iscsi_client::{
    bind::Bind,
    links::{LinkFeed, LinkMonitor, LinkState},
    session::{Session, SessionEventKind, SessionOptions},
};
use iscsi_testkit::sim::Link;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn link() -> Link {
    Link::to(address())
}

/// A host whose `eth1` a session is bound to.
struct Host {
    world: World,
    feed: LinkFeed,
    session: Session,
}

impl Host {
    fn new(seed: u64, options: SessionOptions) -> Self {
        Self::with(World::new(seed), options)
    }

    fn with(world: World, options: SessionOptions) -> Self {
        world
            .sim
            .net()
            .add_device("eth1", "10.0.0.100".parse().unwrap());
        let (links, feed) = LinkMonitor::new();
        let initiator = world.builder().options(options).links(links).build();
        let to = to().with_bind(Bind::Device("eth1".into()));
        let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
        let mut host = Self {
            world,
            feed,
            session,
        };
        host.carrier("eth1", true);
        host
    }

    fn carrier(&mut self, device: &str, has_carrier: bool) {
        self.feed.set(LinkState {
            index: u32::from(device.as_bytes()[3]),
            name: device.into(),
            has_carrier,
        });
    }

    /// How the links went, in order.
    fn told(&self) -> Vec<bool> {
        let events = self.session.events(0).into_iter();
        let told = events.filter_map(|event| match event.kind {
            SessionEventKind::LinkUp { device } => Some((device, true)),
            SessionEventKind::LinkDown { device } => Some((device, false)),
            _ => None,
        });
        told.inspect(|(device, _)| assert_eq!(&**device, "eth1"))
            .map(|(_, has_carrier)| has_carrier)
            .collect()
    }
}

#[test]
fn a_carrier_that_comes_and_goes_is_an_event_and_leaves_the_connection_alone() {
    let mut host = Host::new(1, SessionOptions::default());
    let seen = host.session.status().generation;
    let mut changed = Box::pin(host.session.changed(seen));
    host.world.sim.block_on(async {
        assert!(poll_once(&mut changed).await.is_pending());
        host.feed.set(LinkState {
            index: 49,
            name: "eth1".into(),
            has_carrier: false,
        });
        let status = changed.await;
        assert!(!status.has_carrier && status.state.is_up());
    });
    host.carrier("eth0", false);
    host.carrier("eth1", false);
    host.carrier("eth1", true);
    assert_eq!(host.told(), [false, true]);
    assert!(host.session.status().has_carrier);
    let done = host.world.sim.block_on(host.session.execute(read(0, 1)));
    assert_pattern(done, 0);
    assert_eq!(host.session.stats().logins, 1);
}

#[test]
fn a_session_that_waits_for_its_back_off_logs_in_when_the_carrier_is_back() {
    for seed in 0..20 {
        let mut host = Host::new(seed, SessionOptions::default());
        let sim = host.world.handle();
        let refuse = iscsi_proto::LoginStatus {
            class: 3,
            detail: 1,
        };
        host.world.target.core().refuse_logins(0, Some(refuse));
        host.session.reconnect();
        host.world.sim.block_on(sim.sleep(40 * SECOND));
        host.world.target.core().refuse_logins(0, None);
        host.carrier("eth1", false);
        host.carrier("eth1", true);
        let since = sim.elapsed();
        host.world.sim.block_on(host.session.wait_up()).unwrap();
        let took = sim.elapsed() - since;
        assert!(took < 10 * MS, "{took:?}");
    }
}

#[test]
fn a_connection_that_waits_for_an_answer_is_begun_anew_when_the_carrier_is_back() {
    for seed in 0..20_u32 {
        let mut options = SessionOptions::default();
        options.reconnect_interval = 10 * SECOND;
        let mut host = Host::new(seed.into(), options);
        let sim = host.world.handle();
        sim.net().cut(link());
        host.carrier("eth1", false);
        host.session.reconnect();
        host.world.sim.block_on(sim.sleep(SECOND + 173 * MS * seed));
        sim.net().heal(link());
        host.carrier("eth1", true);
        let since = sim.elapsed();
        host.world.sim.block_on(host.session.wait_up()).unwrap();
        let took = sim.elapsed() - since;
        assert!(took < 10 * MS, "{took:?}");
        assert!(host.session.status().has_carrier);
    }
}

/// Ten times a second, for half a minute, with a target that refuses.
#[test]
fn a_loose_contact_is_no_login_storm() {
    let mut host = Host::new(1, SessionOptions::default());
    let sim = host.world.handle();
    let refuse = iscsi_proto::LoginStatus {
        class: 3,
        detail: 1,
    };
    host.world.target.core().refuse_logins(0, Some(refuse));
    host.session.reconnect();
    for _ in 0..300 {
        host.carrier("eth1", false);
        host.world.sim.block_on(sim.sleep(50 * MS));
        host.carrier("eth1", true);
        host.world.sim.block_on(sim.sleep(50 * MS));
    }
    let attempts = host.world.target.core().login_attempts().len();
    assert!((30..=150).contains(&attempts), "{attempts} in 30 s");
}

#[test]
fn the_time_that_a_target_insists_on_is_kept_all_the_same() {
    let mut config = config();
    config.limits.time2wait = 4;
    let mut host = Host::with(World::with_config(1, config), SessionOptions::default());
    let sim = host.world.handle();
    sim.net().reset(link());
    let since = sim.elapsed();
    host.world.sim.block_on(sim.sleep(SECOND));
    host.carrier("eth1", false);
    host.carrier("eth1", true);
    host.world.sim.block_on(host.session.wait_up()).unwrap();
    let took = sim.elapsed() - since;
    assert!(took >= 4 * SECOND && took < 5 * SECOND, "{took:?}");
}

#[test]
fn whoever_has_logged_in_has_a_carrier() {
    let mut host = Host::new(1, SessionOptions::default());
    host.carrier("eth1", false);
    assert!(!host.session.status().has_carrier);
    host.session.reconnect();
    host.world.sim.block_on(host.session.wait_up()).unwrap();
    assert!(host.session.status().has_carrier);
}

#[test]
fn when_nobody_tells_any_more_the_carrier_counts_as_there() {
    let mut host = Host::new(1, SessionOptions::default());
    host.carrier("eth1", false);
    assert!(!host.session.status().has_carrier);
    drop(host.feed);
    assert!(host.session.status().has_carrier);
}

#[test]
fn a_session_that_is_bound_to_nothing_follows_nothing() {
    let world = World::new(1);
    let (links, mut feed) = LinkMonitor::new();
    let initiator = world.builder().links(links.clone()).build();
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    let seen = session.status().generation;
    for has_carrier in [true, false] {
        feed.set(LinkState {
            index: 2,
            name: "eth0".into(),
            has_carrier,
        });
    }
    assert_eq!(links.has_carrier("eth0"), Some(false));
    assert_eq!(session.status().generation, seen);
}
