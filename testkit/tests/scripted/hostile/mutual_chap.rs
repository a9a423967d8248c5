//! Mutual CHAP with a target that cannot prove itself (RFC 7143 sections 9.2.1 and 12.1.3).

use futures_util::future::join;
use iscsi_client::{bind::Bind, isid::SessionSlot, session::SessionOptions};
use iscsi_proto::{
    DecodeError, Error, PeerIncompatible, PeerMisbehaved,
    login::{ChapCredentials, CredentialError, Secret, TargetCredentials},
    pdu::TextRequest,
};
use iscsi_testkit::scripted::{LoginExchange, Peer, Say};
use md5::{Digest as _, Md5};

use super::{
    chap::{CHALLENGE, OURS, THEIRS, fails, hear_algorithms, hear_answer, md5, mutual},
    reaction::{login_fails, protocol},
};
use crate::support::{World, rows};

rows! {
    h54_a_name_that_is_not_the_targets;
    h55_a_challenge_of_ours_comes_back;
    h56_a_proof_made_with_our_own_secret;
    h57_a_proof_that_is_none;
    h58_a_proof_that_does_not_come;
    h58_nor_in_discovery;
}

const IMPOSTOR: Error = Error::PeerIncompatible(PeerIncompatible::TargetNotAuthentic);
const MALFORMED: Error = Error::PeerMisbehaved(PeerMisbehaved::Chap);

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("0x{}", digits.collect::<String>())
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("0x").unwrap();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What who knows `secret` answers to the challenge in `exchange`.
pub(crate) fn proof(exchange: &LoginExchange, secret: &[u8]) -> Vec<u8> {
    let identifier: u8 = exchange.value("CHAP_I").unwrap().parse().unwrap();
    let challenge = unhex(exchange.value("CHAP_C").unwrap());
    let hash = Md5::new().chain_update([identifier]);
    hash.chain_update(secret)
        .chain_update(challenge)
        .finalize()
        .to_vec()
}

/// The login whose challenge gets this answer.
async fn proven(
    world: &World,
    keys: impl FnOnce(&LoginExchange) -> Vec<(&'static str, String)>,
) -> Error {
    let script = async |peer: &mut Peer| {
        let exchange = hear_answer(peer).await;
        let keys = keys(&exchange);
        peer.say_login(exchange.agreed(), &keys).await.unwrap();
    };
    fails(world, mutual(), md5(), script).await
}

/// Ends a login in good order, from the initiator's own challenge on.
pub(crate) async fn prove(peer: &mut Peer, exchange: &LoginExchange) {
    let right = hex(&proof(exchange, THEIRS));
    let keys = [("CHAP_N", "shelf"), ("CHAP_R", right.as_str())];
    peer.say_login(exchange.agreed(), &keys).await.unwrap();
    let last = peer.hear_login().await.unwrap();
    let answers = last.answers(&[]);
    peer.say_login(last.agreed(), &answers).await.unwrap();
}

/// Section 12.1.3: CHAP_N is a text, compared as it is.
async fn h54_a_name_that_is_not_the_targets(world: &World) {
    let long = "n".repeat(8100);
    for name in [
        "",
        "Shelf",
        "shelf ",
        " shelf",
        "user",
        "0x7368656c66",
        "0bc2hlbGY=",
        long.as_str(),
    ] {
        let keys = |exchange: &LoginExchange| {
            let right = hex(&proof(exchange, THEIRS));
            vec![("CHAP_N", name.to_owned()), ("CHAP_R", right)]
        };
        assert_eq!(proven(world, keys).await, IMPOSTOR, "{name:.9}");
    }
    let twice = |exchange: &LoginExchange| {
        let right = hex(&proof(exchange, THEIRS));
        let name = || ("CHAP_N", "shelf".to_owned());
        vec![name(), name(), ("CHAP_R", right)]
    };
    assert_eq!(proven(world, twice).await, MALFORMED);
    let too_long = |_: &LoginExchange| vec![("CHAP_N", "n".repeat(8192))];
    let (length, limit) = (8192, 8191);
    // It takes two responses, the first of which says that it goes on.
    let script = async |peer: &mut Peer| {
        let exchange = hear_answer(peer).await;
        let mut text = Vec::new();
        for (key, value) in too_long(&exchange) {
            text.extend(format!("{key}={value}\0").into_bytes());
        }
        let (first, rest) = text.split_at(8192);
        let mut response = exchange.agreed();
        (response.transit, response.cont) = (false, true);
        peer.say(response, first).await.unwrap();
        let exchange = peer.hear_login().await.unwrap();
        peer.say(exchange.agreed(), rest).await.unwrap();
    };
    let error = fails(world, mutual(), md5(), script).await;
    assert_eq!(error, DecodeError::TextTooLong { length, limit }.into());
}

/// Section 9.2.1: the initiator's challenge, sent back to it on another connection while the login is under way,
/// is not answered. The first login is not touched by it.
async fn h55_a_challenge_of_ours_comes_back(world: &World) {
    let other = world.case(0).await;
    let initiator = world.builder().credentials(mutual()).build();
    let client = async {
        let session = initiator.connect_spawned(&world.to_with(md5())).await;
        session.unwrap()
    };
    let script = async {
        let mut peer = world.accept().await;
        let exchange = hear_answer(&mut peer).await;
        let ours = exchange.value("CHAP_C").unwrap().to_owned();
        let upper = format!("0X{}", ours[2..].to_uppercase());
        for (number, challenge) in [ours, upper].into_iter().enumerate() {
            let slot = SessionSlot {
                number: number as u16 + 1,
                ..SessionSlot::default()
            };
            let to = other.to_with(md5()).with_slot(slot);
            let reflect = async |peer: &mut Peer| {
                let exchange = hear_algorithms(peer).await;
                let keys = [
                    ("CHAP_A", "5"),
                    ("CHAP_I", "9"),
                    ("CHAP_C", challenge.as_str()),
                ];
                peer.say_login(exchange.agreed(), &keys).await.unwrap();
            };
            let login = initiator.connect_spawned(&to);
            let error = login_fails(&other, login, reflect).await;
            assert_eq!(protocol(&error), PeerMisbehaved::ChapReflection.into());
        }
        prove(&mut peer, &exchange).await;
        peer
    };
    let (session, peer) = join(client, script).await;
    assert!(session.login().target_authenticated);
    drop(peer);
}

/// Section 9.2.1: both directions have secrets of their own; whoever answers with ours has it from us.
async fn h56_a_proof_made_with_our_own_secret(world: &World) {
    let keys = |exchange: &LoginExchange| {
        let stolen = hex(&proof(exchange, OURS));
        vec![("CHAP_N", "shelf".to_owned()), ("CHAP_R", stolen)]
    };
    assert_eq!(proven(world, keys).await, IMPOSTOR);
    // Our own answer, sent back.
    let keys = |exchange: &LoginExchange| {
        let own = exchange.value("CHAP_R").unwrap().to_owned();
        vec![("CHAP_N", "shelf".to_owned()), ("CHAP_R", own)]
    };
    assert_eq!(proven(world, keys).await, IMPOSTOR);
    let ours = ChapCredentials::new("user", Secret::new(OURS)).unwrap();
    let same = TargetCredentials::new(Secret::new(OURS)).unwrap();
    let refused = ours.with_target(same).map(|_| ());
    assert_eq!(refused, Err(CredentialError::SameSecret));
}

/// Section 12.1.3: the answer to our challenge, all of it and nothing else. What the target hears is the same
/// in all cases: the end of the connection.
async fn h57_a_proof_that_is_none(world: &World) {
    type Spoil = fn(Vec<u8>) -> Option<String>;
    let cases: &[(Spoil, Error)] = &[
        (|_| None, MALFORMED),
        (|_| Some(String::new()), MALFORMED),
        (|_| Some("0x".into()), MALFORMED),
        (|_| Some("0b".into()), MALFORMED),
        (|right| Some(hex(&right[..15])), MALFORMED),
        (|right| Some(hex(&right[..1])), MALFORMED),
        (|right| Some(hex(&[&right[..], &[0]].concat())), MALFORMED),
        (|right| Some(hex(&[&right[..], &right].concat())), MALFORMED),
        (|right| Some(hex(&right)[2..].to_owned()), MALFORMED),
        (|right| Some(hex(&right)[..33].to_owned()), MALFORMED),
        (|_| Some(CHALLENGE.into()), IMPOSTOR),
        (|_| Some(hex(&[0; 16])), IMPOSTOR),
        (|_| Some(hex(&[0xff; 16])), IMPOSTOR),
    ];
    for (number, (spoil, expected)) in cases.iter().enumerate() {
        let keys = |exchange: &LoginExchange| {
            let mut keys = vec![("CHAP_N", "shelf".to_owned())];
            keys.extend(spoil(proof(exchange, THEIRS)).map(|value| ("CHAP_R", value)));
            keys
        };
        assert_eq!(proven(world, keys).await, *expected, "{number}");
    }
    for bit in 0..128 {
        let keys = |exchange: &LoginExchange| {
            let mut wrong = proof(exchange, THEIRS);
            wrong[bit / 8] ^= 1 << (bit % 8);
            vec![("CHAP_N", "shelf".to_owned()), ("CHAP_R", hex(&wrong))]
        };
        assert_eq!(proven(world, keys).await, IMPOSTOR, "bit {bit}");
    }
    let nameless = |exchange: &LoginExchange| {
        let right = hex(&proof(exchange, THEIRS));
        vec![("CHAP_R", right)]
    };
    assert_eq!(proven(world, nameless).await, MALFORMED);
}

/// A target that takes our proof and gives none gets no session, and not by waiting either.
async fn h58_a_proof_that_does_not_come(world: &World) {
    let missing: Error = PeerIncompatible::TargetProofMissing.into();
    assert_eq!(proven(world, |_| Vec::new()).await, missing);
    let other = |_: &LoginExchange| vec![("TargetAlias", "shelf".to_owned())];
    assert_eq!(proven(world, other).await, missing);
    // It thinks about it, and goes on then.
    let script = async |peer: &mut Peer| {
        let mut exchange = hear_answer(peer).await;
        for _ in 0..5 {
            let mut response = exchange.agreed();
            response.transit = false;
            peer.say(response, []).await.unwrap();
            exchange = peer.hear_login().await.unwrap();
            assert!(exchange.keys.is_empty(), "nothing is said twice");
        }
        peer.say(exchange.agreed(), []).await.unwrap();
    };
    assert_eq!(fails(world, mutual(), md5(), script).await, missing);
    // Straight to full feature phase.
    let script = async |peer: &mut Peer| {
        let exchange = hear_answer(peer).await;
        let mut response = exchange.agreed();
        response.nsg = iscsi_proto::pdu::Stage::FullFeature;
        response.tsih = iscsi_proto::Tsih(1);
        peer.say(response, []).await.unwrap();
    };
    let error = fails(world, mutual(), md5(), script).await;
    assert_eq!(error, PeerMisbehaved::LoginMismatch.into());
    // For ever.
    let script = async |peer: &mut Peer| {
        let mut exchange = hear_answer(peer).await;
        for round in 3..=33 {
            let mut response = exchange.agreed();
            response.transit = false;
            peer.say(response, []).await.unwrap();
            if round < 33 {
                exchange = peer.hear_login().await.unwrap();
            }
        }
    };
    let error = fails(world, mutual(), md5(), script).await;
    assert_eq!(error, PeerMisbehaved::Stalled(32).into());
}

/// The same for SendTargets: without the proof the question is not even asked.
async fn h58_nor_in_discovery(world: &World) {
    let mut options = SessionOptions::default();
    options.chap_algorithms = md5().chap_algorithms;
    let builder = world.builder().credentials(mutual()).options(options);
    let initiator = builder.build();
    let portal = world.portal().into();
    let script = async |peer: &mut Peer| {
        let exchange = hear_answer(peer).await;
        peer.say(exchange.agreed(), []).await.unwrap();
    };
    let discovery = initiator.discover(&portal, &Bind::Any);
    let error = login_fails(world, discovery, script).await;
    let missing = PeerIncompatible::TargetProofMissing.into();
    assert_eq!(protocol(&error), missing);
    let script = async {
        let mut peer = world.accept().await;
        let exchange = hear_answer(&mut peer).await;
        prove(&mut peer, &exchange).await;
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        peer.say(Say::text(request.itt), []).await.unwrap();
        peer.hear_the_end().await;
    };
    let (found, ()) = join(initiator.discover(&portal, &Bind::Any), script).await;
    assert!(found.unwrap().targets.is_empty());
}
