//! Credentials that are asked for.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use iscsi_client::{
    bind::Bind,
    credentials::{CredentialFailure, CredentialProvider, CredentialRequest},
    error::{Error, ErrorKind, LoginFailure},
    session::SessionOptions,
};
use iscsi_proto::{
    Error as CoreError, LoginStatus,
    login::{Authentication, ChapCredentials, Secret},
};
use iscsi_testkit::{sim::Link, target::ChapConfig};

use crate::support::{TARGET, World, address, assert_pattern, config, poll_once, read, to};

const SECRET: &[u8] = iscsi_testkit::canary::OURS.as_bytes();

fn chap(secret: &[u8]) -> Authentication {
    Authentication::Chap(ChapCredentials::new("user", Secret::new(secret)).unwrap())
}

/// Answers by a function, and remembers what it was asked.
#[derive(Debug)]
struct Asked {
    requests: Mutex<Vec<CredentialRequest>>,
    answer: fn(&CredentialRequest) -> Result<Authentication, CredentialFailure>,
}

#[async_trait]
impl CredentialProvider for Asked {
    async fn credentials(
        &self,
        request: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure> {
        self.requests.lock().unwrap().push(request.clone());
        (self.answer)(request)
    }
}

fn options(provider: &Arc<Asked>) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.credentials = Some(Arc::<Asked>::clone(provider));
    options
}

fn provider(
    answer: fn(&CredentialRequest) -> Result<Authentication, CredentialFailure>,
) -> Arc<Asked> {
    Arc::new(Asked {
        requests: Mutex::default(),
        answer,
    })
}

fn world() -> World {
    World::with_config(1, config().with_chap(ChapConfig::new("user", SECRET)))
}

#[test]
fn each_login_asks_anew_and_says_what_went_wrong_before() {
    let world = world();
    // The re-login begins with a secret that is out of date.
    let asked = provider(|request| {
        let refused = request.last_failure.is_some();
        let stale = request.attempt == 1 && request.portal.tpgt.is_some();
        assert_eq!(refused, request.attempt > 1);
        Ok(chap(if stale { b"that of yesterday" } else { SECRET }))
    });
    let initiator = world.builder().options(options(&asked)).build();
    let mut to = to();
    let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
    session.reconnect();
    world.sim.block_on(session.wait_up()).unwrap();
    {
        let requests = asked.requests.lock().unwrap();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.attempt == 1));
        assert!(requests.iter().all(|r| r.portal == address().into()));
        let target = requests[0].target.as_ref();
        assert_eq!(target.map(|name| name.as_str()), Some(TARGET));
    }
    world.sim.block_on(session.close());
    asked.requests.lock().unwrap().clear();

    to.portal.tpgt = Some(iscsi_proto::TargetPortalGroupTag(1));
    let error = world.sim.block_on(initiator.connect(&to)).unwrap_err();
    let status = LoginStatus {
        class: 2,
        detail: 1,
    };
    let refused = CoreError::LoginRejected(status);
    assert!(matches!(error.failure(), LoginFailure::Protocol(e) if *e == refused));
}

#[test]
fn a_re_login_with_a_stale_secret_is_told_so_and_comes_back() {
    static STALE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let world = world();
    let asked = provider(|request| {
        let stale = STALE.load(std::sync::atomic::Ordering::Relaxed) && request.attempt == 1;
        Ok(chap(if stale { b"that of yesterday" } else { SECRET }))
    });
    let initiator = world.builder().options(options(&asked)).build();
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    STALE.store(true, std::sync::atomic::Ordering::Relaxed);
    session.reconnect();
    world.sim.block_on(session.wait_up()).unwrap();
    let requests = asked.requests.lock().unwrap();
    let attempts: Vec<_> = requests.iter().map(|request| request.attempt).collect();
    assert_eq!(attempts, [1, 1, 2]);
    let failure = requests[2].last_failure.as_ref().unwrap().failure();
    let status = LoginStatus {
        class: 2,
        detail: 1,
    };
    assert!(
        matches!(failure, LoginFailure::Protocol(CoreError::LoginRejected(found)) if *found == status),
        "{failure:?}"
    );
}

#[test]
fn a_provider_that_fails_fails_the_login_with_its_reason() {
    let world = world();
    let asked = provider(|_| Err("the vault is sealed".into()));
    let initiator = world.builder().options(options(&asked)).build();
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::Credentials(_)));
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    assert!(error.is_transient());
    assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
    assert_eq!(world.target.core().login_attempts().len(), 0);
}

#[test]
fn a_provider_is_not_asked_for_a_portal_that_is_not_there() {
    let world = world();
    let asked = provider(|_| Ok(chap(SECRET)));
    let initiator = world.builder().options(options(&asked)).build();
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    let link = Link::to(address());
    world.sim.net().refuse(link);
    world.sim.net().reset(link);
    world.sim.block_on(async {
        world.sim.sleep(Duration::from_secs(20)).await;
        assert!(session.stats().login_failures > 20);
        assert_eq!(asked.requests.lock().unwrap().len(), 1);
        world.sim.net().heal(link);
        session.wait_up().await.unwrap();
    });
    // Nor does it hear of all those that nobody answered: no credentials were refused.
    let requests = asked.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (requests[1].attempt, requests[1].last_failure.is_none()),
        (1, true)
    );
}

#[test]
fn what_was_refused_is_still_known_after_a_login_that_failed_for_another_reason() {
    static STALE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let world = world();
    let asked = provider(|_| {
        let stale = STALE.load(std::sync::atomic::Ordering::Relaxed);
        Ok(chap(if stale { b"that of yesterday" } else { SECRET }))
    });
    STALE.store(false, std::sync::atomic::Ordering::Relaxed);
    let initiator = world.builder().options(options(&asked)).build();
    let to = to();
    let connecting = initiator.connect_spawned(&to);
    let session = world.sim.block_on(connecting).unwrap();
    STALE.store(true, std::sync::atomic::Ordering::Relaxed);
    let link = Link::to(address());
    world.sim.block_on(async {
        session.reconnect();
        while session.stats().login_failures < 2 {
            session.changed(session.status().generation).await;
        }
        world.sim.net().refuse(link);
        while session.stats().login_failures < 6 {
            session.changed(session.status().generation).await;
        }
        STALE.store(false, std::sync::atomic::Ordering::Relaxed);
        world.sim.net().heal(link);
        session.wait_up().await.unwrap();
    });
    let requests = asked.requests.lock().unwrap();
    let attempts: Vec<_> = requests.iter().map(|request| request.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 3]);
    let failure = requests[3].last_failure.as_ref().unwrap().failure();
    assert!(
        matches!(failure, LoginFailure::Protocol(CoreError::LoginRejected(_))),
        "{failure:?}"
    );
}

/// Answers after a while.
#[derive(Debug)]
struct Slow(iscsi_testkit::sim::SimHandle);

#[async_trait]
impl CredentialProvider for Slow {
    async fn credentials(
        &self,
        _: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure> {
        self.0.sleep(Duration::from_secs(4)).await;
        Ok(chap(SECRET))
    }
}

#[test]
fn a_provider_that_takes_its_time_keeps_no_connection_waiting() {
    let world = world();
    let mut options = SessionOptions::default();
    options.credentials = Some(Arc::new(Slow(world.handle())));
    let initiator = world.builder().options(options).build();
    let to = to();
    let mut connecting = Box::pin(initiator.connect_spawned(&to));
    let session = world.sim.block_on(async {
        for _ in 0..30 {
            assert!(poll_once(&mut connecting).await.is_pending());
            world.sim.sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.sim.net().connections(), 0);
        connecting.await
    });
    let session = session.unwrap();
    assert_eq!(world.sim.elapsed().as_secs(), 4);
    assert_pattern(world.sim.block_on(session.execute(read(0, 4))), 0);
}

#[derive(Debug)]
struct Silent;

#[async_trait]
impl CredentialProvider for Silent {
    async fn credentials(
        &self,
        _: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure> {
        pending().await
    }
}

#[test]
fn a_provider_that_never_answers_is_given_up_when_the_login_would_be() {
    let world = world();
    let mut options = SessionOptions::default();
    options.credentials = Some(Arc::new(Silent));
    let initiator = world.builder().options(options).build();
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::Credentials(_)));
    assert_eq!(world.sim.elapsed().as_secs(), 15);
}

#[test]
fn discovery_has_credentials_of_its_own_or_asks_for_them() {
    let world = world();
    let portal = address().into();
    let discover = |initiator: iscsi_client::initiator::Initiator| {
        world.sim.block_on(initiator.discover(&portal, &Bind::Any))
    };
    let asked = provider(|request| {
        assert!(request.target.is_none());
        Ok(chap(SECRET))
    });
    discover(world.builder().options(options(&asked)).build()).unwrap();
    assert_eq!(asked.requests.lock().unwrap().len(), 1);
    let wrong = || {
        let secret = Secret::new(iscsi_testkit::canary::THEIRS.as_bytes());
        ChapCredentials::new("user", secret).unwrap()
    };
    let builder = || world.builder().credentials(wrong());
    discover(builder().build()).unwrap_err();
    discover(builder().discovery_authentication(chap(SECRET)).build()).unwrap();
}

/// Most targets ask for CHAP in normal sessions and for nothing in discovery.
#[test]
fn discovery_goes_on_where_the_target_wants_no_credentials() {
    let world = World::new(2);
    let credentials = || ChapCredentials::new("user", Secret::new(SECRET)).unwrap();
    let initiator = world.builder().credentials(credentials()).build();
    let portal = address().into();
    let found = world.sim.block_on(initiator.discover(&portal, &Bind::Any));
    assert_eq!(found.unwrap().targets.len(), 1);
    // The offer has no `None` in it, so this target has nothing to choose from.
    let refused = CoreError::LoginRejected(LoginStatus {
        class: 2,
        detail: 1,
    });
    let error = world.sim.block_on(initiator.connect(&to())).unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::Protocol(e) if *e == refused));
    let mut options = SessionOptions::default();
    options.require_chap = false;
    let builder = world.builder().credentials(credentials());
    let initiator = builder.options(options).build();
    let session = world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap();
    assert_eq!(session.login().chap, None);
    // With credentials that are meant for discovery, they are required there too.
    let strict = world
        .builder()
        .discovery_authentication(chap(SECRET))
        .build();
    let error = world.sim.block_on(strict.discover(&portal, &Bind::Any));
    assert!(matches!(error.unwrap_err().failure(), LoginFailure::Protocol(e) if *e == refused));
}
