//! CHAP of a target that wants more than it should get, or gives less (RFC 7143 sections 9.2.1 and 12.1.3).

use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    DecodeError, Error, PeerIncompatible, PeerMisbehaved,
    login::{ChapAlgorithm, ChapCredentials, Secret, TargetCredentials},
};
use iscsi_testkit::scripted::{LoginExchange, Peer};

use super::reaction::{login_fails, protocol};
use crate::support::{World, rows};

rows! {
    h51_a_challenge_that_is_no_binary_value;
    h52_an_identifier_or_algorithm_that_is_none;
    h59_authentication_is_not_skipped;
    h60_keys_out_of_their_order;
    h61_a_challenge_that_proves_nothing;
}

pub(crate) const OURS: &[u8] = iscsi_testkit::canary::OURS.as_bytes();
pub(crate) const THEIRS: &[u8] = iscsi_testkit::canary::THEIRS.as_bytes();
pub(crate) const CHALLENGE: &str = "0x000102030405060708090a0b0c0d0e0f";

const MALFORMED: Error = Error::PeerMisbehaved(PeerMisbehaved::Chap);

pub(crate) fn one_way() -> ChapCredentials {
    ChapCredentials::new("user", Secret::new(OURS)).unwrap()
}

/// The target calls itself "shelf".
pub(crate) fn mutual() -> ChapCredentials {
    let target = TargetCredentials::new(Secret::new(THEIRS)).unwrap();
    let target = target.with_name("shelf").unwrap();
    one_way().with_target(target).unwrap()
}

/// MD5 alone, so that there is nothing less to fall back to.
pub(crate) fn md5() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.chap_algorithms = vec![ChapAlgorithm::Md5];
    options
}

/// Agrees to CHAP, and hears the algorithms.
pub(crate) async fn hear_algorithms(peer: &mut Peer) -> LoginExchange {
    let exchange = peer.hear_login().await.unwrap();
    assert_eq!(exchange.value("AuthMethod"), Some("CHAP"));
    let chap = [("AuthMethod", "CHAP"), ("TargetPortalGroupTag", "1")];
    peer.say_login(exchange.agreed(), &chap).await.unwrap();
    let exchange = peer.hear_login().await.unwrap();
    assert_eq!(exchange.value("CHAP_A"), Some("5"));
    exchange
}

/// Challenges the initiator, and hears its answer.
pub(crate) async fn hear_answer(peer: &mut Peer) -> LoginExchange {
    let exchange = hear_algorithms(peer).await;
    let challenge = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", CHALLENGE)];
    peer.say_login(exchange.agreed(), &challenge).await.unwrap();
    let exchange = peer.hear_login().await.unwrap();
    assert_eq!(exchange.value("CHAP_N"), Some("user"));
    assert!(exchange.value("CHAP_R").is_some() && exchange.request.transit);
    exchange
}

/// A login with these credentials that `script` spoils.
pub(crate) async fn fails(
    world: &World,
    credentials: ChapCredentials,
    options: SessionOptions,
    script: impl AsyncFnOnce(&mut Peer),
) -> Error {
    let initiator = world.builder().credentials(credentials).build();
    let to = world.to_with(options);
    protocol(&login_fails(world, initiator.connect_spawned(&to), script).await)
}

/// The login to whose algorithms the target says this. No answer leaves: it would depend on the secret.
async fn challenged(world: &World, keys: &[(&str, &str)]) -> Error {
    let script = async |peer: &mut Peer| {
        let exchange = hear_algorithms(peer).await;
        peer.say_login(exchange.agreed(), keys).await.unwrap();
    };
    fails(world, mutual(), md5(), script).await
}

/// Sections 6.1 and 12.1.3: hexadecimal or base64, of 1 to 1024 bytes.
async fn h51_a_challenge_that_is_no_binary_value(world: &World) {
    let too_long = format!("0x{}", "00".repeat(1025));
    let too_long_in_base64 = format!("0b{}AAA=", "AAAA".repeat(341));
    for challenge in [
        "",
        "0x",
        "0b",
        "0x0",
        "0x000102030405060708090",
        "0xzz0102030405060708090a",
        "000102030405060708090a0b",
        "0c000102030405060708090a",
        "0x 00102030405060708090a",
        "0bAAECAwQFBgcICQoLDA0OD*==",
        "0bAAECAwQFBgcICQoLDA0ODw",
        "0bAAECAwQFBgcICQoLDA0ODx==",
        "0b====",
        too_long.as_str(),
        too_long_in_base64.as_str(),
    ] {
        let keys = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", challenge)];
        assert_eq!(challenged(world, &keys).await, MALFORMED, "{challenge}");
    }
    let endless = "0".repeat(8180);
    let keys = [("CHAP_C", endless.as_str())];
    assert_eq!(challenged(world, &keys).await, MALFORMED);
}

/// Section 12.1.3: an identifier of one byte, one algorithm of those that were offered, and each key once.
async fn h52_an_identifier_or_algorithm_that_is_none(world: &World) {
    for identifier in ["256", "-1", "", "0x100", "+1", "1.0", "4294967296"] {
        let keys = [
            ("CHAP_A", "5"),
            ("CHAP_I", identifier),
            ("CHAP_C", CHALLENGE),
        ];
        assert_eq!(challenged(world, &keys).await, MALFORMED, "{identifier}");
    }
    // 7 is an algorithm that was not offered.
    for algorithm in ["7", "0", "6", "5,7", "", "md5", "261", "-5"] {
        let keys = [
            ("CHAP_A", algorithm),
            ("CHAP_I", "1"),
            ("CHAP_C", CHALLENGE),
        ];
        assert_eq!(challenged(world, &keys).await, MALFORMED, "{algorithm}");
    }
    let all = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", CHALLENGE)];
    for missing in 0..all.len() {
        let mut some = all.to_vec();
        some.remove(missing);
        assert_eq!(challenged(world, &some).await, MALFORMED, "{some:?}");
    }
    for twice in all {
        let mut more = all.to_vec();
        more.push(twice);
        assert_eq!(challenged(world, &more).await, MALFORMED, "{more:?}");
    }
    for word in ["Reject", "NotUnderstood", "Irrelevant"] {
        let error = challenged(world, &[("CHAP_A", word)]).await;
        assert_eq!(error, PeerIncompatible::NoCommonAuthMethod.into(), "{word}");
    }
}

/// Section 9.2.1 and 12.1: the initiator that requires CHAP offers nothing else, and goes nowhere without it;
/// nothing that depends on a secret was said.
async fn h59_authentication_is_not_skipped(world: &World) {
    let skipped: Error = PeerIncompatible::AuthenticationSkipped.into();
    let mut lenient = md5();
    lenient.require_chap = false;
    for (credentials, options) in [
        (one_way(), md5()),
        (mutual(), md5()),
        // Whoever is to prove itself has to, whatever is said of our own proof.
        (mutual(), lenient),
    ] {
        let first = async |keys: &[(&str, &str)], flags: u8| {
            let script = async |peer: &mut Peer| {
                let exchange = peer.hear_login().await.unwrap();
                assert_eq!(exchange.value("AuthMethod"), Some("CHAP"));
                assert!(!exchange.request.transit);
                let text = exchange.agreed();
                let mut said = String::new();
                for (key, value) in keys {
                    said += &format!("{key}={value}\0");
                }
                let mut frame = iscsi_testkit::scripted::Frame::new(text, said);
                peer.number(&mut frame);
                frame.bhs.as_bytes_mut()[1] = flags;
                peer.say_as_it_is(&frame).await.unwrap();
            };
            fails(world, credentials.clone(), options.clone(), script).await
        };
        for method in ["None", "NotUnderstood", "Irrelevant"] {
            for flags in [0, 0x81, 0x87] {
                let error = first(&[("AuthMethod", method)], flags).await;
                assert_eq!(error, skipped, "{method} {flags:#x}");
            }
        }
        // It is not answered, or agreed to and passed by.
        for flags in [0x00, 0x81, 0x83, 0x04, 0x87] {
            assert_eq!(first(&[], flags).await, skipped, "{flags:#x}");
        }
        for flags in [0x81, 0x83, 0x04, 0x87] {
            let error = first(&[("AuthMethod", "CHAP")], flags).await;
            assert_eq!(error, skipped, "{flags:#x}");
        }
        let error = first(&[("AuthMethod", "Reject")], 0).await;
        assert_eq!(error, PeerIncompatible::NoCommonAuthMethod.into());
        for method in ["SRP", "CHAP,None", "chap"] {
            let error = first(&[("AuthMethod", method)], 0).await;
            assert_eq!(error, PeerMisbehaved::BadValue.into(), "{method}");
        }
        // Past the algorithms.
        for (keys, flags) in [
            (&[][..], 0x81),
            (&[("CHAP_A", "5")][..], 0x81),
            (&[][..], 0x04),
        ] {
            let script = async |peer: &mut Peer| {
                let exchange = hear_algorithms(peer).await;
                let mut said = String::new();
                for (key, value) in keys {
                    said += &format!("{key}={value}\0");
                }
                let mut frame = iscsi_testkit::scripted::Frame::new(exchange.agreed(), said);
                peer.number(&mut frame);
                frame.bhs.as_bytes_mut()[1] = flags;
                peer.say_as_it_is(&frame).await.unwrap();
            };
            let error = fails(world, credentials.clone(), options.clone(), script).await;
            assert_eq!(error, skipped, "{keys:?} {flags:#x}");
        }
    }
}

/// Section 12.1.3: method, algorithm and challenge, answer; each key where it belongs, and nowhere else.
async fn h60_keys_out_of_their_order(world: &World) {
    let proof = [("CHAP_N", "shelf"), ("CHAP_R", CHALLENGE)];
    let challenge = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", CHALLENGE)];
    let response = async |at: usize, keys: &[(&str, &str)], credentials: ChapCredentials| {
        let script = async |peer: &mut Peer| {
            let exchange = match at {
                0 => peer.hear_login().await.unwrap(),
                1 => hear_algorithms(peer).await,
                2 => hear_answer(peer).await,
                _ => {
                    let exchange = hear_answer(peer).await;
                    let none: [(&str, &str); 0] = [];
                    peer.say_login(exchange.agreed(), &none).await.unwrap();
                    peer.hear_login().await.unwrap()
                }
            };
            peer.say_login(exchange.agreed(), keys).await.unwrap();
        };
        fails(world, credentials, md5(), script).await
    };
    for key in challenge {
        // With the method, behind the answer, and in the operational stage.
        let early = [("AuthMethod", "CHAP"), key];
        assert_eq!(response(0, &early, one_way()).await, MALFORMED, "{key:?}");
        assert_eq!(response(2, &[key], one_way()).await, MALFORMED, "{key:?}");
        assert_eq!(response(2, &[key], mutual()).await, MALFORMED, "{key:?}");
        assert_eq!(response(3, &[key], one_way()).await, MALFORMED, "{key:?}");
    }
    for key in proof {
        for at in 0..4 {
            let mut keys = vec![key];
            match at {
                0 => keys.push(("AuthMethod", "CHAP")),
                1 => keys.extend(challenge),
                _ => {}
            }
            let error = response(at, &keys, one_way()).await;
            assert_eq!(error, MALFORMED, "{at}: {key:?}");
        }
    }
    for at in 1..4 {
        let again = [("AuthMethod", "CHAP")];
        let error = response(at, &again, one_way()).await;
        assert_eq!(error, PeerMisbehaved::DuplicateKey.into(), "{at}");
    }
    // Too long for a key that is none of CHAP's large ones.
    let long = "1".repeat(300);
    let keys = [("X-CHAP_C", long.as_str())];
    let (length, limit) = (300, 255);
    let expected = DecodeError::TextTooLong { length, limit }.into();
    assert_eq!(response(1, &keys, one_way()).await, expected);
}

/// A challenge of less than eight bytes is not answered. (One that came before is: who repeats it learns what is
/// known to him, and who wants another answer takes another challenge.)
async fn h61_a_challenge_that_proves_nothing(world: &World) {
    for challenge in [
        "0x00",
        "0xff",
        "0x00010203040506",
        "0bAAECAwQFBg==",
        "0bAA==",
    ] {
        let keys = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", challenge)];
        let error = challenged(world, &keys).await;
        assert_eq!(error, PeerMisbehaved::WeakChallenge.into(), "{challenge}");
    }
    let mut answers = Vec::new();
    for _ in 0..2 {
        let script = async |peer: &mut Peer| {
            let exchange = hear_algorithms(peer).await;
            let eight = "0x0001020304050607";
            let keys = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", eight)];
            peer.say_login(exchange.agreed(), &keys).await.unwrap();
            let answer = peer.hear_login().await.unwrap();
            answers.push(answer.value("CHAP_R").map(str::to_owned));
            peer.say_login(answer.agreed(), &keys).await.unwrap();
        };
        let error = fails(world, one_way(), md5(), script).await;
        assert_eq!(error, MALFORMED);
    }
    assert!(answers[0].is_some() && answers[0] == answers[1]);
}
