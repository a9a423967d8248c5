//! Texts of a login: names of keys, keys that nobody knows, and texts that need several PDUs (RFC 7143 sections 6.1,
//! 6.2, 11.12.2 and 11.13.7).

use futures_util::future::join;
use iscsi_proto::{
    DecodeError, TargetPortalGroupTag,
    pdu::{LoginResponse, Stage},
};
use iscsi_testkit::scripted::{LoginExchange, Peer};

use super::steps::{
    DUPLICATE, GROUP, NONE, agree, fails, hear_offers, held, is_ended, offering, say_good, text,
};
use crate::support::{World, rows, test_unit_ready};

rows! {
    c08_names_of_keys_are_case_sensitive_and_short;
    c12_unknown_keys_are_answered_not_understood;
    c18_markers_are_not_enabled;
    c26_authentication_is_negotiated_in_its_stage_only;
    c28_a_text_of_the_target_in_pieces_is_put_together;
    c28_a_text_of_the_initiator_is_sent_in_pieces;
}

/// Logs in with what the script does, and executes one command.
async fn works(world: &World, script: impl Future<Output = ()>) {
    let initiator = world.initiator();
    let client = async {
        let to = world.to_with(offering(|offer| offer));
        let session = initiator.connect_spawned(&to).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
        session.login()
    };
    join(script, client).await;
}

/// Offers keys of the target's own in the operational stage, and returns the answers to them.
async fn offer(peer: &mut Peer, keys: &[(&str, &str)]) -> LoginExchange {
    let offers = hear_offers(peer).await;
    let mut answers = offers.answers(&[]);
    for (key, value) in keys {
        answers.push(((*key).into(), (*value).into()));
    }
    peer.say_login(held(&offers), &answers).await.unwrap();
    peer.hear_login().await.unwrap()
}

fn owned(keys: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    keys.iter().map(own).collect()
}

/// Section 6.1: a standard label begins with a capital letter (but for iSCSIProtocolLevel, which section 13.24 names),
/// has at most 63 bytes, and means another key in other letters.
async fn c08_names_of_keys_are_case_sensitive_and_short(world: &World) {
    let longest = "K".repeat(63);
    let script = async {
        let mut peer = world.accept().await;
        let strange = [
            ("headerdigest", "CRC32C"),
            ("Headerdigest", "CRC32C"),
            ("MAXBURSTLENGTH", "512"),
            (longest.as_str(), "1"),
        ];
        let replies = offer(&mut peer, &strange).await;
        let expected = strange.map(|(key, _)| (key, "NotUnderstood"));
        assert_eq!(replies.keys, owned(&expected));
        peer.say_login(replies.agreed(), &NONE).await.unwrap();
        // Nothing came of them: there is no digest in what follows.
        say_good(&mut peer).await;
    };
    works(world, script).await;
    let case = world.case(0).await;
    let script = async {
        let mut peer = case.accept().await;
        for exchange in peer.log_in(&[]).await.unwrap() {
            for (key, _) in exchange.keys {
                let capital = key.starts_with(|first: char| first.is_ascii_uppercase());
                assert!(capital || key == "iSCSIProtocolLevel", "{key}");
                assert!(key.len() <= 63, "{key}");
            }
        }
        say_good(&mut peer).await;
    };
    works(&case, script).await;
    let case = world.case(1).await;
    let script = async {
        let mut peer = case.accept().await;
        let offers = hear_offers(&mut peer).await;
        let too_long = [("K".repeat(64), "1")];
        peer.say_login(held(&offers), &too_long).await.unwrap();
        is_ended(&mut peer).await;
    };
    let error = fails(&case.initiator(), &case.to(), script).await;
    let (length, limit) = (64, 63);
    assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
}

/// Section 6.2: a key that is not understood is answered with NotUnderstood, once, in either stage, and the login
/// goes on. The answers to offers are no offers.
async fn c12_unknown_keys_are_answered_not_understood(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let first = peer.hear_login().await.unwrap();
        let strange = [
            GROUP,
            ("X-com.example.colour", "red"),
            ("AuthMethod", "None"),
        ];
        peer.say_login(first.agreed(), &strange).await.unwrap();
        let offers = peer.hear_login().await.unwrap();
        assert_eq!(offers.value("X-com.example.colour"), Some("NotUnderstood"));
        let unknown = [
            ("Bar", "1"),
            ("X#NodeArchitecture", "x"),
            ("X-a", ""),
            ("Y-b", "No"),
        ];
        let mut answers = offers.answers(&[]);
        // That was an answer.
        answers.retain(|(key, _)| key != "X-com.example.colour");
        answers.extend(owned(&unknown));
        peer.say_login(held(&offers), &answers).await.unwrap();
        let replies = peer.hear_login().await.unwrap();
        let expected = unknown.map(|(key, _)| (key, "NotUnderstood"));
        assert_eq!(replies.keys, owned(&expected));
        // With the last answer comes one more, which nobody can wait for.
        let last = [("X-late", "1")];
        peer.say_login(replies.agreed(), &last).await.unwrap();
        say_good(&mut peer).await;
    };
    works(world, script).await;
}

/// Section 13.25: the keys of the markers are never offered; they are answered with No, and their intervals with
/// Reject.
async fn c18_markers_are_not_enabled(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let offered = [
            ("IFMarker", "Yes"),
            ("OFMarker", "Yes"),
            ("IFMarkInt", "2048~8192"),
            ("OFMarkInt", "2048"),
        ];
        let replies = offer(&mut peer, &offered).await;
        let expected = [
            ("IFMarker", "No"),
            ("OFMarker", "No"),
            ("IFMarkInt", "Reject"),
            ("OFMarkInt", "Reject"),
        ];
        assert_eq!(replies.keys, owned(&expected));
        peer.say_login(replies.agreed(), &NONE).await.unwrap();
        say_good(&mut peer).await;
    };
    works(world, script).await;
    let case = world.case(0).await;
    let script = async {
        let mut peer = case.accept().await;
        for exchange in peer.log_in(&[]).await.unwrap() {
            assert!(exchange.keys.iter().all(|(key, _)| !key.contains("Mark")));
        }
        say_good(&mut peer).await;
    };
    works(&case, script).await;
}

/// Section 12.1: AuthMethod and what belongs to it is for the security stage.
async fn c26_authentication_is_negotiated_in_its_stage_only(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let exchanges = peer.log_in(&[]).await.unwrap();
        for exchange in &exchanges {
            let securing = exchange.request.csg == Stage::SecurityNegotiation;
            assert_eq!(exchange.value("AuthMethod").is_some(), securing);
        }
        say_good(&mut peer).await;
    };
    works(world, script).await;
    let keys = [("AuthMethod", "None"), ("CHAP_A", "5"), ("CHAP_N", "x")];
    for (number, key) in keys.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            peer.say_login(held(&offers), &[key]).await.unwrap();
            is_ended(&mut peer).await;
        };
        let error = fails(&world.initiator(), &world.to(), script).await;
        let expected = match key.0 {
            "AuthMethod" => DUPLICATE,
            _ => iscsi_proto::PeerMisbehaved::Chap.into(),
        };
        assert_eq!(error, expected, "{key:?}");
    }
}

/// Says a text in three pieces, each of which but the last is answered with an empty request. Returns the request
/// after the last.
async fn say_in_pieces(peer: &mut Peer, exchange: LoginExchange, text: &[u8]) -> LoginExchange {
    let (first, rest) = text.split_at(1);
    let (second, third) = rest.split_at(rest.len() / 2);
    let mut exchange = exchange;
    for piece in [first, second] {
        let response = LoginResponse {
            cont: true,
            ..held(&exchange)
        };
        peer.say(response, piece).await.unwrap();
        let csg = exchange.request.csg;
        exchange = peer.hear_login().await.unwrap();
        let request = &exchange.request;
        assert_eq!(
            (request.transit, request.cont, request.csg),
            (false, false, csg)
        );
        assert_eq!(exchange.keys, []);
    }
    peer.say(held(&exchange), third).await.unwrap();
    peer.hear_login().await.unwrap()
}

/// Sections 6.2 and 11.13.7: a text with the C bit goes on, even inside a word; each piece is answered with an empty
/// text without T.
async fn c28_a_text_of_the_target_in_pieces_is_put_together(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        let first = peer.hear_login().await.unwrap();
        let answers = text(&[
            ("TargetAlias", "a shelf"),
            ("TargetPortalGroupTag", "77"),
            ("AuthMethod", "None"),
        ]);
        let again = say_in_pieces(&mut peer, first, &answers).await;
        assert!(again.request.transit);
        peer.say_login(again.agreed(), &NONE).await.unwrap();
        let offers = peer.hear_login().await.unwrap();
        let answers = offers.answers(&[("MaxBurstLength", "65536"), ("FirstBurstLength", "4096")]);
        let answers: Vec<_> = answers
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let again = say_in_pieces(&mut peer, offers, &text(&answers)).await;
        assert!(again.request.transit);
        peer.say_login(again.agreed(), &NONE).await.unwrap();
        say_good(&mut peer).await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
        let login = session.login();
        assert_eq!(login.portal_group(), Some(TargetPortalGroupTag(77)));
        let found = &login.parameters;
        assert_eq!(found.target_alias.as_deref(), Some("a shelf"));
        assert_eq!(
            (found.max_burst_length, found.first_burst_length),
            (65_536, 4096)
        );
    };
    join(script, client).await;
}

/// The same in the other direction: what is longer than the target's MaxRecvDataSegmentLength (section 13.12) goes
/// into several requests, without T before the last; whoever answers a piece with a text is out of turn.
async fn c28_a_text_of_the_initiator_is_sent_in_pieces(world: &World) {
    let unknown: Vec<_> = (0..60).map(|n| format!("X-com.example.{n:02}")).collect();
    for (number, disturbs) in [false, true].into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            let mut answers = offers.answers(&[("MaxRecvDataSegmentLength", "512")]);
            answers.extend(unknown.iter().map(|key| (key.clone(), "1".into())));
            peer.say_login(held(&offers), &answers).await.unwrap();
            let mut gathered = Vec::new();
            let mut pieces = 0;
            let last = loop {
                let (request, data) = peer
                    .hear_pdu::<iscsi_proto::pdu::LoginRequest>()
                    .await
                    .unwrap();
                assert!(data.len() <= 512);
                pieces += 1;
                gathered.extend(data);
                if !request.cont {
                    break request;
                }
                assert!(!request.transit, "C excludes T");
                let exchange = LoginExchange {
                    request,
                    keys: Vec::new(),
                };
                let said: &[(&str, &str)] = if disturbs { &[("X-b", "1")] } else { &[] };
                peer.say_login(held(&exchange), said).await.unwrap();
                if disturbs {
                    return is_ended(&mut peer).await;
                }
            };
            let pairs: Vec<_> = unknown
                .iter()
                .map(|key| (key.as_str(), "NotUnderstood"))
                .collect();
            assert_eq!(gathered, text(&pairs));
            assert_eq!((last.transit, pieces), (true, gathered.len().div_ceil(512)));
            let exchange = LoginExchange {
                request: last,
                keys: Vec::new(),
            };
            agree(&mut peer, &exchange).await;
            say_good(&mut peer).await;
        };
        if disturbs {
            let error = fails(&world.initiator(), &world.to(), script).await;
            assert_eq!(error, iscsi_proto::PeerMisbehaved::Phase.into());
        } else {
            works(&world, script).await;
        }
    }
}
