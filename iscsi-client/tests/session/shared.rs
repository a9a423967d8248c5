//! Sessions that several use: one login for all, and a logout with the last.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::{TARGET, World, address, assert_pattern, poll_once, read, to};
use futures_util::future::{FutureExt, join_all};
use iscsi_client::{
    error::{ErrorKind, LoginFailure, SlotDifference},
    initiator::{Initiator, SessionTarget, SnapshotState},
    isid::SessionSlot,
    session::{RedirectPolicy, Session, SessionOptions, SessionState},
    tap::{ConnectionTap, Tap, TappedConnection},
};
use iscsi_proto::{
    LoginStatus, TargetPortalGroupTag,
    login::{Authentication, ChapCredentials, Secret},
};
use iscsi_testkit::sim::Link;

fn logins(world: &World) -> u64 {
    world.target.core().counters(0).logins
}

fn connections(world: &World) -> u64 {
    world.target.core().counters(0).connections
}

async fn read_one(session: &Session) {
    assert_pattern(session.execute(read(0, 1)).await, 0);
}

/// Until nothing is open any more.
async fn emptied(world: &World, initiator: &Initiator) {
    while !initiator.sessions().is_empty() || world.target.core().sessions() > 0 {
        world.sim.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn however_many_ask_at_once_there_is_one_login_and_the_last_one_logs_out() {
    let world = World::new(1);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let target = to();
        let asked = (0..20).map(|_| initiator.session(&target));
        let mut all: Vec<Session> = join_all(asked)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!((logins(&world), connections(&world)), (1, 1));
        assert_eq!(initiator.sessions()[0].users, 20);
        while let Some(session) = all.pop() {
            read_one(&session).await;
            drop(session);
            assert_eq!(world.target.core().sessions(), 1);
        }
        emptied(&world, &initiator).await;
    });
    assert_eq!(logins(&world), 1);
    world.assert_clean();
}

#[test]
fn a_user_who_closes_is_out_and_nobody_else() {
    let world = World::new(2);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let one = initiator.session(&to()).await.unwrap();
        let two = initiator.session(&to()).await.unwrap();
        world.target.core().set_delay(0, Duration::from_millis(50));
        let mut running = one.execute(read(8, 1));
        assert!(poll_once(&mut running).await.is_pending());
        let clone = one.clone();
        let mut changed = Box::pin(clone.changed(clone.status().generation));
        assert!(poll_once(&mut changed).await.is_pending());
        one.close().await;
        let told = changed.await;
        assert!(matches!(told.state, SessionState::Closed), "{told:?}");
        assert!(matches!(clone.state(), SessionState::Closed));
        assert_eq!(clone.wait_up().await.unwrap_err().kind(), ErrorKind::Closed);
        let late = clone.execute(read(0, 1)).await.result.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Closed);
        assert_eq!(clone.ping().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_pattern(running.await, 8);
        // Twice is once.
        one.close().await;
        drop((one, clone));
        read_one(&two).await;
        assert!(two.state().is_up());
        assert_eq!(initiator.sessions()[0].users, 1);
        two.close().await;
        assert!(matches!(two.state(), SessionState::Closed));
        assert_eq!(world.target.core().sessions(), 0);
    });
    assert_eq!(logins(&world), 1);
    world.assert_clean();
}

#[test]
fn a_login_goes_on_without_whoever_asked_first() {
    for seed in 0..20 {
        let world = World::new(seed);
        let initiator = world.builder().build();
        world.sim.block_on(async {
            let target = to();
            let mut first = Box::pin(initiator.session(&target));
            let mut second = Box::pin(initiator.session(&target));
            assert!(poll_once(&mut first).await.is_pending());
            assert!(poll_once(&mut second).await.is_pending());
            world.sim.sleep(Duration::from_micros(seed * 60)).await;
            assert!(matches!(
                initiator.sessions()[0].state,
                SnapshotState::LoggingIn
            ));
            drop(first);
            let session = second.await.unwrap();
            read_one(&session).await;
        });
        assert_eq!((logins(&world), connections(&world)), (1, 1));
    }
}

#[test]
fn a_login_that_nobody_waits_for_is_abandoned_and_the_slot_is_free() {
    for seed in 0..20 {
        let world = World::new(seed);
        let initiator = world.builder().build();
        world.sim.block_on(async {
            let target = to();
            let mut asked: Vec<_> = (0..3)
                .map(|_| Box::pin(initiator.session(&target)))
                .collect();
            for asked in &mut asked {
                assert!(poll_once(asked).await.is_pending());
            }
            world.sim.sleep(Duration::from_micros(seed * 60)).await;
            drop(asked);
            assert!(initiator.sessions().is_empty());
            let session = initiator.session(&target).await.unwrap();
            read_one(&session).await;
            assert_eq!(world.target.core().sessions(), 1);
        });
    }
}

#[test]
fn all_who_wait_learn_why_a_login_failed_and_the_next_one_tries_again() {
    let world = World::new(3);
    let initiator = world.builder().build();
    let refused = LoginStatus {
        class: 2,
        detail: 2,
    };
    world.target.core().refuse_logins(0, Some(refused));
    world.sim.block_on(async {
        let target = to();
        let asked = (0..5).map(|_| initiator.session(&target));
        for result in join_all(asked).await {
            let failure = result.unwrap_err();
            assert!(matches!(failure.failure(), LoginFailure::Protocol(_)));
        }
        assert_eq!(connections(&world), 1);
        assert!(initiator.sessions().is_empty());
        world.target.core().refuse_logins(0, None);
        read_one(&initiator.session(&target).await.unwrap()).await;
    });
}

/// One answer to SendTargets has it, a portal that a person wrote down has not.
#[test]
fn the_group_tag_of_a_portal_is_a_hint_unless_the_login_insists_on_it() {
    let world = World::new(4);
    let initiator = world.builder().build();
    let tagged = |tag, insists| {
        let mut target = to();
        target.portal.tpgt = Some(TargetPortalGroupTag(tag));
        let mut options = SessionOptions::default();
        options.require_portal_group = insists;
        target.with_options(options)
    };
    world.sim.block_on(async {
        let session = initiator.session(&to()).await.unwrap();
        read_one(&initiator.session(&tagged(1, false)).await.unwrap()).await;
        read_one(&initiator.session(&tagged(2, false)).await.unwrap()).await;
        drop(session);
        emptied(&world, &initiator).await;
        let _insists = initiator.session(&tagged(1, true)).await.unwrap();
        initiator.session(&tagged(1, true)).await.unwrap();
        let error = initiator.session(&tagged(2, true)).await.unwrap_err();
        let LoginFailure::SlotDiffers(found) = error.failure() else {
            panic!("{error}");
        };
        assert_eq!(*found, SlotDifference::Portal);
    });
}

#[test]
fn other_terms_are_refused_and_not_ignored() {
    let world = World::new(4);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let session = initiator.session(&to()).await.unwrap();
        let secret = || Secret::new(iscsi_testkit::canary::OURS.as_bytes());
        let chap = |secret| Authentication::Chap(ChapCredentials::new("user", secret).unwrap());
        let mut options = SessionOptions::default();
        options.queue_depth = 7;
        let other_portal =
            SessionTarget::new(TARGET.parse().unwrap(), "10.0.0.2:3260".parse().unwrap());
        let cases = [
            (other_portal, SlotDifference::Portal),
            (
                to().with_bind("10.0.0.77".parse().unwrap()),
                SlotDifference::Bind,
            ),
            (
                to().with_authentication(chap(secret())),
                SlotDifference::Authentication,
            ),
            (to().with_options(options), SlotDifference::Options),
        ];
        for (other, difference) in cases {
            let error = initiator.session(&other).await.unwrap_err();
            match error.failure() {
                LoginFailure::SlotDiffers(found) => assert_eq!(*found, difference),
                failure => panic!("{failure:?}"),
            }
            assert!(!error.is_transient());
            assert_eq!(error.to_string().lines().count(), 1);
        }
        // What is the same in other words is the same.
        let same = to()
            .with_options(SessionOptions::default())
            .with_authentication(Authentication::None);
        let shared = initiator.session(&same).await.unwrap();
        assert_eq!(shared.isid(), session.isid());
        assert_eq!(logins(&world), 1);
        // Another slot is another session.
        let apart = to().with_slot(SessionSlot {
            number: 1,
            ..SessionSlot::default()
        });
        let apart = initiator.session(&apart).await.unwrap();
        assert_ne!(apart.isid(), session.isid());
    });
}

#[test]
fn equal_secrets_are_the_same_terms_and_others_are_not() {
    let chap =
        iscsi_testkit::target::ChapConfig::new("user", iscsi_testkit::canary::OURS.as_bytes());
    let world = World::with_config(5, crate::support::config().with_chap(chap));
    let initiator = world.builder().build();
    let with = |secret: &[u8]| {
        let credentials = ChapCredentials::new("user", Secret::new(secret)).unwrap();
        to().with_authentication(Authentication::Chap(credentials))
    };
    world.sim.block_on(async {
        let right = iscsi_testkit::canary::OURS.as_bytes();
        let _one = initiator.session(&with(right)).await.unwrap();
        let _two = initiator.session(&with(right)).await.unwrap();
        assert_eq!(logins(&world), 1);
        let wrong = with(b"a secret of other length");
        let error = initiator.session(&wrong).await.unwrap_err();
        assert!(matches!(
            error.failure(),
            LoginFailure::SlotDiffers(SlotDifference::Authentication)
        ));
    });
}

#[test]
fn a_session_that_is_logging_out_is_waited_for() {
    for seed in 0..10 {
        let world = World::new(seed);
        let initiator = world.builder().build();
        world.sim.block_on(async {
            for _ in 0..5 {
                let session = initiator.session(&to()).await.unwrap();
                drop(session);
                let (session, driver) = initiator.connect(&to()).await.unwrap();
                drop((session, driver));
                let session = initiator.connect_spawned(&to()).await.unwrap();
                read_one(&session).await;
                drop(session);
            }
            emptied(&world, &initiator).await;
        });
        assert_eq!(logins(&world), 15);
        world.assert_clean();
    }
}

/// The logout is never answered; the wait has an end, and so has the old session.
#[test]
fn a_logout_without_an_answer_does_not_block_the_slot_for_ever() {
    let world = World::new(6);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let session = initiator.session(&to()).await.unwrap();
        world.sim.net().cut(Link::to(address()));
        drop(session);
        let target = to();
        let mut next = Box::pin(initiator.session(&target));
        assert!(poll_once(&mut next).await.is_pending());
        assert!(matches!(
            initiator.sessions()[0].state,
            SnapshotState::LoggingOut
        ));
        world.sim.net().heal(Link::to(address()));
        read_one(&next.await.unwrap()).await;
        let waited = world.sim.elapsed();
        assert!(waited < Duration::from_secs(8), "{waited:?}");
    });
}

#[test]
fn a_session_with_a_driver_of_ones_own_is_not_shared() {
    let world = World::new(7);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let (session, driver) = initiator.connect(&to()).await.unwrap();
        let exists = |failure: &LoginFailure| matches!(failure, LoginFailure::SessionExists);
        let error = initiator.session(&to()).await.unwrap_err();
        assert!(exists(error.failure()));
        assert!(!initiator.sessions()[0].shared);
        // Asked to close, but nobody polls the driver.
        drop(session);
        let error = initiator.session(&to()).await.unwrap_err();
        assert!(exists(error.failure()));
        drop(driver);
        let session = initiator.session(&to()).await.unwrap();
        let error = initiator.connect(&to()).await.unwrap_err();
        assert!(exists(error.failure()));
        read_one(&session).await;
        assert!(initiator.sessions()[0].shared);
    });
}

#[test]
fn a_shared_session_is_reinstated_for_all_and_reconnects_for_all() {
    let world = World::new(8);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let one = initiator.session(&to()).await.unwrap();
        let two = initiator.session(&to()).await.unwrap();
        one.reconnect();
        assert!(!two.state().is_up());
        two.wait_up().await.unwrap();
        read_one(&one).await;
        read_one(&two).await;
        assert_eq!(initiator.sessions()[0].users, 2);
    });
    assert_eq!(logins(&world), 2);
}

#[test]
fn the_table_says_who_is_there() {
    let world = World::new(9);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        assert!(initiator.sessions().is_empty());
        let slot = SessionSlot {
            bind: 1,
            portal: 2,
            number: 3,
        };
        let session = initiator.session(&to().with_slot(slot)).await.unwrap();
        let [line] = &initiator.sessions()[..] else {
            panic!("one session")
        };
        assert_eq!(line.target.as_str(), TARGET);
        assert_eq!(line.portal, address().into());
        assert_eq!((line.slot, line.isid), (slot, session.isid()));
        assert!(matches!(line.state, SnapshotState::Open(SessionState::Up)));
        let text = line.to_string();
        assert!(text.contains(", up, 1 user"), "{text}");
        world.sim.net().cut(Link::to(address()));
        session.reconnect();
        let text = initiator.sessions()[0].to_string();
        assert!(text.contains(", down, 1 user"), "{text}");
    });
}

#[test]
fn a_closed_initiator_has_logged_out_everywhere_and_logs_in_nowhere() {
    let world = World::new(10);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let shared = initiator.session(&to()).await.unwrap();
        let apart = to().with_slot(SessionSlot {
            number: 1,
            ..SessionSlot::default()
        });
        let own = initiator.connect_spawned(&apart).await.unwrap();
        world.target.core().set_delay(0, Duration::from_millis(20));
        let mut running = shared.execute(read(0, 1));
        assert!(poll_once(&mut running).await.is_pending());
        world.sim.sleep(Duration::from_millis(1)).await;
        let third = to().with_slot(SessionSlot {
            number: 2,
            ..SessionSlot::default()
        });
        let mut login = Box::pin(initiator.session(&third));
        assert!(poll_once(&mut login).await.is_pending());
        let mut closing = Box::pin(initiator.close());
        assert!(poll_once(&mut closing).await.is_pending());
        let closed = |failure: &LoginFailure| matches!(failure, LoginFailure::Closed);
        assert!(closed(login.await.unwrap_err().failure()));
        closing.await;
        assert!(initiator.sessions().is_empty());
        assert_eq!(world.target.core().sessions(), 0);
        assert_pattern(running.await, 0);
        for session in [&shared, &own] {
            assert!(matches!(session.state(), SessionState::Closed));
            let late = session.execute(read(0, 1)).await.result.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::Closed);
        }
        let asked = [
            initiator.session(&to()).await.unwrap_err(),
            initiator.connect(&to()).await.unwrap_err(),
            initiator
                .discover(&address().into(), &iscsi_client::bind::Bind::Any)
                .await
                .unwrap_err(),
        ];
        for error in asked {
            assert!(closed(error.failure()), "{error:?}");
        }
        // Twice is once.
        assert!(initiator.close().now_or_never().is_some());
    });
    assert_eq!(logins(&world), 2);
    world.assert_clean();
}

#[test]
fn a_driver_that_nobody_polls_is_not_waited_for() {
    let world = World::new(11);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let (_session, _driver) = initiator.connect(&to()).await.unwrap();
        let start = world.sim.elapsed();
        initiator.close().await;
        assert_eq!((world.sim.elapsed() - start).as_secs(), 7);
        assert_eq!(initiator.sessions().len(), 1);
    });
}

/// What a policy says and what it does are two things: a filter is the same only if it is the same code.
#[test]
fn another_redirect_filter_is_another_term() {
    let world = World::new(12);
    let initiator = world.builder().build();
    world.sim.block_on(async {
        let with = |redirect: &RedirectPolicy| {
            let mut options = SessionOptions::default();
            options.redirect = redirect.clone();
            to().with_options(options)
        };
        let anywhere = RedirectPolicy::filtered(|_| true);
        let nowhere = RedirectPolicy::filtered(|_| false);
        let _session = initiator.session(&with(&anywhere)).await.unwrap();
        let _same = initiator.session(&with(&anywhere)).await.unwrap();
        for other in [nowhere, RedirectPolicy::default()] {
            let error = initiator.session(&with(&other)).await.unwrap_err();
            assert!(matches!(
                error.failure(),
                LoginFailure::SlotDiffers(SlotDifference::Options)
            ));
        }
    });
}

/// A tap that says something else of itself each time, as one that counts does.
#[derive(Default)]
struct Counting(AtomicU32);

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "looked at {} times",
            self.0.fetch_add(1, Ordering::Relaxed)
        )
    }
}

impl Tap for Counting {
    fn connected(
        &self,
        _at: Instant,
        _connection: &TappedConnection<'_>,
    ) -> Option<Arc<dyn ConnectionTap>> {
        None
    }
}

#[test]
fn what_the_callers_own_code_says_of_itself_is_no_term() {
    let world = World::new(13);
    let initiator = world.builder().build();
    let tap = Arc::new(Counting::default());
    world.sim.block_on(async {
        let with_tap = || {
            let mut options = SessionOptions::default();
            options.tap = Some(tap.clone());
            to().with_options(options)
        };
        let _one = initiator.session(&with_tap()).await.unwrap();
        let _two = initiator.session(&with_tap()).await.unwrap();
    });
    assert_eq!(logins(&world), 1);
    assert_eq!(tap.0.load(Ordering::Relaxed), 0, "asked under a lock");
}
