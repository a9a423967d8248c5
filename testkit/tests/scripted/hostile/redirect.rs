//! Targets that send us about (RFC 7143 section 11.13.5).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{Either, join, select};
use iscsi_client::{
    error::{ErrorKind, LoginFailure},
    session::{RedirectPolicy, SessionOptions},
};
use iscsi_proto::{
    DecodeError, Error, InitiatorTaskTag, LoginStatus, PeerMisbehaved,
    pdu::{LoginResponse, ScsiCommand, Stage},
    portal::Portal,
    serial::{CmdSn, StatSn},
};
use iscsi_testkit::scripted::{LoginExchange, Peer};

use super::{
    chap::{hear_answer, md5, one_way},
    reaction::{cause, connection_fails, hears_the_end, login_fails, protocol, refused},
};
use crate::support::{INITIATOR, TARGET, World, rows};

rows! {
    h31_a_circle_of_redirections;
    h31_a_chain_of_redirections;
    h31_a_circle_for_a_session_that_was_up;
    h31_a_redirection_in_full_feature_phase;
    h33_an_address_that_is_none;
    h34_an_address_that_the_policy_refuses;
    h34_a_redirection_changes_the_address_and_nothing_else;
}

/// Answers a login with this text, and "moved": for now (1) or for ever (2).
async fn send_away(peer: &mut Peer, detail: u8, text: &[u8]) -> LoginExchange {
    let exchange = peer.hear_login().await.unwrap();
    let moved = exchange.refused(LoginStatus { class: 1, detail });
    peer.say(moved, text).await.unwrap();
    exchange
}

fn to_portal(world: &World) -> Vec<u8> {
    format!("TargetAddress={},1\0", world.portal()).into_bytes()
}

/// One connection is sent away, and ends.
async fn visited(world: &World, detail: u8, next: &World) {
    let mut peer = world.accept().await;
    send_away(&mut peer, detail, &to_portal(next)).await;
    hears_the_end(&mut peer).await;
}

/// To itself, to and fro, and around: a portal is not visited twice in one login.
async fn h31_a_circle_of_redirections(world: &World) {
    let initiator = world.initiator();
    for detail in [1, 2] {
        for len in 1..=4 {
            let mut circle = Vec::new();
            for at in 0..len {
                let number = usize::from(detail) * 20 + len * 4 + at;
                circle.push(world.case(number).await);
            }
            let script = async {
                for (at, here) in circle.iter().enumerate() {
                    visited(here, detail, &circle[(at + 1) % len]).await;
                }
            };
            let to = circle[0].to();
            let (result, ()) = join(initiator.connect_spawned(&to), script).await;
            let error = result.unwrap_err();
            let circled = matches!(error.failure(), LoginFailure::RedirectLoop);
            assert!(circled && error.is_transient(), "{len}: {error:?}");
        }
    }
}

/// Always on to another one: four times, or as often as the caller likes.
async fn h31_a_chain_of_redirections(world: &World) {
    for (number, max_hops) in [4, 0, 1, 9].into_iter().enumerate() {
        let mut options = SessionOptions::default();
        if max_hops != options.redirect.max_hops {
            options.redirect.max_hops = max_hops;
        }
        let mut chain = Vec::new();
        for at in 0..=max_hops as usize + 1 {
            chain.push(world.case(number * 20 + at).await);
        }
        let script = async {
            for (here, next) in chain.iter().zip(&chain[1..]) {
                visited(here, 1, next).await;
            }
        };
        let initiator = world.initiator();
        let to = chain[0].to_with(options);
        let (result, ()) = join(initiator.connect_spawned(&to), script).await;
        match result.unwrap_err().failure() {
            LoginFailure::TooManyRedirects(limit) => assert_eq!(*limit, max_hops),
            other => panic!("{other:?}"),
        }
    }
}

/// A session that was up goes on trying, each time from the configured portal and with longer and longer pauses.
async fn h31_a_circle_for_a_session_that_was_up(world: &World) {
    let other = world.case(0).await;
    // Over TCP, until it has come back a third time; in virtual time, for a minute.
    let (minute, most) = match world.is_simulated() {
        true => (Duration::from_secs(60), u32::MAX),
        false => (Duration::from_secs(3600), 3),
    };
    let initiator = world.initiator();
    let session = async {
        let session = initiator.connect_spawned(&world.to()).await;
        session.unwrap()
    };
    let log_in = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let (session, peer) = join(session, log_in).await;
    drop(peer);
    let circles = std::cell::Cell::new(0);
    let circling = std::pin::pin!(async {
        while circles.get() < most {
            visited(world, 1, &other).await;
            visited(&other, 2, world).await;
            circles.set(circles.get() + 1);
        }
    });
    let mut timer = world.runtime.new_timer(world.runtime.now() + minute);
    let time = std::future::poll_fn(|cx| timer.as_mut().poll(cx));
    let over = matches!(select(circling, time).await, Either::Right(_));
    assert_eq!(over, world.is_simulated());
    assert!((3..=14).contains(&circles.get()), "{circles:?}");
    assert_eq!(session.logins(), 1);
}

/// Section 6.3: login ends with the login phase; behind it a redirection is a violation, and its address is not
/// asked.
async fn h31_a_redirection_in_full_feature_phase(world: &World) {
    let trap = world.case(0).await;
    let script = async |peer: &mut Peer, _: &ScsiCommand| {
        let moved = LoginResponse {
            transit: false,
            cont: false,
            csg: Stage::OperationalNegotiation,
            nsg: Stage::OperationalNegotiation,
            version_max: 0,
            version_active: 0,
            data_segment_length: 0,
            isid: iscsi_proto::Isid([0; 6]),
            tsih: iscsi_proto::Tsih(1),
            itt: InitiatorTaskTag(0),
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(0),
            max_cmd_sn: CmdSn(0),
            status: LoginStatus {
                class: 1,
                detail: 2,
            },
        };
        peer.say(moved, to_portal(&trap)).await.unwrap();
    };
    let error = connection_fails(world, SessionOptions::default(), &[], script).await;
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(cause(&error), PeerMisbehaved::Phase.into());
}

/// Section 13.8: a name or an address, in brackets if it is one of IPv6; a port, and a portal group.
async fn h33_an_address_that_is_none(world: &World) {
    let long_name = "n".repeat(240);
    let longest = format!("{}:3260", ["a"; 127].join("."));
    for address in [
        "",
        ",1",
        ":3260",
        "[",
        "[::",
        "[::1",
        "[::1]3260",
        "[::1]:",
        "[10.0.0.1]:3260",
        "::1",
        "fe80::1:3260",
        "10.0.0.1:0",
        "10.0.0.1:99999",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:+1",
        "10.0.0.1:3260,65536",
        "10.0.0.1:3260,-1",
        "10.0.0.1:3260,",
        "10.0.0.1:3260,1,2",
        "10.0.0.1:3260 ",
        "10.0.0.256",
        "10.1",
        "10.0.0.1\n:3260",
        "ho\tst",
        "\x1b[2Jhost",
        "host/../../etc",
        "ho st",
        "h\u{f6}st",
        "-.-..",
        long_name.as_str(),
    ] {
        for detail in [1, 2] {
            let text = format!("TargetAddress={address}\0");
            let script = async |peer: &mut Peer| {
                send_away(peer, detail, text.as_bytes()).await;
            };
            let error = refused(world, SessionOptions::default(), script).await;
            assert_eq!(error, DecodeError::Address.into(), "{address:?}");
        }
    }
    for text in [
        &b""[..],
        b"TargetAlias=disk\0",
        b"TargetName=iqn.2026-01.example:b\0",
    ] {
        let script = async |peer: &mut Peer| {
            send_away(peer, 1, text).await;
        };
        let error = refused(world, SessionOptions::default(), script).await;
        assert_eq!(error, DecodeError::Address.into());
    }
    for len in [249, 8000] {
        let text = format!("TargetAddress={}:3260,1\0", "n".repeat(len));
        let script = async |peer: &mut Peer| {
            send_away(peer, 1, text.as_bytes()).await;
        };
        let error = refused(world, SessionOptions::default(), script).await;
        let (length, limit) = (len as u32 + 7, 255);
        assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
    }
    let script = async |peer: &mut Peer| {
        send_away(peer, 1, format!("TargetAddress={longest}").as_bytes()).await;
    };
    let error = refused(world, SessionOptions::default(), script).await;
    assert!(matches!(error, Error::Decode(_)), "{error}");
}

/// The caller's policy sees each of them before anybody is asked there.
async fn h34_an_address_that_the_policy_refuses(world: &World) {
    let own: Portal = world.portal().into();
    for address in [
        "127.0.0.1:1,1",
        "127.255.255.254",
        "[::1]:3260",
        "169.254.1.1",
        "[fe80::1%9]:3260",
        "192.0.2.1:3260",
        "0.0.0.0",
        "[::ffff:127.0.0.1]:3260",
        "localhost",
        "metadata.example",
    ] {
        let wanted: Portal = address.parse().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let filtered = RedirectPolicy::filtered(move |redirection| {
            sees.lock().unwrap().push(redirection.clone());
            false
        });
        for (policy, asked) in [(filtered, 1), (RedirectPolicy::none(), 0)] {
            seen.lock().unwrap().clear();
            let mut options = SessionOptions::default();
            options.redirect = policy;
            let script = async |peer: &mut Peer| {
                let text = format!("TargetAddress={address}\0");
                send_away(peer, 2, text.as_bytes()).await;
            };
            let initiator = world.initiator();
            let to = world.to_with(options);
            let error = login_fails(world, initiator.connect_spawned(&to), script).await;
            match error.failure() {
                LoginFailure::RedirectRefused { to } => assert_eq!(*to, wanted),
                other => panic!("{other:?}"),
            }
            assert!(!error.is_transient());
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), asked);
            for redirection in &*seen {
                assert_eq!((&redirection.from, &redirection.to), (&own, &wanted));
                assert!(redirection.permanent && redirection.hop == 1);
            }
        }
    }
}

/// Whatever else the redirection says: the same initiator wants the same target, and the same authentication.
async fn h34_a_redirection_changes_the_address_and_nothing_else(world: &World) {
    let other = world.case(0).await;
    let script = async {
        let mut first = world.accept().await;
        let mut text = to_portal(&other);
        text.extend(
            b"TargetName=iqn.2026-01.example:other\0AuthMethod=None\0SessionType=Discovery\0",
        );
        let asked = send_away(&mut first, 2, &text).await;
        hears_the_end(&mut first).await;
        let mut second = other.accept().await;
        let exchange = second.hear_login().await.unwrap();
        assert_eq!(exchange.keys, asked.keys);
        assert_eq!(exchange.value("AuthMethod"), Some("CHAP"));
        assert_eq!(exchange.value("TargetName"), Some(TARGET));
        assert_eq!(exchange.value("InitiatorName"), Some(INITIATOR));
        assert_eq!(exchange.value("SessionType"), Some("Normal"));
        let (now, before) = (&exchange.request, &asked.request);
        assert_eq!((now.isid, now.tsih), (before.isid, before.tsih));
        // Without a challenge it goes nowhere.
        let none = [("AuthMethod", "None")];
        second.say_login(exchange.agreed(), &none).await.unwrap();
        hears_the_end(&mut second).await;
    };
    let initiator = world.builder().credentials(one_way()).build();
    let to = world.to_with(md5());
    let (result, ()) = join(initiator.connect_spawned(&to), script).await;
    let skipped = iscsi_proto::PeerIncompatible::AuthenticationSkipped;
    assert_eq!(protocol(&result.unwrap_err()), skipped.into());
    // In the middle of CHAP, and behind the answer, too: the other one has to ask anew.
    let script = async {
        let mut first = world.accept().await;
        let exchange = hear_answer(&mut first).await;
        let moved = exchange.refused(LoginStatus {
            class: 1,
            detail: 1,
        });
        first.say(moved, to_portal(&other)).await.unwrap();
        hears_the_end(&mut first).await;
        let mut second = other.accept().await;
        hear_answer(&mut second).await;
    };
    let (result, ()) = join(initiator.connect_spawned(&to), script).await;
    assert_eq!(protocol(&result.unwrap_err()), Error::Closed);
}
