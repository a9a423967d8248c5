//! Where a target may send us (K-13; RFC 7143 sections 11.13.5 and appendix C).

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;

use futures_util::future::{FutureExt as _, join};
use iscsi_client::{
    bind::Bind,
    credentials::{CredentialFailure, CredentialProvider, CredentialRequest},
    error::LoginFailure,
    session::SessionOptions,
};
use iscsi_proto::{
    LoginStatus,
    login::Authentication,
    pdu::TextRequest,
    portal::Portal,
    text::send_targets::{Discovered, SkipReason},
};
use iscsi_testkit::scripted::{Peer, Say};

use crate::{
    hostile::reaction::{hears_the_end, logged_in, login_fails},
    support::{TARGET, World, rows},
};

rows! {
    k13_a_redirection_to_nobody;
    k13_a_redirection_to_the_loopback;
    k13_a_portal_on_the_loopback_may_stay_there;
    k13_a_name_that_leads_to_the_loopback_later;
    k13_what_a_session_asks_for_its_target_is_looked_at_too;
    k13_send_targets_with_addresses_of_the_loopback;
}

async fn send_away(peer: &mut Peer, detail: u8, to: &str) {
    let exchange = peer.hear_login().await.unwrap();
    let moved = exchange.refused(LoginStatus { class: 1, detail });
    let text = format!("TargetAddress={to}\0");
    peer.say(moved, text).await.unwrap();
}

async fn is_refused(world: &World, options: SessionOptions, address: &str) {
    let initiator = world.initiator();
    let to = world.to_with(options);
    let script = async |peer: &mut Peer| send_away(peer, 2, address).await;
    let error = login_fails(world, initiator.connect_spawned(&to), script).await;
    let wanted: Portal = address.parse().unwrap();
    match error.failure() {
        LoginFailure::RedirectRefused { to } => assert_eq!(*to, wanted, "{address}"),
        other => panic!("{address}: {other:?}"),
    }
    assert_eq!(*error.portal(), world.portal().into(), "who is to blame");
    assert!(!error.is_transient());
}

/// Knows of the portal that was configured, and of no other.
#[derive(Debug)]
struct Guard(Portal);

#[async_trait]
impl CredentialProvider for Guard {
    async fn credentials(
        &self,
        request: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure> {
        match request.portal == self.0 {
            true => Ok(Authentication::None),
            false => Err(format!("asked about {}", request.portal).into()),
        }
    }
}

/// What is no host's address, also where everything else is allowed, and from the loopback too.
async fn k13_a_redirection_to_nobody(world: &World) {
    for address in [
        "0.0.0.0:3260",
        "[::]:3260",
        "[::ffff:0.0.0.0]:3260",
        "224.0.0.1",
        "239.255.255.250:3260",
        "255.255.255.255",
        "[ff02::1]:3260",
    ] {
        let mut options = SessionOptions::default();
        options.redirect.loopback = true;
        is_refused(world, options, address).await;
        is_refused(world, SessionOptions::default(), address).await;
    }
}

/// From elsewhere: not by address, and not by name. (A portal over TCP is on the loopback itself.)
async fn k13_a_redirection_to_the_loopback(world: &World) {
    if !world.is_simulated() {
        return;
    }
    let loopback: IpAddr = [127, 0, 0, 1].into();
    let trap = world.at((loopback, 3260).into()).await;
    world.add_host("inside.example", &[loopback, [127, 9, 9, 9].into()]);
    for address in [
        "127.0.0.1:3260,1",
        "127.255.255.254",
        "[::1]:3260",
        "[::ffff:127.0.0.1]:3260",
        "inside.example:3260",
    ] {
        is_refused(world, SessionOptions::default(), address).await;
    }
    // And nobody is asked for credentials on account of an address that is refused.
    let mut options = SessionOptions::default();
    options.credentials = Some(Arc::new(Guard(world.portal().into())));
    is_refused(world, options, "127.0.0.1:3260").await;
    // A name that leads to both: to the other one only.
    let other = world.case(0).await;
    world.add_host("both.example", &[loopback, other.portal().ip()]);
    let script = async {
        let mut peer = world.accept().await;
        send_away(&mut peer, 1, "both.example:3260").await;
        let mut peer = other.accept().await;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let initiator = world.initiator();
    let (session, peer) = join(initiator.connect_spawned(&world.to()), script).await;
    assert_eq!(session.unwrap().login().address, other.portal());
    drop(peer);
    assert!(trap.accept_any().now_or_never().is_none(), "somebody came");
    // Whoever wants it can have it.
    let mut options = SessionOptions::default();
    options.redirect.loopback = true;
    let script = async {
        let mut peer = world.accept().await;
        send_away(&mut peer, 1, "inside.example:3260").await;
        let mut peer = trap.accept().await;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let initiator = world.initiator();
    let to = world.to_with(options);
    let (session, peer) = join(initiator.connect_spawned(&to), script).await;
    assert_eq!(session.unwrap().login().address, trap.portal());
    drop(peer);
}

/// The end of a tunnel, or a target of our own.
async fn k13_a_portal_on_the_loopback_may_stay_there(world: &World) {
    let (first, second) = if world.is_simulated() {
        let at = async |last| world.at(([127, 0, 0, last], 3260).into()).await;
        (at(1).await, at(2).await)
    } else {
        (world.case(0).await, world.case(1).await)
    };
    let script = async {
        let mut peer = first.accept().await;
        send_away(&mut peer, 1, &second.portal().to_string()).await;
        hears_the_end(&mut peer).await;
        let mut peer = second.accept().await;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let initiator = first.initiator();
    let (session, peer) = join(initiator.connect_spawned(&first.to()), script).await;
    assert_eq!(session.unwrap().login().address, second.portal());
    drop(peer);
}

/// A permanent redirection is remembered with who said it: what its name means is looked at each time. Refused, the
/// next login begins at the configured portal.
async fn k13_a_name_that_leads_to_the_loopback_later(world: &World) {
    if !world.is_simulated() {
        return;
    }
    let trap = world.at(([127, 0, 0, 1], 3260).into()).await;
    let other = world.case(0).await;
    world.add_host("moving.example", &[other.portal().ip()]);
    let script = async {
        let mut peer = world.accept().await;
        send_away(&mut peer, 2, "moving.example:3260").await;
        let mut peer = other.accept().await;
        peer.log_in(&[]).await.unwrap();
        world.add_host("moving.example", &[trap.portal().ip()]);
        drop(peer);
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let client = async {
        let initiator = world.initiator();
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        logged_in(&session, 2).await;
        assert_eq!(session.login().address, world.portal());
        assert!(trap.accept_any().now_or_never().is_none(), "somebody came");
    };
    let (peer, ()) = join(script, client).await;
    drop(peer);
}

async fn discovers(world: &World, options: SessionOptions, text: &str) -> Discovered {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        peer.say(Say::text(request.itt), text).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = world.builder().options(options).build();
    let portal = world.portal().into();
    let (found, ()) = join(initiator.discover(&portal, &Bind::Any), script).await;
    found.unwrap()
}

/// Asked in a session of the target itself: the same.
async fn k13_what_a_session_asks_for_its_target_is_looked_at_too(world: &World) {
    let (mut peer, session) = {
        let script = async {
            let mut peer = world.accept().await;
            peer.log_in(&[]).await.unwrap();
            peer
        };
        let initiator = world.initiator();
        let (peer, session) = join(script, initiator.connect_spawned(&world.to())).await;
        (peer, session.unwrap())
    };
    let text = format!(
        "TargetName={TARGET}\0TargetAddress=127.0.0.1:3260,1\0TargetAddress=10.9.9.9:3260,1\0\
         TargetAddress=[::ffff:0.0.0.0]:3260,1\0"
    );
    let script = async {
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        peer.say(Say::text(request.itt), text).await.unwrap();
    };
    let (found, ()) = join(session.send_targets(), script).await;
    let found = found.unwrap();
    let reasons: Vec<_> = found.skipped.iter().map(|left| left.reason).collect();
    if world.is_simulated() {
        let portals = &found.targets[0].portals;
        assert_eq!(portals[..], ["10.9.9.9:3260,1".parse().unwrap()]);
        assert_eq!(reasons, [SkipReason::NotUnicast, SkipReason::Loopback]);
    } else {
        assert_eq!(reasons, [SkipReason::NotUnicast]);
    }
}

/// Told, with the reason; and kept where the portal is on the loopback itself, or the caller wants it.
async fn k13_send_targets_with_addresses_of_the_loopback(world: &World) {
    let text = format!(
        "TargetName={TARGET}\0TargetAddress=127.0.0.1:3260,1\0TargetAddress=10.9.9.9:3260,1\0\
         TargetAddress=[::1]:3260,1\0TargetAddress=localhost:3260,1\0"
    );
    let found = discovers(world, SessionOptions::default(), &text).await;
    let portals = &found.targets[0].portals;
    if world.is_simulated() {
        assert_eq!(portals[..], ["10.9.9.9:3260,1".parse().unwrap()]);
        let reasons = found.skipped.iter().map(|left| left.reason);
        assert_eq!(reasons.collect::<Vec<_>>(), [SkipReason::Loopback; 3]);
        assert_eq!(found.dropped, 3);
    } else {
        assert_eq!((portals.len(), found.dropped), (4, 0));
    }
    let mut options = SessionOptions::default();
    options.redirect.loopback = true;
    let found = discovers(world, options, &text).await;
    assert_eq!((found.targets[0].portals.len(), found.dropped), (4, 0));
}
