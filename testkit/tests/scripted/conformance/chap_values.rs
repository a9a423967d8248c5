//! CHAP: the values of its keys (RFC 7143 section 12.1.3).

use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    Error, PeerIncompatible, PeerMisbehaved,
    login::{
        Authentication, ChapAlgorithm, ChapCredentials, CredentialError, Secret, TargetCredentials,
    },
};

use super::{
    chap::{
        ASK, CHALLENGE, challenge, hear_algorithms, let_in, mutual, one_way, proof, response, to,
        works,
    },
    steps::{fails, held, is_ended},
};
use crate::support::{World, rows};

rows! {
    c78_the_algorithm_is_one_of_the_offered;
    c79_the_identifier_is_one_octet;
    c80_the_challenge_is_hexadecimal_or_base64;
    c83_names_are_the_peers_to_choose;
    c84_a_proof_that_is_none_ends_the_login;
    c85_weak_and_equal_secrets_are_refused;
}

const CHAP: Error = Error::PeerMisbehaved(PeerMisbehaved::Chap);

/// Challenges with these keys; `Ok` is the response to expect.
async fn judge(world: &World, keys: [(&str, &str); 3], expected: Result<String, Error>) {
    let script = async {
        let mut peer = world.accept().await;
        match &expected {
            Ok(response) => {
                let answer = challenge(&mut peer, &keys).await;
                assert_eq!(answer.value("CHAP_R"), Some(response.as_str()), "{keys:?}");
                let_in(&mut peer, &answer, &[]).await;
            }
            Err(_) => {
                let algorithms = hear_algorithms(&mut peer).await;
                peer.say_login(held(&algorithms), &keys).await.unwrap();
                is_ended(&mut peer).await;
            }
        }
    };
    let (initiator, to) = (world.initiator(), to(world, &one_way()));
    match &expected {
        Ok(_) => works(&initiator, &to, script).await,
        Err(expected) => {
            let error = fails(&initiator, &to, script).await;
            assert_eq!(error, *expected, "{keys:.40?}");
        }
    }
}

/// One value of the list that was offered, which here is 5 alone.
async fn c78_the_algorithm_is_one_of_the_offered(world: &World) {
    let none = Error::from(PeerIncompatible::NoCommonAuthMethod);
    for (number, (algorithm, error)) in [
        ("5", None),
        ("0x5", None),
        ("6", Some(CHAP)),
        ("7", Some(CHAP)),
        ("8", Some(CHAP)),
        ("0", Some(CHAP)),
        ("261", Some(CHAP)),
        ("5,5", Some(CHAP)),
        ("5,6", Some(CHAP)),
        ("abc", Some(CHAP)),
        ("MD5", Some(CHAP)),
        ("", Some(CHAP)),
        ("Reject", Some(none)),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let keys = [
            ("CHAP_A", algorithm),
            ("CHAP_I", "9"),
            ("CHAP_C", CHALLENGE),
        ];
        let expected = error.map_or_else(|| Ok(response(9, CHALLENGE)), Err);
        judge(&world, keys, expected).await;
    }
}

/// A number from 0 to 255, which is hashed as one octet.
async fn c79_the_identifier_is_one_octet(world: &World) {
    for (number, (identifier, octet)) in [
        ("0", Some(0)),
        ("1", Some(1)),
        ("127", Some(127)),
        ("128", Some(128)),
        ("255", Some(255)),
        ("0xff", Some(255)),
        ("256", None),
        ("-1", None),
        ("1e1", None),
        ("4294967296", None),
        ("", None),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let keys = [
            ("CHAP_A", "5"),
            ("CHAP_I", identifier),
            ("CHAP_C", CHALLENGE),
        ];
        let expected = octet.map(|octet| response(octet, CHALLENGE)).ok_or(CHAP);
        judge(&world, keys, expected).await;
    }
}

/// At most 1024 bytes, in either coding. Fewer than 8 could be answered from a table; they are no challenge for this
/// initiator.
async fn c80_the_challenge_is_hexadecimal_or_base64(world: &World) {
    let hex = |bytes: usize| format!("0x{}", "a7".repeat(bytes));
    // Three bytes in four digits.
    let base64 = |bytes: usize| match bytes % 3 {
        0 => format!("0b{}", "Zm9v".repeat(bytes / 3)),
        1 => format!("0b{}Zg==", "Zm9v".repeat(bytes / 3)),
        _ => format!("0b{}Zm8=", "Zm9v".repeat(bytes / 3)),
    };
    let weak = Some(Error::from(PeerMisbehaved::WeakChallenge));
    for (number, (challenge, error)) in [
        (hex(8), None),
        (hex(16), None),
        (hex(1023), None),
        (hex(1024), None),
        (base64(8), None),
        (base64(16), None),
        (base64(1023), None),
        (base64(1024), None),
        ("0XA7A7a7a7A7a7A7A7".into(), None),
        (hex(1025), Some(CHAP)),
        (base64(1025), Some(CHAP)),
        (hex(4000), Some(CHAP)),
        (hex(7), weak),
        (base64(1), weak),
        (hex(0), Some(CHAP)),
        ("0b".into(), Some(CHAP)),
        ("".into(), Some(CHAP)),
        ("0xa7a7a7a7a7a7a7a7a".into(), Some(CHAP)),
        ("0xa7a7a7a7a7a7a7g7".into(), Some(CHAP)),
        ("0bZm9vZm9vZm9vZ".into(), Some(CHAP)),
        ("0bZm9vZm9vZm9vZh==".into(), Some(CHAP)),
        ("a7a7a7a7a7a7a7a7".into(), Some(CHAP)),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let keys = [
            ("CHAP_A", "5"),
            ("CHAP_I", "9"),
            ("CHAP_C", challenge.as_str()),
        ];
        let expected = match error {
            None => Ok(response(9, &challenge)),
            Some(error) => Err(error),
        };
        judge(&world, keys, expected).await;
    }
}

/// What a target calls itself and how it proves it; `Ok` if it is let go on.
async fn prove(
    world: &World,
    credentials: &ChapCredentials,
    name: &str,
    change: impl Fn(&[u8]) -> String,
    expected: Result<(), Error>,
) {
    let script = async {
        let mut peer = world.accept().await;
        let answer = challenge(&mut peer, &ASK).await;
        assert_eq!(answer.value("CHAP_N"), Some(credentials.name()));
        let proof = change(&proof(&answer));
        let keys = [("CHAP_N", name), ("CHAP_R", proof.as_str())];
        match expected {
            Ok(()) => let_in(&mut peer, &answer, &keys).await,
            Err(_) => {
                peer.say_login(answer.agreed(), &keys).await.unwrap();
                is_ended(&mut peer).await;
            }
        }
    };
    let (initiator, to) = (world.initiator(), to(world, credentials));
    match expected {
        Ok(()) => works(&initiator, &to, script).await,
        Err(expected) => {
            let error = fails(&initiator, &to, script).await;
            assert_eq!(error, expected, "{name:.40}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// CHAP_N is a text: whatever the user is called at the target, and whatever the target calls itself, as long as
/// nothing else was agreed on.
async fn c83_names_are_the_peers_to_choose(world: &World) {
    let (long, longest) = ("n".repeat(255), "n".repeat(8000));
    let unproven = Error::from(PeerIncompatible::TargetNotAuthentic);
    let cases = [
        (None, "shelf", Ok(())),
        (None, "0x7368656c66", Ok(())),
        (None, "a=b, c", Ok(())),
        (None, long.as_str(), Ok(())),
        (None, longest.as_str(), Ok(())),
        (Some("shelf"), "shelf", Ok(())),
        (Some(long.as_str()), long.as_str(), Ok(())),
        (Some("shelf"), "Shelf", Err(unproven)),
        (Some("shelf"), "shel", Err(unproven)),
        (Some("shelf"), "user", Err(unproven)),
        (Some("shelf"), "", Err(unproven)),
    ];
    for (number, (configured, name, expected)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let target =
            TargetCredentials::new(Secret::new(iscsi_testkit::canary::THEIRS.as_bytes())).unwrap();
        let target = match configured {
            Some(name) => target.with_name(name).unwrap(),
            None => target,
        };
        let own = ["u", "a=b, c", "Benutzer \u{e4}", long.as_str()][number % 4];
        let credentials =
            ChapCredentials::new(own, Secret::new(iscsi_testkit::canary::OURS.as_bytes())).unwrap();
        let credentials = credentials.with_target(target).unwrap();
        prove(&world, &credentials, name, hex, expected).await;
    }
}

/// A response that is wrong, too short, too long or no binary value.
async fn c84_a_proof_that_is_none_ends_the_login(world: &World) {
    let unproven = Error::from(PeerIncompatible::TargetNotAuthentic);
    type Change = fn(&[u8]) -> String;
    let cases: [(Change, Result<(), Error>); 11] = [
        (hex, Ok(())),
        (
            |proof| hex(proof).to_uppercase().replacen('X', "x", 1),
            Ok(()),
        ),
        (
            |proof| hex(&[&[proof[0] ^ 1], &proof[1..]].concat()),
            Err(unproven),
        ),
        (
            |proof| hex(&[&proof[..15], &[proof[15] ^ 0x80]].concat()),
            Err(unproven),
        ),
        (|_| response(9, CHALLENGE), Err(unproven)),
        (|proof| hex(&proof[..15]), Err(CHAP)),
        (|proof| hex(&[proof, &[0]].concat()), Err(CHAP)),
        (|proof| hex(&proof.repeat(64)), Err(CHAP)),
        (|proof| hex(proof)[..33].into(), Err(CHAP)),
        (|_| "0x".into(), Err(CHAP)),
        (|_| "".into(), Err(CHAP)),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        prove(&world, &mutual(), "shelf", change, expected).await;
    }
}

/// Section 9.2.1: secrets of less than 96 bits must not be used without further protection of the connection, and the
/// two directions must not have the same. Whoever has that protection has to say so.
async fn c85_weak_and_equal_secrets_are_refused(world: &World) {
    let secret = |len| Secret::new(&vec![b's'; len]);
    for len in [1, 11] {
        let weak = ChapCredentials::new("user", secret(len)).unwrap_err();
        assert_eq!(weak, CredentialError::WeakSecret);
        let weak = TargetCredentials::new(secret(len)).unwrap_err();
        assert_eq!(weak, CredentialError::WeakSecret);
    }
    let own = ChapCredentials::new("user", secret(12)).unwrap();
    let same = own.with_target(TargetCredentials::new(secret(12)).unwrap());
    assert_eq!(same.unwrap_err(), CredentialError::SameSecret);
    let own = ChapCredentials::with_weak_secret("user", secret(5)).unwrap();
    let same = own
        .clone()
        .with_target(TargetCredentials::with_weak_secret(secret(5)).unwrap());
    assert_eq!(same.unwrap_err(), CredentialError::SameSecret);
    // Said so: it is used.
    let mut options = SessionOptions::default();
    options.chap_algorithms = vec![ChapAlgorithm::Md5];
    let to = world
        .to_with(options)
        .with_authentication(Authentication::Chap(own));
    let script = async {
        let mut peer = world.accept().await;
        let answer = challenge(&mut peer, &ASK).await;
        assert!(answer.value("CHAP_R").is_some());
        let_in(&mut peer, &answer, &[]).await;
    };
    works(&world.initiator(), &to, script).await;
}
