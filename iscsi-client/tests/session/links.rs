//! Sessions that follow the carrier of their device.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::support::{World, address, assert_pattern, config, poll_once, read, to};
use iscsi_client::{
    bind::Bind,
    initiator::{InitiatorBuilder, LoginRate},
    links::{LinkFeed, LinkMonitor, LinkState},
    runtime::{BoxFuture, Dial, Dialer, Runtime, Transport},
    session::{Session, SessionEventKind, SessionOptions, SessionState},
};
use iscsi_testkit::sim::{Link, SimHandle};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn link() -> Link {
    Link::to(address())
}

type Act = Box<dyn FnOnce() + Send>;

/// What happens when a connection has just come about, before anything is said on it: one for each connection, and
/// nothing once there is no more.
#[derive(Clone, Default)]
struct Acts {
    acts: Arc<Mutex<VecDeque<Act>>>,
    dials: Arc<AtomicU32>,
    /// Connections are bound to an address, and to no device.
    is_loose: bool,
}

impl Acts {
    fn push(&self, act: impl FnOnce() + Send + 'static) {
        self.acts.lock().unwrap().push_back(Box::new(act));
    }

    fn options(&self) -> SessionOptions {
        let mut options = SessionOptions::default();
        options.dialer = Some(Arc::new(self.clone()));
        options
    }

    /// Connections that were begun.
    fn dials(&self) -> u32 {
        self.dials.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acts")
    }
}

impl Dialer for Acts {
    fn dial(
        &self,
        runtime: &Arc<dyn Runtime>,
        dial: &Dial,
    ) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (acts, connecting) = (Arc::clone(&self.acts), runtime.connect(dial));
        let is_loose = self.is_loose;
        Box::pin(async move {
            let transport = connecting.await?;
            let act = acts.lock().unwrap().pop_front();
            act.into_iter().for_each(|act| act());
            Ok(match is_loose {
                true => Box::new(Loose(transport)),
                false => transport,
            })
        })
    }
}

/// A connection that could not be bound to the device.
#[derive(Debug)]
struct Loose(Box<dyn Transport>);

impl Transport for Loose {
    fn poll_read_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read_vectored(cx, bufs)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, bufs)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }

    fn abort(&mut self) {
        self.0.abort();
    }

    fn bind_warning(&self) -> Option<Arc<str>> {
        Some("not bound to device eth1".into())
    }
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
        Self::of(world.builder(), world, options)
    }

    fn of(builder: InitiatorBuilder, world: World, options: SessionOptions) -> Self {
        world
            .sim
            .net()
            .add_device("eth1", "10.0.0.100".parse().unwrap());
        let (links, feed) = LinkMonitor::new();
        let initiator = builder.options(options).links(links).build();
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

    /// How long it takes until it is logged in.
    fn until_up(&mut self) -> Duration {
        let since = self.world.sim.elapsed();
        self.world.sim.block_on(self.session.wait_up()).unwrap();
        self.world.sim.elapsed() - since
    }

    /// It waits for nothing but the round trips of its login.
    #[track_caller]
    fn is_up_at_once(&mut self) {
        let took = self.until_up();
        assert!(took < 10 * MS, "{took:?}");
    }

    /// When the next login is said to begin.
    fn next_attempt(&self) -> Option<Instant> {
        let state = self.session.state();
        let SessionState::Down { next_attempt, .. } = state else {
            panic!("{state:?}");
        };
        next_attempt
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

/// A host whose connections are counted.
fn watched(seed: u64) -> (Acts, Host, SimHandle) {
    let acts = Acts::default();
    let host = Host::new(seed, acts.options());
    let sim = host.world.handle();
    (acts, host, sim)
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
        host.is_up_at_once();
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
        host.is_up_at_once();
        assert!(host.session.status().has_carrier);
    }
}

#[test]
fn nobody_is_asked_without_a_carrier() {
    for seed in 0..20 {
        let (acts, mut host, sim) = watched(seed);
        sim.net().cut(link());
        host.carrier("eth1", false);
        host.session.reconnect();
        host.world.sim.block_on(sim.sleep(29 * SECOND));
        assert_eq!(acts.dials(), 1, "but for the first login");
        let until = host.next_attempt().unwrap() - sim.now();
        assert!(until <= SECOND, "{until:?}");
        sim.net().heal(link());
        host.carrier("eth1", true);
        host.is_up_at_once();
        assert_eq!(acts.dials(), 2);
    }
}

#[test]
fn a_carrier_that_is_lost_between_two_attempts_ends_them() {
    let (acts, mut host, sim) = watched(1);
    sim.net().refuse(link());
    host.session.reconnect();
    host.world.sim.block_on(sim.sleep(3 * SECOND));
    let before = acts.dials();
    assert!(before >= 6, "{before}");
    host.carrier("eth1", false);
    let since = sim.now();
    host.world.sim.block_on(sim.sleep(20 * SECOND));
    assert_eq!(acts.dials(), before);
    let next = host.next_attempt().unwrap() - since;
    assert!(next > 30 * SECOND && next < 31 * SECOND, "{next:?}");
    sim.net().heal(link());
    host.carrier("eth1", true);
    host.world.sim.block_on(host.session.wait_up()).unwrap();
}

#[test]
fn a_carrier_that_is_lost_while_nobody_answers_ends_the_attempt() {
    for seed in 0..20_u32 {
        let (acts, mut host, sim) = watched(seed.into());
        sim.net().ignore(link());
        host.session.reconnect();
        let pause = 100 * MS * seed;
        host.world.sim.block_on(sim.sleep(pause));
        let before = (acts.dials(), sim.net().counts().ignored);
        assert_eq!(host.next_attempt(), None);
        host.carrier("eth1", false);
        host.world.sim.block_on(sim.sleep(20 * SECOND));
        // Nobody dials any more, nor does whoever did next to the first one.
        assert_eq!((acts.dials(), sim.net().counts().ignored), before);
        sim.net().heal(link());
        host.carrier("eth1", true);
        host.is_up_at_once();
        assert_eq!(host.session.stats().login_failures, 0);
    }
}

/// It has not asked anybody yet, and need not.
#[test]
fn a_carrier_that_is_lost_while_a_login_waits_for_its_turn_ends_the_attempt() {
    let acts = Acts::default();
    let world = World::new(1);
    let rate = LoginRate::default().with_burst(1).with_per_second(1);
    let builder = world.builder().login_rate(rate);
    let mut host = Host::of(builder, world, acts.options());
    let sim = host.world.handle();
    host.session.reconnect();
    host.world.sim.block_on(host.session.wait_up()).unwrap();
    assert_eq!(acts.dials(), 2);
    host.session.reconnect();
    host.world.sim.block_on(sim.sleep(100 * MS));
    assert_eq!((acts.dials(), host.next_attempt()), (2, None));
    host.carrier("eth1", false);
    host.world.sim.block_on(sim.sleep(20 * SECOND));
    assert_eq!(acts.dials(), 2);
    host.carrier("eth1", true);
    host.is_up_at_once();
    assert_eq!(acts.dials(), 3);
}

/// What was sent is not delivered when the network is back: it would end the session that has logged in by then.
#[test]
fn a_login_that_is_given_up_never_reaches_the_target() {
    let (acts, mut host, sim) = watched(1);
    let net = sim.net();
    let attempts = host.world.target.core().login_attempts().len();
    acts.push(move || net.stall(link()));
    host.session.reconnect();
    host.world.sim.block_on(sim.sleep(SECOND));
    assert_eq!(acts.dials(), 2);
    host.carrier("eth1", false);
    host.world.sim.block_on(sim.sleep(SECOND));
    sim.net().heal(link());
    host.world.sim.block_on(sim.sleep(SECOND));
    let reached = host.world.target.core().login_attempts().len() - attempts;
    assert_eq!(reached, 0, "it was abandoned");
    host.carrier("eth1", true);
    host.is_up_at_once();
    assert_eq!(acts.dials(), 3);
}

/// As often as a carrier is heeded it is one more.
#[test]
fn a_loose_contact_is_no_storm_for_a_portal_that_refuses() {
    let (acts, mut host, sim) = watched(1);
    sim.net().refuse(link());
    host.session.reconnect();
    for _ in 0..300 {
        host.carrier("eth1", false);
        host.world.sim.block_on(sim.sleep(50 * MS));
        host.carrier("eth1", true);
        host.world.sim.block_on(sim.sleep(50 * MS));
    }
    let dials = acts.dials();
    assert!((60..=150).contains(&dials), "{dials} in 30 s");
}

#[test]
fn a_carrier_that_is_back_within_the_time_that_a_target_insists_on_is_told() {
    let mut config = config();
    config.limits.time2wait = 4;
    let mut host = Host::with(World::with_config(1, config), SessionOptions::default());
    let sim = host.world.handle();
    let lost = sim.now();
    host.carrier("eth1", false);
    sim.net().reset(link());
    host.world.sim.block_on(sim.sleep(SECOND));
    let next = host.next_attempt().unwrap() - lost;
    assert!(next >= 34 * SECOND && next < 35 * SECOND, "{next:?}");
    host.carrier("eth1", true);
    host.world.sim.block_on(sim.sleep(MS));
    let next = host.next_attempt().unwrap() - lost;
    assert!(next >= 4 * SECOND && next < 5 * SECOND, "{next:?}");
}

/// As where the portal is an address of this host: what is sent does not pass the device.
#[test]
fn a_session_that_is_bound_to_no_device_needs_no_carrier() {
    let acts = Acts {
        is_loose: true,
        ..Acts::default()
    };
    let mut host = Host::new(1, acts.options());
    host.carrier("eth1", false);
    host.session.reconnect();
    host.is_up_at_once();
}

/// The kernel may give up for what it has asked in vain before, and asks afresh then.
#[test]
fn the_first_attempt_after_a_carrier_is_back_is_repeated_at_once_if_nobody_answers() {
    let (acts, mut host, sim) = watched(1);
    sim.net().refuse(link());
    host.carrier("eth1", false);
    host.session.reconnect();
    host.world.sim.block_on(sim.sleep(2 * SECOND));
    assert_eq!(acts.dials(), 1);
    host.carrier("eth1", true);
    host.world.sim.block_on(sim.sleep(100 * MS));
    assert_eq!(acts.dials(), 3);
    host.world.sim.block_on(sim.sleep(3 * SECOND));
    let after = acts.dials() - 3;
    assert!((5..=9).contains(&after), "{after} in 3 s");
}

/// The second time it is too soon to be heeded, but the time of the next attempt has come.
#[test]
fn a_carrier_that_is_back_too_soon_to_be_heeded_ends_the_wait_all_the_same() {
    let (acts, mut host, sim) = watched(1);
    sim.net().refuse(link());
    host.session.reconnect();
    host.carrier("eth1", false);
    host.carrier("eth1", true);
    host.world.sim.block_on(sim.sleep(MS));
    host.carrier("eth1", false);
    host.world.sim.block_on(sim.sleep(600 * MS));
    let before = acts.dials();
    sim.net().heal(link());
    host.carrier("eth1", true);
    host.is_up_at_once();
    assert_eq!(acts.dials(), before + 1);
}

#[test]
fn a_monitor_that_is_wrong_keeps_nobody_down_for_good() {
    let (acts, mut host, sim) = watched(1);
    host.carrier("eth1", false);
    host.session.reconnect();
    let took = host.until_up();
    assert!(took >= 30 * SECOND && took < 31 * SECOND, "{took:?}");
    // Whoever asks for one has it at once.
    host.carrier("eth1", true);
    host.carrier("eth1", false);
    host.session.reconnect();
    host.world.sim.block_on(sim.sleep(SECOND));
    assert_eq!(acts.dials(), 2);
    host.session.reconnect();
    host.is_up_at_once();
}

/// It was connected when the cable was pulled: its request is lost, which TCP notices late and the login's own time
/// even later.
#[test]
fn a_login_that_waits_for_an_answer_is_begun_anew_when_the_carrier_is_back() {
    for seed in 0..20 {
        let (acts, mut host, sim) = watched(seed);
        let net = sim.net();
        acts.push(move || net.cut(link()));
        host.session.reconnect();
        host.world.sim.block_on(sim.sleep(3 * SECOND));
        host.carrier("eth1", false);
        sim.net().heal(link());
        host.carrier("eth1", true);
        host.is_up_at_once();
        assert_eq!(host.session.stats().login_failures, 0);
    }
}

/// Nobody is asked again and again because of that: who comes and goes is heeded once a second, and what is begun
/// has a second to be answered.
#[test]
fn a_loose_contact_does_not_begin_a_login_anew_at_each_turn() {
    let (acts, mut host, sim) = watched(1);
    let connected = Arc::new(Mutex::new(0));
    for _ in 0..1000 {
        let (net, connected) = (sim.net(), Arc::clone(&connected));
        acts.push(move || {
            *connected.lock().unwrap() += 1;
            net.cut(link());
        });
    }
    host.session.reconnect();
    for _ in 0..100 {
        sim.net().heal(link());
        host.carrier("eth1", false);
        host.world.sim.block_on(sim.sleep(50 * MS));
        host.carrier("eth1", true);
        host.world.sim.block_on(sim.sleep(50 * MS));
    }
    let connected = *connected.lock().unwrap();
    assert!((5..=15).contains(&connected), "{connected} in 10 s");
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

/// The answer had come before, or the news are older than the end of the login and are heard late.
#[test]
fn a_carrier_that_is_lost_during_a_login_is_not_there_afterwards() {
    let acts = Acts::default();
    let mut host = Host::new(1, acts.options());
    let (links, feed) = LinkMonitor::new();
    let feed = Arc::new(Mutex::new(feed));
    let carrier = |has_carrier| {
        let feed = Arc::clone(&feed);
        move || {
            feed.lock().unwrap().set(LinkState {
                index: 3,
                name: "eth1".into(),
                has_carrier,
            });
        }
    };
    carrier(true)();
    // The first login, when nobody has listened yet.
    acts.push(carrier(false));
    let initiator = host.world.builder().options(acts.options()).links(links);
    let to = to().with_bind(Bind::Device("eth1".into()));
    let connect = async { initiator.build().connect_spawned(&to).await };
    host.world.sim.block_on(host.session.close());
    host.session = host.world.sim.block_on(connect).unwrap();
    assert!(host.session.state().is_up() && !host.session.status().has_carrier);
    assert_eq!(host.told(), [false]);
    carrier(true)();
    assert_eq!(host.told(), [false, true]);
    // Back before the end of one of a session that listens.
    let (lost, back) = (carrier(false), carrier(true));
    acts.push(move || {
        lost();
        back();
    });
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
