//! Targets that are elsewhere, or not for us, or not now (RFC 7143 section 11.13.5).

use futures_util::future::{FutureExt as _, join};
use iscsi_client::{
    error::{ErrorKind, LoginFailure},
    session::{DownReason, SessionOptions, SessionState},
};
use iscsi_proto::{Error, LoginStatus, PeerIncompatible, Portal, TargetPortalGroupTag};
use iscsi_testkit::scripted::{Frame, LoginExchange, Peer};

use super::{
    chap,
    steps::{fails, is_ended, logged_in, say_good, text, works_after_each_login},
};
use crate::support::{World, rows, test_unit_ready};

rows! {
    c27_the_portal_group_is_the_one_that_was_meant;
    c75_a_temporary_redirection_is_followed_once;
    c75_a_permanent_redirection_is_remembered;
    c75_the_portal_group_of_a_redirection_counts;
    c75_a_redirection_may_come_at_any_time;
    c76_a_refused_login_is_not_tried_at_once_again;
}

const TEMPORARILY: LoginStatus = LoginStatus {
    class: 1,
    detail: 1,
};

const PERMANENTLY: LoginStatus = LoginStatus {
    class: 1,
    detail: 2,
};

async fn refuse(peer: &mut Peer, status: LoginStatus, keys: &[(&str, &str)]) {
    let exchange = peer.hear_login().await.unwrap();
    refuse_it(peer, &exchange, status, keys).await;
}

/// With numbers that count for nothing (section 11.13.5).
async fn refuse_it(
    peer: &mut Peer,
    exchange: &LoginExchange,
    status: LoginStatus,
    keys: &[(&str, &str)],
) {
    let mut frame = Frame::new(exchange.refused(status), text(keys));
    for at in [24, 28, 32] {
        frame.set_field(at, 0xdead_beef);
    }
    peer.say_as_it_is(&frame).await.unwrap();
    is_ended(peer).await;
}

/// Logs in and answers one command.
async fn serve(world: &World, group: &str) -> Peer {
    let mut peer = world.accept().await;
    let group = [("TargetPortalGroupTag", group)];
    peer.log_in(&group).await.unwrap();
    say_good(&mut peer).await;
    peer
}

fn of_group(world: &World, tag: u16) -> Portal {
    let mut portal = Portal::from(world.portal());
    portal.tpgt = Some(TargetPortalGroupTag(tag));
    portal
}

/// Sections 6.3 and 13.9: the tag of the first response says whether it is the portal group that was meant. Whoever
/// has to be sure asks for it; else a difference is reported.
async fn c27_the_portal_group_is_the_one_that_was_meant(world: &World) {
    let mut options = SessionOptions::default();
    options.require_portal_group = true;
    for (number, (found, refused)) in [
        (Some("7"), false),
        (Some("0x7"), false),
        (Some("8"), true),
        (Some("0"), true),
        (None, true),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let mut to = world.to_with(options.clone());
        to.portal = of_group(&world, 7);
        let script = async {
            let mut peer = world.accept().await;
            let first = peer.hear_login().await.unwrap();
            let tag = found.map(|found| ("TargetPortalGroupTag", found));
            let answers = first.answers(tag.as_slice());
            peer.say_login(first.agreed(), &answers).await.unwrap();
            if refused {
                is_ended(&mut peer).await;
            }
        };
        let initiator = world.initiator();
        let (error, ()) = join(initiator.connect_spawned(&to), script).await;
        let error = super::steps::protocol_error_or_io(error.unwrap_err());
        let expected = PeerIncompatible::PortalGroup {
            expected: TargetPortalGroupTag(7),
            found: found.map(|found| TargetPortalGroupTag(found.parse().unwrap_or(7))),
        };
        assert_eq!(
            error == Some(expected.into()),
            refused,
            "{found:?} {error:?}"
        );
    }
    // Not asked for: told.
    let mut to = world.to();
    to.portal = of_group(world, 7);
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&to).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
        let told = session.events(0).into_iter().any(|event| {
            use iscsi_client::session::SessionEventKind::PortalGroup;
            matches!(event.kind, PortalGroup { expected, found: Some(found) }
                if expected.0 == 7 && found.0 == 8)
        });
        assert!(told);
    };
    join(serve(world, "8"), client).await;
}

/// The login goes on at the TargetAddress, and the next one begins where this one did.
async fn c75_a_temporary_redirection_is_followed_once(world: &World) {
    let elsewhere = world.case(0).await;
    let address = format!("{},7", elsewhere.portal());
    let script = async {
        for _ in 0..2 {
            let mut first = world.accept().await;
            refuse(&mut first, TEMPORARILY, &[("TargetAddress", &address)]).await;
            drop(serve(&elsewhere, "7").await);
        }
    };
    join(script, works_after_each_login(world, 2)).await;
}

/// The next login begins where this one ended; and where it began once that fails.
async fn c75_a_permanent_redirection_is_remembered(world: &World) {
    let elsewhere = world.case(0).await;
    // Without a port it is 3260 (section 13.8), which only virtual time has at hand.
    let address = match world.is_simulated() {
        true => format!("{},7", elsewhere.portal().ip()),
        false => format!("{},7", elsewhere.portal()),
    };
    let script = async {
        let mut first = world.accept().await;
        refuse(&mut first, PERMANENTLY, &[("TargetAddress", &address)]).await;
        for _ in 0..2 {
            drop(serve(&elsewhere, "7").await);
        }
        let unavailable = LoginStatus {
            class: 3,
            detail: 1,
        };
        refuse(&mut elsewhere.accept().await, unavailable, &[]).await;
        serve(world, "1").await
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        for logins in 1..=3 {
            logged_in(&session, logins).await;
            session.execute(test_unit_ready()).await.result.unwrap();
        }
        let used = session.login().address;
        assert_eq!(used, world.portal());
    };
    join(script, client).await;
}

/// Section 13.8: the tag behind the comma is that of the portal group there.
async fn c75_the_portal_group_of_a_redirection_counts(world: &World) {
    let elsewhere = world.case(0).await;
    let address = format!("{},7", elsewhere.portal());
    let mut options = SessionOptions::default();
    options.require_portal_group = true;
    let script = async {
        let mut first = world.accept().await;
        refuse(&mut first, TEMPORARILY, &[("TargetAddress", &address)]).await;
        let mut second = elsewhere.accept().await;
        let exchange = second.hear_login().await.unwrap();
        let answers = exchange.answers(&[("TargetPortalGroupTag", "8")]);
        second.say_login(exchange.agreed(), &answers).await.unwrap();
        is_ended(&mut second).await;
    };
    let mut to = world.to_with(options);
    to.portal = of_group(world, 1);
    let error = fails(&world.initiator(), &to, script).await;
    let expected = PeerIncompatible::PortalGroup {
        expected: TargetPortalGroupTag(7),
        found: Some(TargetPortalGroupTag(8)),
    };
    assert_eq!(error, expected.into());
}

/// Section 11.13.5: before the target has proven itself, and after; of several addresses the first is as good as any.
async fn c75_a_redirection_may_come_at_any_time(world: &World) {
    for number in 0..4 {
        let world = world.case(2 * number).await;
        let elsewhere = world.case(2 * number + 1).await;
        let first = format!("{},1", elsewhere.portal());
        let keys = [
            ("TargetAddress", first.as_str()),
            ("TargetAddress", "192.0.2.1:3260,2"),
        ];
        let script = async {
            let mut peer = world.accept().await;
            let exchange = match number {
                0 => peer.hear_login().await.unwrap(),
                1 => chap::hear_algorithms(&mut peer).await,
                2 => chap::challenge(&mut peer, &chap::ASK).await,
                _ => {
                    let answer = chap::challenge(&mut peer, &chap::ASK).await;
                    let nothing: [(&str, &str); 0] = [];
                    peer.say_login(answer.agreed(), &nothing).await.unwrap();
                    peer.hear_login().await.unwrap()
                }
            };
            refuse_it(&mut peer, &exchange, TEMPORARILY, &keys).await;
            // The target there is the same one, and is answered the same way.
            let mut peer = elsewhere.accept().await;
            let answer = chap::challenge(&mut peer, &chap::ASK).await;
            chap::let_in(&mut peer, &answer, &[]).await;
        };
        let to = chap::to(&world, &chap::one_way());
        chap::works(&world.initiator(), &to, script).await;
    }
}

/// A first login that is refused is an error, after one try; it says whether another may succeed. (So may one that was
/// refused for an unknown target or for too many connections: a volume moves, old sessions end.) A session that was up tries again, after longer and
/// longer waits: an access list may be corrected, a target come back. Meanwhile its commands fail with the reason.
async fn c76_a_refused_login_is_not_tried_at_once_again(world: &World) {
    let statuses = [
        (2, 0, false),
        (2, 1, false),
        (2, 2, false),
        (2, 3, true),
        (2, 6, true),
        (2, 4, false),
        (3, 0, true),
        (3, 1, true),
        (3, 2, true),
        (3, 0x77, true),
        (2, 0x77, false),
    ];
    for (number, (class, detail, transient)) in statuses.into_iter().enumerate() {
        let world = world.case(number).await;
        let status = LoginStatus { class, detail };
        let initiator = world.initiator();
        let script = async {
            refuse(&mut world.accept().await, status, &[]).await;
        };
        let to = world.to();
        let (refused, ()) = join(initiator.connect_spawned(&to), script).await;
        let error = refused.unwrap_err();
        let found = super::steps::protocol_error(&error);
        assert_eq!(found, Error::LoginRejected(status));
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(world.accept_any().now_or_never().is_none(), "tried again");
    }
    let kinds = [(2, ErrorKind::Auth), (3, ErrorKind::Transport)];
    for (number, (class, kind)) in kinds.into_iter().enumerate() {
        let world = world.case(20 + number).await;
        let status = LoginStatus { class, detail: 1 };
        let script = async {
            drop(serve(&world, "1").await);
            let mut refused = Vec::new();
            for _ in 0..5 {
                let mut peer = world.accept().await;
                refused.push(world.runtime.now());
                refuse(&mut peer, status, &[]).await;
            }
            // The waits are at least 50, 100, 200 and 400 ms.
            for (wait, pair) in [50, 100, 200, 400].into_iter().zip(refused.windows(2)) {
                assert!((pair[1] - pair[0]).as_millis() >= wait, "{refused:?}");
            }
            serve(&world, "1").await
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            session.execute(test_unit_ready()).await.result.unwrap();
            let mut status = session.status();
            while !is_refused(&status.state) {
                status = session.changed(status.generation).await;
            }
            let meanwhile = session.execute(test_unit_ready()).await;
            assert_eq!(meanwhile.result.unwrap_err().kind(), kind);
            logged_in(&session, 2).await;
            session.execute(test_unit_ready()).await.result.unwrap();
            assert_eq!(session.stats().login_failures, 5);
        };
        join(script, client).await;
    }
}

fn is_refused(state: &SessionState) -> bool {
    match state {
        SessionState::Down {
            reason: DownReason::Login(error),
            ..
        } => matches!(error.failure(), LoginFailure::Protocol(_)),
        _ => false,
    }
}
