//! Mutual CHAP (RFC 7143 sections 9.2.1 and 12.1.3): the target proves itself too, or there is no
//! login.

use crate::support::{CHALLENGE, Script, mutual, normal, with_chap};
use iscsi_proto::{
    Error, PeerIncompatible, PeerMisbehaved, TargetPortalGroupTag,
    error::Consequence,
    login::{ChapAlgorithm, LoginConfig},
    pdu::Stage,
};

/// Algorithm, length of its digest, our response, and the target's to our challenge; the responses by
/// another implementation of the hashes (Python's hashlib).
const VECTORS: [(&str, usize, &str, &str); 4] = [
    (
        "5",
        16,
        "0xef910a2d1d35c138582e5a4a0ed5b759",
        "0xb1a787dbc0e58183737ca8827527bab3",
    ),
    (
        "6",
        20,
        "0x08fb48f951481c9d694d7970ed546cd008312bfa",
        "0x11bc2b1c0dcaec740f5b6f77ce29e194dd961ac7",
    ),
    (
        "7",
        32,
        "0xd6988c0cf7016578a04b9f8cbb157e191c4940978c65b3002eddfaf5e4f12524",
        "0xb3989036d6063a17161bfc9c1c530815bf48685173271bcadf19e2fede631e76",
    ),
    (
        "8",
        32,
        "0x281b880ee9b3cc70e78da13dc2cb9385c49a38e416235961de133041ba032417",
        "0x4e8ae582ee0542e988d8513c90b04c2101f9569381dcf4c793618d8163dc09cf",
    ),
];

/// A login that has sent its answer and its own challenge under algorithm `number`.
fn challenged(config: LoginConfig, number: &str, challenge: &str) -> Script {
    let mut script = Script::new(config);
    script
        .answer("AuthMethod=CHAP TargetPortalGroupTag=1")
        .unwrap();
    let keys = format!("CHAP_A={number} CHAP_I=90 CHAP_C={challenge}");
    script.answer(&keys).unwrap();
    script
}

fn refused(mut script: Script, pairs: &str, transit: bool, error: impl Into<Error>) {
    let error = error.into();
    let result = script.answer_with(pairs, |h| h.transit = transit);
    assert_eq!(result, Err(error), "{pairs}");
    assert!(script.login.transmit().is_empty());
}

/// C-77, in the four steps of section 12.1.3; the last answer comes with or without the transition,
/// and the challenge in hex or base64.
#[test]
fn each_algorithm_proves_both_sides() {
    for (number, length, ours, theirs) in VECTORS {
        for (transit, challenge) in [(true, CHALLENGE), (false, "0bAAECAwQFBgcICQoLDA0ODw==")] {
            let mut script = Script::new(mutual(normal()));
            assert_eq!(script.value("AuthMethod"), Some("CHAP"));
            script.answer("AuthMethod=CHAP").unwrap();
            assert_eq!(script.said, "CHAP_A=8,7,6,5 ");
            assert!(script.login.chap_challenges().is_none());
            let keys = format!("CHAP_A={number} CHAP_I=90 CHAP_C={challenge}");
            script.answer(&keys).unwrap();
            let own = "13".repeat(length);
            assert_eq!(
                script.said,
                format!("CHAP_N=user CHAP_R={ours} CHAP_I=18 CHAP_C=0x{own} ")
            );
            let (sent, received) = script.login.chap_challenges().unwrap();
            assert_eq!(sent, Some(&[0x13; 32][..length]));
            assert_eq!(received, (0..16).collect::<Vec<u8>>());
            let proof = format!("CHAP_N=shelf CHAP_R={theirs}");
            script.answer_with(&proof, |h| h.transit = transit).unwrap();
            if !transit {
                assert_eq!(script.request.csg, Stage::SecurityNegotiation);
                assert!(script.said.is_empty() && script.request.transit);
                script.answer("").unwrap();
            }
            assert_eq!(script.request.csg, Stage::OperationalNegotiation);
            script.answer("").unwrap();
            let logged_in = script.complete();
            assert!(logged_in.is_authenticated() && logged_in.is_target_authenticated());
            let algorithm = logged_in.chap_algorithm().unwrap();
            assert_eq!(algorithm.number().to_string(), number);
        }
    }
}

#[test]
fn one_way_chap_proves_nothing_of_the_target() {
    let mut script = challenged(with_chap(normal()), "8", CHALLENGE);
    assert_eq!(script.value("CHAP_C"), None);
    let (ours, _) = script.login.chap_challenges().unwrap();
    assert!(ours.is_none());
    script.answer("").unwrap();
    script.answer("").unwrap();
    let logged_in = script.complete();
    assert!(logged_in.is_authenticated() && !logged_in.is_target_authenticated());
    assert_eq!(logged_in.chap_algorithm(), Some(ChapAlgorithm::Sha3_256));
}

#[test]
fn a_target_that_skips_its_answer_gets_no_session() {
    let missing = PeerIncompatible::TargetProofMissing;
    let script = challenged(mutual(normal()), "5", CHALLENGE);
    refused(script, "", true, missing);
    // It may hold the transition, but not for ever, and not with anything else.
    let mut script = challenged(mutual(normal()), "5", CHALLENGE);
    for _ in 0..3 {
        script.answer_with("", |h| h.transit = false).unwrap();
        assert!(script.said.is_empty() && script.request.transit);
    }
    refused(script, "X-vendor=1", true, missing);
    assert_eq!(Error::from(missing).consequence(), Consequence::GiveUp);
}

#[test]
fn a_target_with_another_secret_or_name_gets_no_session() {
    let impostor = PeerIncompatible::TargetNotAuthentic;
    for (number, length, ours, theirs) in VECTORS {
        let start = |pairs: &str, error: Error| {
            let script = challenged(mutual(normal()), number, CHALLENGE);
            refused(script, pairs, true, error);
        };
        let zeros = "00".repeat(length);
        start(&format!("CHAP_N=shelf CHAP_R=0x{zeros}"), impostor.into());
        start(&format!("CHAP_N=shelf CHAP_R={ours}"), impostor.into());
        start(&format!("CHAP_N=other CHAP_R={theirs}"), impostor.into());
        let malformed = Error::from(PeerMisbehaved::Chap);
        start(&format!("CHAP_R={theirs}"), malformed);
        start("CHAP_N=shelf", malformed);
        start(&format!("CHAP_N=shelf CHAP_R={theirs}00"), malformed);
        start(
            &format!("CHAP_N=shelf CHAP_R=0x{}", &theirs[4..]),
            malformed,
        );
        start("CHAP_N=shelf CHAP_R=0b", malformed);
        let twice = format!("CHAP_N=shelf CHAP_R={theirs} CHAP_R={theirs}");
        start(&twice, malformed);
    }
    assert_eq!(Error::from(impostor).consequence(), Consequence::GiveUp);
}

/// The proof has its place: after our challenge, once.
#[test]
fn a_proof_out_of_turn_is_refused() {
    let (number, _, _, theirs) = VECTORS[0];
    let proof = format!("CHAP_N=shelf CHAP_R={theirs}");
    let out_of_turn = PeerMisbehaved::Chap;
    let early = format!("AuthMethod=CHAP {proof}");
    refused(Script::new(mutual(normal())), &early, false, out_of_turn);
    let mut script = Script::new(mutual(normal()));
    script.answer("AuthMethod=CHAP").unwrap();
    let with_challenge = format!("CHAP_A={number} CHAP_I=90 CHAP_C={CHALLENGE} {proof}");
    refused(script, &with_challenge, false, out_of_turn);
    let mut script = challenged(mutual(normal()), number, CHALLENGE);
    script.answer_with(&proof, |h| h.transit = false).unwrap();
    refused(script, &proof, true, out_of_turn);
    let script = challenged(with_chap(normal()), number, CHALLENGE);
    refused(script, &proof, true, out_of_turn);
}

/// Nothing that depends on a secret was said to who sends our own challenge back.
#[test]
fn a_reflected_challenge_is_not_answered() {
    for (number, length, ..) in VECTORS {
        let mut script = Script::new(mutual(normal()));
        script.answer("AuthMethod=CHAP").unwrap();
        let reflected = format!("CHAP_A={number} CHAP_I=18 CHAP_C=0x{}", "13".repeat(length));
        refused(script, &reflected, false, PeerMisbehaved::ChapReflection);
    }
}

/// Mutual CHAP is required even where one-way CHAP would not be.
#[test]
fn the_targets_proof_is_never_optional() {
    let script = Script::new(mutual(normal()).with_require_chap(false));
    assert_eq!(script.value("AuthMethod"), Some("CHAP"));
    refused(
        script,
        "AuthMethod=None",
        false,
        PeerIncompatible::AuthenticationSkipped,
    );
}

/// C-27. The wrong group learns nothing that depends on a secret.
#[test]
fn a_required_portal_group_is_checked_before_anything_is_proven() {
    let expected = TargetPortalGroupTag(3);
    let config = || mutual(normal()).with_portal_group(Some(expected));
    for (pairs, found) in [
        ("AuthMethod=CHAP", None),
        ("AuthMethod=CHAP TargetPortalGroupTag=0", Some(0)),
        ("AuthMethod=CHAP TargetPortalGroupTag=2", Some(2)),
    ] {
        let found = found.map(TargetPortalGroupTag);
        let error = PeerIncompatible::PortalGroup { expected, found };
        refused(Script::new(config()), pairs, false, error);
    }
    let mut script = Script::new(config());
    script
        .answer("AuthMethod=CHAP TargetPortalGroupTag=3")
        .unwrap();
    assert!(script.said.starts_with("CHAP_A="));
}
