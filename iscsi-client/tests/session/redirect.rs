//! Targets that send us elsewhere.

use std::{
    future::poll_fn,
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
};

use iscsi_client::{
    error::{LoginError, LoginFailure},
    initiator::SessionTarget,
    runtime::{Runtime, Transport},
    session::{RedirectPolicy, Session, SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    LoginStatus,
    pdu::{Bhs, LoginRequest, LoginResponse, pad_len},
    portal::Portal,
};
use iscsi_testkit::{
    sim::{SimListener, SimStream},
    target::Redirect,
};

use crate::support::{TARGET, World, address, assert_pattern, config, read, to};

fn elsewhere() -> SocketAddr {
    "10.0.0.2:3260".parse().unwrap()
}

async fn read_exact(stream: &mut SimStream, buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        done +=
            poll_fn(|cx| stream.poll_read_vectored(cx, &mut [IoSliceMut::new(&mut buf[done..])]))
                .await
                .unwrap();
    }
}

async fn write_all(stream: &mut SimStream, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() {
        done += poll_fn(|cx| stream.poll_write_vectored(cx, &[IoSlice::new(&bytes[done..])]))
            .await
            .unwrap();
    }
}

/// Answers every login with "moved to `to`".
async fn redirector(listener: SimListener, to: SocketAddr, detail: u8) {
    loop {
        let mut stream = listener.accept().await;
        let mut header = [0; 48];
        read_exact(&mut stream, &mut header).await;
        let request = LoginRequest::parse(&Bhs::from(header)).unwrap();
        let len = request.data_segment_length as usize;
        read_exact(&mut stream, &mut vec![0; len + pad_len(len)]).await;
        let mut text = format!("TargetAddress={to}\0").into_bytes();
        let response = LoginResponse {
            transit: false,
            cont: false,
            csg: request.csg,
            nsg: request.csg,
            version_max: 0,
            version_active: 0,
            data_segment_length: text.len() as u32,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn: Default::default(),
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
            status: LoginStatus { class: 1, detail },
        };
        text.resize(text.len() + pad_len(text.len()), 0);
        write_all(&mut stream, response.emit().as_bytes()).await;
        write_all(&mut stream, &text).await;
    }
}

fn redirecting(world: &World, to: SocketAddr, detail: u8) -> SessionTarget {
    let listener = world.sim.net().listen(elsewhere()).unwrap();
    world
        .handle()
        .spawn(Box::pin(redirector(listener, to, detail)));
    SessionTarget::new(TARGET.parse().unwrap(), elsewhere().into())
}

#[test]
fn a_redirect_is_followed_and_the_event_names_the_portal_that_was_reached() {
    for detail in [1, 2] {
        let world = World::new(1);
        let to = redirecting(&world, address(), detail);
        let initiator = world.builder().build();
        let session = world.sim.block_on(initiator.connect_spawned(&to)).unwrap();
        assert_pattern(world.sim.block_on(session.execute(read(0, 8))), 0);
        let event = session.events(0).remove(1).kind;
        let SessionEventKind::Up { portal, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!(portal, address().into());
        assert_eq!(session.portal(), &elsewhere().into());
    }
}

#[test]
fn a_target_that_redirects_to_itself_is_given_up_at_once() {
    let world = World::new(2);
    let to = redirecting(&world, elsewhere(), 1);
    let initiator = world.builder().build();
    let error = world.sim.block_on(initiator.connect(&to)).unwrap_err();
    assert!(
        matches!(error.failure(), LoginFailure::RedirectLoop),
        "{error}"
    );
}

/// Portals 0 to 3 of one target; each one named sends logins to the next one named.
fn chain(names: &[(usize, usize)], permanent: bool) -> World {
    let mut config = config();
    for n in 2..5 {
        config = config.with_portal(format!("10.0.0.{n}:3260").parse().unwrap(), 1);
    }
    let world = World::with_config(3, config);
    for (from, to) in names {
        send(&world, *from, Some((*to, permanent)));
    }
    world
}

fn send(world: &World, from: usize, to: Option<(usize, bool)>) {
    let core = world.target.core();
    let redirect = to.map(|(to, permanent)| Redirect {
        to: core.portal(to).to_string(),
        permanent,
    });
    core.redirect_logins(from, redirect);
}

fn logins(world: &World) -> [u64; 4] {
    [0, 1, 2, 3].map(|portal| world.target.core().counters(portal).connections)
}

fn connect(world: &World, redirect: RedirectPolicy) -> Result<Session, LoginError> {
    let mut options = SessionOptions::default();
    options.redirect = redirect;
    let initiator = world.builder().options(options).build();
    world.sim.block_on(initiator.connect_spawned(&to()))
}

/// C-75.
#[test]
fn after_a_temporary_redirection_the_next_login_begins_at_the_first_portal() {
    let world = chain(&[(0, 1), (1, 2)], false);
    let session = connect(&world, RedirectPolicy::default()).unwrap();
    assert_eq!(logins(&world), [1, 1, 1, 0]);
    let events = session.events(0);
    let hops: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            SessionEventKind::Redirected(hop) => Some(hop),
            _ => None,
        })
        .collect();
    let portal = |n| Portal::from(world.target.core().portal(n));
    assert_eq!(hops.len(), 2);
    assert_eq!((&hops[0].from, &hops[0].to), (&portal(0), &portal(1)));
    assert_eq!((&hops[1].from, &hops[1].to), (&portal(1), &portal(2)));
    assert!(!hops[1].permanent && hops[1].hop == 2);
    assert_eq!(session.login().portal, portal(2));
    session.reconnect();
    world.sim.block_on(session.wait_up()).unwrap();
    assert_eq!(logins(&world), [2, 2, 2, 0]);
}

#[test]
fn a_permanent_redirection_is_remembered_until_it_fails() {
    let world = chain(&[(0, 1)], true);
    let session = connect(&world, RedirectPolicy::default()).unwrap();
    assert_eq!(logins(&world), [1, 1, 0, 0]);
    for more in 1..3 {
        session.reconnect();
        world.sim.block_on(session.wait_up()).unwrap();
        assert_eq!(logins(&world), [1, 1 + more, 0, 0]);
    }
    // The target has moved on, and says so where it was configured.
    let gone = LoginStatus {
        class: 2,
        detail: 4,
    };
    world.target.core().refuse_logins(1, Some(gone));
    send(&world, 0, Some((2, true)));
    session.reconnect();
    world.sim.block_on(session.wait_up()).unwrap();
    assert_eq!(logins(&world), [2, 4, 1, 0]);
    assert_pattern(world.sim.block_on(session.execute(read(0, 8))), 0);
}

#[test]
fn a_permanent_redirection_behind_a_temporary_one_is_not_remembered() {
    let world = chain(&[(0, 1)], false);
    send(&world, 1, Some((2, true)));
    let session = connect(&world, RedirectPolicy::default()).unwrap();
    session.reconnect();
    world.sim.block_on(session.wait_up()).unwrap();
    assert_eq!(logins(&world), [2, 2, 2, 0]);
}

#[test]
fn a_circle_is_noticed_when_it_closes() {
    for permanent in [false, true] {
        let world = chain(&[(0, 1), (1, 2), (2, 0)], permanent);
        let error = connect(&world, RedirectPolicy::default()).unwrap_err();
        let LoginFailure::RedirectLoop = error.failure() else {
            panic!("{error:?}")
        };
        assert_eq!(logins(&world), [1, 1, 1, 0]);
    }
}

#[test]
fn the_policy_says_how_many_and_which_are_followed() {
    let world = chain(&[(0, 1), (1, 2), (2, 3)], false);
    let mut two = RedirectPolicy::default();
    two.max_hops = 2;
    let error = connect(&world, two).unwrap_err();
    assert!(
        matches!(error.failure(), LoginFailure::TooManyRedirects(2)),
        "{error}"
    );
    assert_eq!(logins(&world), [1, 1, 1, 0]);

    let world = chain(&[(0, 1), (1, 2)], false);
    let error = connect(&world, RedirectPolicy::none()).unwrap_err();
    let LoginFailure::RedirectRefused { to } = error.failure() else {
        panic!("{error:?}")
    };
    assert_eq!(*to, Portal::from(world.target.core().portal(1)));
    assert_eq!(logins(&world), [1, 0, 0, 0]);
    assert!(!error.is_transient() && error.advice().contains("that portal"));

    let known = RedirectPolicy::filtered(|hop| hop.to.to_string() == "10.0.0.2:3260");
    let error = connect(&world, known).unwrap_err();
    assert!(matches!(
        error.failure(),
        LoginFailure::RedirectRefused { .. }
    ));
    assert_eq!(logins(&world), [2, 1, 0, 0]);
    send(&world, 1, None);
    let known = RedirectPolicy::filtered(|hop| hop.to.to_string() == "10.0.0.2:3260");
    connect(&world, known).unwrap();
}
