//! CHAP: who says what, and when (RFC 7143 sections 9.2.1 and 12.1.3, RFC 1994).

use std::collections::BTreeSet;

use futures_util::future::join;
use iscsi_client::{
    initiator::{Initiator, LoginRate, SessionTarget},
    isid::SessionSlot,
    session::SessionOptions,
};
use iscsi_proto::{
    Error, PeerIncompatible, PeerMisbehaved,
    login::{Authentication, ChapAlgorithm, ChapCredentials, Secret, TargetCredentials},
    pdu::{LoginResponse, Stage},
    text::binary,
};
use iscsi_testkit::scripted::{LoginExchange, Peer};
use md5::{Digest as _, Md5};

use super::steps::{GROUP, NONE, agree, fails, held, is_ended, say_good};
use crate::support::{World, rows, test_unit_ready};

rows! {
    c77_keys_come_in_their_order;
    c77_keys_out_of_order_end_the_login;
    c81_challenges_are_fresh;
    c82_a_reflected_challenge_is_fatal;
}

const SECRET: &[u8] = iscsi_testkit::canary::OURS.as_bytes();
const TARGET_SECRET: &[u8] = iscsi_testkit::canary::THEIRS.as_bytes();
pub(super) const CHALLENGE: &str = "0x000102030405060708090a0b0c0d0e0f";
const CHAP: Error = Error::PeerMisbehaved(PeerMisbehaved::Chap);

pub(super) fn one_way() -> ChapCredentials {
    ChapCredentials::new("user", Secret::new(SECRET)).unwrap()
}

pub(super) fn mutual() -> ChapCredentials {
    let target = TargetCredentials::new(Secret::new(TARGET_SECRET)).unwrap();
    one_way().with_target(target).unwrap()
}

/// With MD5 only, so that there is one login and not one with each algorithm.
pub(super) fn to(world: &World, credentials: &ChapCredentials) -> SessionTarget {
    let mut options = SessionOptions::default();
    options.chap_algorithms = vec![ChapAlgorithm::Md5];
    world
        .to_with(options)
        .with_authentication(Authentication::Chap(credentials.clone()))
}

fn hash(identifier: u8, secret: &[u8], challenge: &str) -> Vec<u8> {
    let challenge = binary::decode(challenge, 1024).unwrap();
    let hash = Md5::new().chain_update([identifier]);
    hash.chain_update(secret)
        .chain_update(challenge)
        .finalize()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// The answer that is owed to a challenge.
pub(super) fn response(identifier: u8, challenge: &str) -> String {
    hex(&hash(identifier, SECRET, challenge))
}

/// The target's proof for the challenge in this request.
pub(super) fn proof(asked: &LoginExchange) -> Vec<u8> {
    let identifier = asked.value("CHAP_I").unwrap().parse().unwrap();
    hash(identifier, TARGET_SECRET, asked.value("CHAP_C").unwrap())
}

fn names(exchange: &LoginExchange) -> Vec<&str> {
    exchange.keys.iter().map(|(key, _)| key.as_str()).collect()
}

/// Chooses CHAP, and hears the algorithms.
pub(super) async fn hear_algorithms(peer: &mut Peer) -> LoginExchange {
    let first = peer.hear_login().await.unwrap();
    assert_eq!(first.value("AuthMethod"), Some("CHAP"));
    assert!(!first.request.transit, "there is more to come");
    let chosen = [GROUP, ("AuthMethod", "CHAP")];
    peer.say_login(held(&first), &chosen).await.unwrap();
    peer.hear_login().await.unwrap()
}

/// The same, challenges, and hears the answer.
pub(super) async fn challenge(peer: &mut Peer, keys: &[(&str, &str)]) -> LoginExchange {
    let algorithms = hear_algorithms(peer).await;
    peer.say_login(held(&algorithms), keys).await.unwrap();
    peer.hear_login().await.unwrap()
}

pub(super) const ASK: [(&str, &str); 3] = [("CHAP_A", "5"), ("CHAP_I", "9"), ("CHAP_C", CHALLENGE)];

/// Lets the initiator in, with these keys at the end of the security stage.
pub(super) async fn let_in(peer: &mut Peer, asked: &LoginExchange, keys: &[(&str, &str)]) {
    peer.say_login(asked.agreed(), keys).await.unwrap();
    let offers = peer.hear_login().await.unwrap();
    agree(peer, &offers).await;
    say_good(peer).await;
}

/// A login that is answered by `script`, and a command in its session.
pub(super) async fn works(
    initiator: &Initiator,
    to: &SessionTarget,
    script: impl Future<Output = ()>,
) {
    let client = async {
        let session = initiator.connect_spawned(to).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
        session.login()
    };
    let ((), login) = join(script, client).await;
    let Some(Authentication::Chap(credentials)) = &to.authentication else {
        unreachable!("CHAP is what this file is about");
    };
    assert_eq!(login.chap, Some(ChapAlgorithm::Md5));
    assert_eq!(login.target_authenticated, credentials.is_mutual());
}

/// Section 12.1.3: A; then N and R, with I and C if the target has to prove itself too; T not before.
async fn c77_keys_come_in_their_order(world: &World) {
    for (number, credentials) in [one_way(), mutual()].into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let algorithms = hear_algorithms(&mut peer).await;
            assert_eq!(algorithms.keys, [("CHAP_A".to_owned(), "5".to_owned())]);
            assert!(!algorithms.request.transit);
            peer.say_login(held(&algorithms), &ASK).await.unwrap();
            let answer = peer.hear_login().await.unwrap();
            let request = &answer.request;
            assert_eq!(
                (request.csg, request.transit),
                (Stage::SecurityNegotiation, true)
            );
            assert_eq!(answer.value("CHAP_N"), Some("user"));
            assert_eq!(
                answer.value("CHAP_R"),
                Some(response(9, CHALLENGE).as_str())
            );
            if !credentials.is_mutual() {
                assert_eq!(names(&answer), ["CHAP_N", "CHAP_R"]);
                return let_in(&mut peer, &answer, &[]).await;
            }
            assert_eq!(names(&answer), ["CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"]);
            assert_ne!(answer.value("CHAP_C"), Some(CHALLENGE), "section 9.2.1");
            // A target may think about it.
            peer.say_login(held(&answer), &NONE).await.unwrap();
            let asked = peer.hear_login().await.unwrap();
            assert_eq!(asked.keys, []);
            let proof = hex(&proof(&answer));
            let_in(
                &mut peer,
                &asked,
                &[("CHAP_N", "shelf"), ("CHAP_R", &proof)],
            )
            .await;
        };
        works(&world.initiator(), &to(&world, &credentials), script).await;
    }
}

/// Where the target says what it should not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Method,
    Challenge,
    Verdict,
}

/// Section 12.1.3: an initiator that gets another key than those whose turn it is closes the connection. It does not
/// come out of the security stage by it, least of all with its secret used.
async fn c77_keys_out_of_order_end_the_login(world: &World) {
    const A: (&str, &str) = ("CHAP_A", "5");
    const I: (&str, &str) = ("CHAP_I", "9");
    const C: (&str, &str) = ("CHAP_C", CHALLENGE);
    const N: (&str, &str) = ("CHAP_N", "shelf");
    const R: (&str, &str) = ("CHAP_R", CHALLENGE);
    const METHOD: (&str, &str) = ("AuthMethod", "CHAP");
    let skipped = Error::from(PeerIncompatible::AuthenticationSkipped);
    let unproven = Error::from(PeerIncompatible::TargetProofMissing);
    let twice = Error::from(PeerMisbehaved::DuplicateKey);
    // Whether it is mutual, where, what, with T or without, and what the initiator makes of it.
    type Case = (
        bool,
        At,
        &'static [(&'static str, &'static str)],
        bool,
        Error,
    );
    let cases: &[Case] = &[
        (false, At::Method, &[GROUP, METHOD, A, I, C], false, CHAP),
        (false, At::Method, &[GROUP, METHOD, N, R], false, CHAP),
        (false, At::Method, &[GROUP, METHOD], true, skipped),
        (
            false,
            At::Method,
            &[GROUP, ("AuthMethod", "None")],
            false,
            skipped,
        ),
        (false, At::Method, &[GROUP], false, skipped),
        (false, At::Challenge, &[], false, CHAP),
        (false, At::Challenge, &[A, I], false, CHAP),
        (false, At::Challenge, &[A, C], false, CHAP),
        (false, At::Challenge, &[I, C], false, CHAP),
        (false, At::Challenge, &[A, I, C, N, R], false, CHAP),
        (false, At::Challenge, &[A, A, I, C], false, CHAP),
        (false, At::Challenge, &[METHOD, A, I, C], false, twice),
        (false, At::Challenge, &[A, I, C], true, skipped),
        (false, At::Verdict, &[N, R], true, CHAP),
        (false, At::Verdict, &[A, I, C], false, CHAP),
        (true, At::Verdict, &[N], true, CHAP),
        (true, At::Verdict, &[R], true, CHAP),
        (true, At::Verdict, &[], true, unproven),
        (true, At::Verdict, &[A, I, C], false, CHAP),
        (true, At::Verdict, &[A, I, C, N, R], true, CHAP),
    ];
    for (number, (is_mutual, at, keys, transit, expected)) in cases.iter().enumerate() {
        let world = world.case(number).await;
        let credentials = if *is_mutual { mutual() } else { one_way() };
        let script = async {
            let mut peer = world.accept().await;
            let exchange = match at {
                At::Method => peer.hear_login().await.unwrap(),
                At::Challenge => hear_algorithms(&mut peer).await,
                At::Verdict => challenge(&mut peer, &ASK).await,
            };
            let response = match transit {
                true => LoginResponse {
                    transit: true,
                    nsg: Stage::OperationalNegotiation,
                    ..exchange.agreed()
                },
                false => held(&exchange),
            };
            peer.say_login(response, keys).await.unwrap();
            is_ended(&mut peer).await;
        };
        let error = fails(&world.initiator(), &to(&world, &credentials), script).await;
        assert_eq!(error, *expected, "{at:?} {keys:?}");
    }
}

/// The same, in a session of its own.
fn in_slot(to: &SessionTarget, number: u16) -> SessionTarget {
    to.clone().with_slot(SessionSlot {
        number,
        ..SessionSlot::default()
    })
}

/// Section 9.2.1 and RFC 1994 section 2.3: a challenge is never used again, neither in another login nor as the answer
/// to the target's.
async fn c81_challenges_are_fresh(world: &World) {
    let rounds = if world.is_simulated() { 50 } else { 10 };
    let mut challenges = BTreeSet::new();
    let mut identifiers = BTreeSet::new();
    let initiator = world.builder().login_rate(LoginRate::unlimited()).build();
    let to = to(world, &mutual());
    let other = in_slot(&to, 1);
    for _ in 0..rounds {
        // Two logins at a time.
        let mut asked = Vec::new();
        let script = async {
            let mut first = world.accept().await;
            asked.push(challenge(&mut first, &ASK).await);
            let script = async {
                let mut second = world.accept().await;
                asked.push(challenge(&mut second, &ASK).await);
            };
            let (given_up, ()) = join(initiator.connect_spawned(&other), script).await;
            assert!(given_up.is_err(), "the script went away");
        };
        let (given_up, ()) = join(initiator.connect_spawned(&to), script).await;
        assert!(given_up.is_err(), "the script went away");
        for asked in asked {
            let own = binary::decode(asked.value("CHAP_C").unwrap(), 1024).unwrap();
            assert_eq!(own.len(), 16, "as long as the hash");
            assert!(challenges.insert(own), "used before");
            identifiers.insert(asked.value("CHAP_I").unwrap().to_owned());
        }
    }
    assert!(identifiers.len() > rounds / 2, "{identifiers:?}");
}

/// Proves the target, and lets the initiator in.
async fn prove(peer: &mut Peer, asked: &LoginExchange) {
    let proof = hex(&proof(asked));
    let_in(peer, asked, &[("CHAP_N", "shelf"), ("CHAP_R", &proof)]).await;
}

/// Section 9.2.1: whoever challenges the initiator with what it has asked in another login wants it to answer its own
/// question. The same identifier means nothing.
async fn c82_a_reflected_challenge_is_fatal(world: &World) {
    let initiator = world.initiator();
    let to = to(world, &mutual());
    let script = async {
        let mut first = world.accept().await;
        let asked = challenge(&mut first, &ASK).await;
        let (i, c) = (
            asked.value("CHAP_I").unwrap(),
            asked.value("CHAP_C").unwrap(),
        );
        let reflected = [("CHAP_A", "5"), ("CHAP_I", i), ("CHAP_C", c)];
        let script = async {
            let mut second = world.accept().await;
            let algorithms = hear_algorithms(&mut second).await;
            second
                .say_login(held(&algorithms), &reflected)
                .await
                .unwrap();
            // It is not answered.
            is_ended(&mut second).await;
        };
        let error = fails(&initiator, &in_slot(&to, 1), script).await;
        assert_eq!(error, PeerMisbehaved::ChapReflection.into());
        // The identifier alone is the target's to use.
        let script = async {
            let mut third = world.accept().await;
            let keys = [("CHAP_A", "5"), ("CHAP_I", i), ("CHAP_C", CHALLENGE)];
            let asked = challenge(&mut third, &keys).await;
            prove(&mut third, &asked).await;
        };
        works(&initiator, &in_slot(&to, 2), script).await;
        prove(&mut first, &asked).await;
    };
    works(&initiator, &to, script).await;
}
