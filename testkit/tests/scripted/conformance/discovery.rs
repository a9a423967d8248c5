//! Discovery sessions and text exchanges (RFC 7143 sections 4.3, 11.10, 11.11 and 13.3, appendix C).

use futures_util::future::join;
use iscsi_client::bind::Bind;
use iscsi_proto::{
    Lun, Portal, TargetTransferTag,
    pdu::{LogoutResponseCode, Pdu, TextRequest},
    text::send_targets::Discovered,
};
use iscsi_testkit::scripted::{End, Peer, Say};

use super::steps::{NONE, held, text};
use crate::support::{INITIATOR, TARGET, World, rows};

rows! {
    c25_a_discovery_session_is_for_text_only;
    c86_send_targets_asks_for_all_only_in_discovery;
    c87_a_text_is_asked_for_round_by_round;
}

/// Discovers; the script answers the text request and what follows it, and the logout is granted.
async fn discover(world: &World, script: impl AsyncFnOnce(&mut Peer)) -> Discovered {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        script(&mut peer).await;
        let end = peer.hear_the_end().await;
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    };
    let initiator = world.initiator();
    let portal = Portal::from(world.portal());
    let discover = initiator.discover(&portal, &Bind::Any);
    join(script, discover).await.1.unwrap()
}

/// Sections 4.3, 6.3 and 13.21: such a session says so in its first request, names no target, negotiates nothing that
/// is of no use to it, and sends nothing but text requests, pings and its logout.
async fn c25_a_discovery_session_is_for_text_only(world: &World) {
    const IRRELEVANT: [&str; 8] = [
        "MaxConnections",
        "InitialR2T",
        "ImmediateData",
        "MaxBurstLength",
        "FirstBurstLength",
        "MaxOutstandingR2T",
        "DataPDUInOrder",
        "DataSequenceInOrder",
    ];
    let script = async {
        let mut peer = world.accept().await;
        let first = peer.hear_login().await.unwrap();
        assert_eq!(first.value("InitiatorName"), Some(INITIATOR));
        assert_eq!(first.value("SessionType"), Some("Discovery"));
        peer.say_login(first.agreed(), &first.answers(&[]))
            .await
            .unwrap();
        let offers = peer.hear_login().await.unwrap();
        // What the target offers of it is irrelevant.
        let mut answers = offers.answers(&[]);
        answers.extend(IRRELEVANT.map(|key| (key.into(), "1".into())));
        peer.say_login(held(&offers), &answers).await.unwrap();
        let replies = peer.hear_login().await.unwrap();
        let expected = IRRELEVANT.map(|key| (key.to_owned(), "Irrelevant".to_owned()));
        assert_eq!(replies.keys, expected);
        peer.say_login(replies.agreed(), &NONE).await.unwrap();
        for exchange in [&first, &offers] {
            assert_eq!(exchange.value("TargetName"), None);
            for key in IRRELEVANT {
                assert_eq!(exchange.value(key), None, "{key}");
            }
        }
        let mut logouts = 0;
        loop {
            match peer.hear().await {
                Ok(frame) => match frame.pdu().unwrap() {
                    Pdu::TextRequest(request) => {
                        // A ping in between, as any target may send it.
                        peer.say(Say::ping(5), []).await.unwrap();
                        let targets = text(&[("TargetName", TARGET)]);
                        peer.say(Say::text(request.itt), targets).await.unwrap();
                    }
                    Pdu::NopOut(_) => {}
                    Pdu::LogoutRequest(request) => {
                        logouts += 1;
                        let granted = Say::logout(request.itt, LogoutResponseCode::Closed);
                        peer.say(granted, []).await.unwrap();
                    }
                    other => panic!("{other}"),
                },
                Err(_) => return logouts,
            }
        }
    };
    let initiator = world.initiator();
    let portal = Portal::from(world.portal());
    let (logouts, found) = join(script, initiator.discover(&portal, &Bind::Any)).await;
    assert_eq!(found.unwrap().targets[0].name.as_str(), TARGET);
    assert_eq!(logouts, 1);
}

/// Appendix C: `All` is for discovery sessions; in a normal session the empty value asks for its own target.
async fn c86_send_targets_asks_for_all_only_in_discovery(world: &World) {
    let found = discover(world, async |peer| {
        let (request, data) = peer.hear_pdu::<TextRequest>().await.unwrap();
        assert_eq!(data, b"SendTargets=All\0");
        peer.say(Say::text(request.itt), []).await.unwrap();
    });
    assert_eq!(found.await.targets, []);
    let normal = world.case(0).await;
    let script = async {
        let mut peer = normal.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (request, data) = peer.hear_pdu::<TextRequest>().await.unwrap();
        assert_eq!(data, b"SendTargets=\0");
        let own = text(&[("TargetName", TARGET), ("TargetAddress", "10.0.0.1:3260,1")]);
        peer.say(Say::text(request.itt), own).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = normal.initiator();
    let client = async {
        let session = initiator.connect_spawned(&normal.to()).await.unwrap();
        let found = session.send_targets().await.unwrap();
        assert_eq!(found.targets[0].portals.len(), 1);
        session.close().await;
    };
    join(script, client).await;
}

/// Sections 11.10 and 11.11: the first request has the reserved tag; each further one that of the response before it,
/// with its LUN, the task tag of the first, and no text.
async fn c87_a_text_is_asked_for_round_by_round(world: &World) {
    const ROUNDS: u32 = 5;
    let names: Vec<_> = (0..40).map(|n| format!("{TARGET}-{n}")).collect();
    let keys: Vec<_> = names
        .iter()
        .map(|name| ("TargetName", name.as_str()))
        .collect();
    let whole = text(&keys);
    // With the C bit, and without it where a piece ends between two keys.
    for (number, inside) in [true, false].into_iter().enumerate() {
        let world = world.case(number).await;
        let entry = |at: usize| whole[..at].iter().filter(|byte| **byte == 0).count();
        let piece = whole.len() / ROUNDS as usize;
        let cut = |round: u32| match round {
            ROUNDS => whole.len(),
            _ => {
                let at = piece * round as usize;
                let entry_end = whole[at..].iter().position(|byte| *byte == 0).unwrap();
                if inside { at } else { at + entry_end + 1 }
            }
        };
        let found = discover(&world, async |peer| {
            let (first, data) = peer.hear_pdu::<TextRequest>().await.unwrap();
            assert_eq!(data, b"SendTargets=All\0");
            assert_eq!(first.ttt, TargetTransferTag::RESERVED);
            assert!(first.is_final && !first.cont);
            let mut from = 0;
            for round in 1..=ROUNDS {
                let mut response = Say::text(first.itt);
                response.is_final = round == ROUNDS;
                response.cont = inside && round < ROUNDS;
                if round < ROUNDS {
                    response.ttt = TargetTransferTag(round * 0x0101_0101);
                    response.lun = Lun::new(round as u16);
                }
                let to = cut(round);
                peer.say(response, &whole[from..to]).await.unwrap();
                from = to;
                if round < ROUNDS {
                    let (next, data) = peer.hear_pdu::<TextRequest>().await.unwrap();
                    assert_eq!(next.itt, first.itt);
                    assert_eq!((next.ttt, next.lun), (response.ttt, response.lun));
                    assert!(!next.cont && data.is_empty());
                    assert_ne!(next.cmd_sn, first.cmd_sn, "a command of its own");
                }
            }
        });
        let found = found.await;
        let found: Vec<_> = found
            .targets
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        assert_eq!(found, names, "{}", entry(whole.len()));
    }
}
