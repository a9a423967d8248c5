//! An initiator with a hundred targets that loses them all at once, or some of them for good.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{BLOCK, INITIATOR, assert_pattern, read};
use futures_util::future::{join_all, pending};
use iscsi_client::{
    initiator::{Initiator, LoginRate, SessionTarget},
    runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport},
    session::Session,
};
use iscsi_proto::{LoginStatus, portal::Portal};
use iscsi_testkit::{
    sim::{Link, SimHandle, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const TARGETS: u8 = 100;

/// The simulated world's runtime, in which some names are never resolved.
#[derive(Clone, Debug)]
struct DeadResolver(SimHandle);

impl Runtime for DeadResolver {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.0.new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.0.spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }

    fn resolve(&self, _host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        Box::pin(pending())
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.0.connect(dial)
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, number, 1], 3260))
}

fn to(number: u8) -> SessionTarget {
    let name = format!("iqn.2026-01.example:disk-{number}");
    SessionTarget::new(name.parse().unwrap(), Portal::from(address(number)))
}

/// Many targets, and a session with each.
struct Farm {
    sim: SimRuntime,
    targets: Vec<SimTarget>,
    sessions: Vec<Session>,
    initiator: Initiator,
}

impl Farm {
    fn new(seed: u64, rate: LoginRate) -> Self {
        let sim = SimRuntime::new(seed);
        let start = |number: u8| {
            let mut config = TargetConfig::new(&format!("iqn.2026-01.example:disk-{number}"))
                .with_portal(address(number), 1)
                .with_lun(LunConfig::new(0, 1 << 20).with_seed(1));
            config.unit_attention = false;
            SimTarget::start(&sim.handle(), config).unwrap()
        };
        let targets: Vec<_> = (0..TARGETS).map(start).collect();
        let runtime = Arc::new(DeadResolver(sim.handle()));
        let initiator = Initiator::builder(INITIATOR.parse().unwrap(), runtime)
            .login_rate(rate)
            .build();
        let portals: Vec<_> = (0..TARGETS).map(to).collect();
        let asked = join_all(portals.iter().map(|to| initiator.session(to)));
        let sessions = sim.block_on(asked);
        let sessions = sessions.into_iter().map(Result::unwrap).collect();
        // Long enough for every back-off to be forgotten.
        sim.block_on(sim.sleep(60 * SECOND));
        Self {
            sim,
            targets,
            sessions,
            initiator,
        }
    }

    fn lose(&self, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.sim.net().reset(Link::to(address(number)));
        }
    }

    fn refuse(&self, status: Option<LoginStatus>) {
        for target in &self.targets {
            target.core().refuse_logins(0, status);
        }
    }

    async fn all_up(&self) {
        join_all(self.sessions.iter().map(Session::wait_up)).await;
    }

    /// The logins that began after `since`, by target.
    fn attempts(&self, since: Duration) -> Vec<Vec<Duration>> {
        let of = |target: &SimTarget| {
            let attempts = target.core().login_attempts().into_iter();
            attempts.map(|a| a.at).filter(|at| *at > since).collect()
        };
        self.targets.iter().map(of).collect()
    }
}

fn in_order(attempts: &[Vec<Duration>]) -> Vec<Duration> {
    let mut all: Vec<_> = attempts.concat();
    all.sort();
    all
}

/// The most that began within `window`.
fn most_within(all: &[Duration], window: Duration) -> usize {
    let within = |at: &Duration| {
        all.iter()
            .filter(|b| **b >= *at && **b < *at + window)
            .count()
    };
    all.iter().map(within).max().unwrap_or(0)
}

#[test]
fn a_hundred_sessions_lost_at_once_are_back_one_after_the_other() {
    for seed in 0..5 {
        let farm = Farm::new(seed, LoginRate::default());
        let begin = farm.sim.elapsed();
        farm.lose(0..TARGETS);
        farm.sim.block_on(async {
            // The losses have been noticed when this is over, and the last logins have not begun.
            farm.sim.sleep(MS).await;
            farm.all_up().await;
        });
        let took = farm.sim.elapsed() - begin;
        assert!(took < 4 * SECOND, "{took:?}");
        let attempts = farm.attempts(begin);
        assert!(attempts.iter().all(|of| of.len() == 1), "each only once");
        let all: Vec<_> = in_order(&attempts).iter().map(|at| *at - begin).collect();
        // The first few at once, as if they alone had been lost.
        assert!(all[7] < 5 * MS, "{:?}", &all[..9]);
        assert!(all[8] > 5 * MS, "{:?}", &all[..9]);
        // The others at 50 a second on average, with jitter.
        let last = all[usize::from(TARGETS) - 1];
        assert!(last > 1300 * MS && last < 2500 * MS, "{last:?}");
        assert!(most_within(&all, 100 * MS) <= 8 + 10);
        assert!(most_within(&all[8..], 100 * MS) <= 11);
        let gaps = all[8..].windows(2).map(|pair| pair[1] - pair[0]);
        let (mut short, mut long) = (0, 0);
        for gap in gaps {
            short += u32::from(gap < 17 * MS);
            long += u32::from(gap > 23 * MS);
        }
        assert!(short > 5 && long > 5, "no jitter: {short} and {long}");
        farm.sim.block_on(async {
            for session in &farm.sessions {
                let done = session.execute(read(0, 1)).await;
                assert_pattern(done, 0);
            }
        });
        assert!(
            farm.targets
                .iter()
                .all(|t| t.core().violations().is_empty())
        );
    }
}

/// The targets refuse for half a minute: each session keeps to its own back-off, all together keep
/// to the rate, and nobody is forgotten.
#[test]
fn no_session_logs_in_faster_than_its_back_off_and_none_starves() {
    for seed in 0..3 {
        let farm = Farm::new(seed, LoginRate::default());
        let begin = farm.sim.elapsed();
        farm.refuse(Some(LoginStatus {
            class: 3,
            detail: 1,
        }));
        farm.lose(0..TARGETS);
        farm.sim.block_on(farm.sim.sleep(30 * SECOND));
        farm.refuse(None);
        let healed = farm.sim.elapsed();
        farm.sim.block_on(farm.all_up());
        // The longest back-off, and everybody's turn.
        let took = farm.sim.elapsed() - healed;
        assert!(took < 14 * SECOND, "{took:?}");
        let attempts = farm.attempts(begin);
        for of in &attempts {
            // Half of the full delay at least, from the end of one attempt to the next; and the end
            // of one is after its beginning.
            for (at, pair) in of.windows(2).enumerate() {
                let gap = pair[1] - pair[0];
                let least = (MS * 50 * (1 << at)).min(5 * SECOND);
                assert!(gap >= least, "attempt {}: {gap:?}", at + 2);
            }
            assert!(of[0] - begin < 3 * SECOND, "a turn within the first round");
            assert!((7..=14).contains(&of.len()), "{} attempts", of.len());
        }
        let all = in_order(&attempts);
        let most = most_within(&all, SECOND);
        assert!(most <= 8 + 75, "{most} in one second");
    }
}

#[test]
fn a_few_sessions_lost_together_do_not_wait_for_each_other() {
    let farm = Farm::new(1, LoginRate::default());
    for round in 0..10u8 {
        let begin = farm.sim.elapsed();
        farm.lose(round * 8..round * 8 + 8);
        farm.sim.block_on(async {
            farm.sim.sleep(MS).await;
            farm.all_up().await;
        });
        let took = farm.sim.elapsed() - begin;
        assert!(took < 20 * MS, "{took:?}");
        farm.sim.block_on(farm.sim.sleep(SECOND));
    }
}

#[test]
fn without_a_rate_all_log_in_at_once() {
    let farm = Farm::new(2, LoginRate::unlimited());
    let begin = farm.sim.elapsed();
    farm.lose(0..TARGETS);
    farm.sim.block_on(async {
        farm.sim.sleep(MS).await;
        farm.all_up().await;
    });
    let took = farm.sim.elapsed() - begin;
    assert!(took < 100 * MS, "{took:?}");
}

#[test]
fn at_most_so_many_logins_are_under_way_as_the_rate_says() {
    let rate = LoginRate::unlimited().with_in_flight(2);
    let farm = Farm::new(3, rate);
    let begin = farm.sim.elapsed();
    farm.lose(0..TARGETS);
    farm.sim.block_on(async {
        farm.sim.sleep(MS).await;
        farm.all_up().await;
    });
    // A login takes four one-way latencies of 50 us at least before its slot is free again.
    let all = in_order(&farm.attempts(begin));
    let most = most_within(&all, Duration::from_micros(100));
    assert!(most <= 4, "{most}");
    assert!(*all.last().unwrap() - all[0] > 49 * Duration::from_micros(200));
}

/// Dead portals and dead resolvers hold turns that they do not use; those who can log in must not
/// wait for them, nor I/O for either.
#[test]
fn logins_that_hang_delay_neither_others_nor_any_io() {
    let farm = Farm::new(4, LoginRate::default());
    let (sim, dead) = (&farm.sim, 0..80);
    // Names that nobody resolves, and portals that swallow everything.
    let named: Vec<_> = (0..50)
        .map(|number| {
            let target = format!("iqn.2026-01.example:named-{number}")
                .parse()
                .unwrap();
            SessionTarget::new(target, "storage.example:3260".parse().unwrap())
        })
        .collect();
    let hang = farm.initiator.clone();
    sim.handle().spawn(Box::pin(async move {
        drop(join_all(named.iter().map(|to| hang.session(to))).await);
    }));
    for number in dead {
        sim.net().cut(Link::to(address(number)));
    }
    sim.block_on(async {
        // By then all cut sessions have noticed, and dial in vain for five seconds each.
        for _ in 0..3000 {
            let begin = sim.elapsed();
            assert_pattern(farm.sessions[90].execute(read(0, 4)).await, 0);
            assert!(sim.elapsed() - begin < 5 * MS, "I/O waits for logins");
            sim.sleep(5 * MS).await;
        }
        assert!(farm.sessions[..80].iter().all(|s| !s.state().is_up()));
        for number in 81..100u8 {
            let session = &farm.sessions[usize::from(number)];
            let (begin, seen) = (sim.elapsed(), session.status().generation);
            farm.lose([number]);
            session.changed(seen).await;
            session.wait_up().await.unwrap();
            let took = sim.elapsed() - begin;
            assert!(
                took < 2 * SECOND,
                "target {number} waits for dead ones: {took:?}"
            );
        }
    });
    assert_eq!(BLOCK, 512);
}

/// A login whose future nobody polls has its turn all the same, and loses it.
#[test]
fn a_login_that_nobody_polls_holds_up_nobody() {
    let rate = LoginRate::default().with_in_flight(1);
    let farm = Farm::new(5, rate);
    let sim = &farm.sim;
    sim.block_on(async {
        let apart = |number: u8| {
            to(number).with_slot(iscsi_client::isid::SessionSlot {
                number: 1,
                ..Default::default()
            })
        };
        let targets: Vec<_> = (0..10).map(apart).collect();
        let mut unpolled = Vec::new();
        for to in &targets {
            let mut login = Box::pin(farm.initiator.connect(to));
            assert!(crate::support::poll_once(&mut login).await.is_pending());
            unpolled.push(login);
        }
        let begin = sim.elapsed();
        let late = apart(50);
        drop(farm.initiator.connect(&late).await.unwrap());
        let took = sim.elapsed() - begin;
        assert!(took < 4 * SECOND, "{took:?}");
        // Whoever is dropped in the line or in its turn leaves no trace.
        drop(unpolled);
        let begin = sim.elapsed();
        drop(farm.initiator.connect(&late).await.unwrap());
        assert!(sim.elapsed() - begin < 20 * MS);
    });
}
