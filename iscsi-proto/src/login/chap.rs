//! CHAP in both directions (RFC 1994; RFC 7143 section 12.1.3).
//!
//! What CHAP gives: the target learns that we know the secret, and with mutual CHAP we learn the
//! same of the target. What it does not give: nothing binds that to the data path, and a man in the
//! middle may relay the exchange. So a short challenge is refused, and `None` is not offered where
//! CHAP is required.
//!
//! Each step is made of what the step before it left behind: [`ChapKeys`], [`Challenge`],
//! [`Answered`], and with mutual CHAP [`Expected`] and [`TargetProven`].

use alloc::{format, string::String, sync::Arc, vec::Vec};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq as _;

use crate::{
    error::{Error, PeerIncompatible, PeerMisbehaved},
    login::credentials::{ChapAlgorithm, ChapCredentials},
    planted::{Bug, Planted},
    text::{
        Key, binary,
        codec::TextBuf,
        negotiate::{Answer, parse_number},
    },
};

/// The longest challenge or response (section 12.1.3).
const MAX_BINARY: usize = 1024;
/// The least challenge that we answer. RFC 1994 wants it unique and unpredictable; a target that
/// sends fewer bytes than this is broken, or fishing for pairs to look up.
const MIN_CHALLENGE: usize = 8;
/// The longest digest, and so the longest challenge of ours.
const MAX_DIGEST: usize = 32;

/// What our own challenge is made of, drawn before anything is known of the target.
#[derive(Debug)]
pub(super) struct Dice {
    identifier: u8,
    bytes: [u8; MAX_DIGEST],
}

impl Dice {
    pub(super) fn throw(entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut identifier = [0];
        entropy(&mut identifier);
        let mut bytes = [0; MAX_DIGEST];
        entropy(&mut bytes);
        let [identifier] = identifier;
        Self { identifier, bytes }
    }
}

/// The target's CHAP_A, CHAP_I and CHAP_C, all of one response.
#[derive(Debug)]
pub(super) struct Challenge {
    algorithm: ChapAlgorithm,
    identifier: u8,
    challenge: Vec<u8>,
}

/// What the three keys were, as they came.
#[derive(Debug, Default)]
pub(super) struct ChapKeys<'a> {
    pub(super) algorithm: Option<&'a str>,
    pub(super) identifier: Option<&'a str>,
    pub(super) challenge: Option<&'a str>,
}

impl ChapKeys<'_> {
    /// Whether any of them came.
    pub(super) const fn any(&self) -> bool {
        self.algorithm.is_some() || self.identifier.is_some() || self.challenge.is_some()
    }

    /// Whether the target refuses every algorithm that we offered.
    fn refused(&self) -> bool {
        self.algorithm
            .is_some_and(|value| !matches!(Answer::of(value), Answer::Value(_)))
    }

    /// Checks them against what we offered.
    pub(super) fn check(&self, offered: &[ChapAlgorithm]) -> Result<Challenge, Error> {
        if self.refused() {
            return Err(PeerIncompatible::NoCommonAuthMethod.into());
        }
        let number = |value: Option<&str>| parse_number(value?, &(0..=255));
        let algorithm = number(self.algorithm)
            .and_then(|n| offered.iter().find(|a| u32::from(a.number()) == n).copied());
        let identifier = number(self.identifier).and_then(|n| u8::try_from(n).ok());
        let challenge = self.challenge.and_then(|c| binary::decode(c, MAX_BINARY));
        let (Some(algorithm), Some(identifier), Some(challenge)) =
            (algorithm, identifier, challenge)
        else {
            return Err(PeerMisbehaved::Chap.into());
        };
        if challenge.len() < MIN_CHALLENGE {
            return Err(PeerMisbehaved::WeakChallenge.into());
        }
        Ok(Challenge {
            algorithm,
            identifier,
            challenge,
        })
    }
}

/// `H(identifier, secret, challenge)`.
fn response(algorithm: ChapAlgorithm, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    fn hash<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        D::new()
            .chain_update([identifier])
            .chain_update(secret)
            .chain_update(challenge)
            .finalize()
            .to_vec()
    }
    let hash = match algorithm {
        ChapAlgorithm::Md5 => hash::<Md5>,
        ChapAlgorithm::Sha1 => hash::<Sha1>,
        ChapAlgorithm::Sha256 => hash::<Sha256>,
        ChapAlgorithm::Sha3_256 => hash::<Sha3_256>,
    };
    hash(identifier, secret, challenge)
}

/// Our answer, and perhaps our own challenge, is on its way.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) algorithm: ChapAlgorithm,
    /// The target's challenge.
    pub(super) theirs: Vec<u8>,
    /// Ours, and what must come back.
    pub(super) ours: Option<(Vec<u8>, Expected)>,
}

impl Challenge {
    /// Writes CHAP_N and CHAP_R, and with mutual CHAP our CHAP_I and CHAP_C.
    pub(super) fn answer(
        self,
        credentials: &ChapCredentials,
        dice: Option<&Dice>,
        text: &mut TextBuf,
    ) -> Result<Answered, Error> {
        let mutual = match (&credentials.target, dice) {
            (None, _) => None,
            (Some(target), Some(dice)) => {
                let own = dice.bytes.get(..self.algorithm.digest_len());
                Some((target, dice.identifier, own.unwrap_or(&dice.bytes)))
            }
            // Nothing was drawn to ask the target with, so it cannot prove anything.
            (Some(_), None) => return Err(PeerIncompatible::TargetProofMissing.into()),
        };
        // Section 9.2.1: an answer to our own challenge is what we want of the target.
        if mutual.is_some_and(|(_, _, own)| own == self.challenge) {
            return Err(PeerMisbehaved::ChapReflection.into());
        }
        let respond = |identifier, secret: &[u8], challenge: &[u8]| {
            response(self.algorithm, identifier, secret, challenge)
        };
        let secret = credentials.secret.expose();
        let hash = respond(self.identifier, secret, &self.challenge);
        text.push(Key::ChapN.name(), credentials.name());
        text.push_binary(Key::ChapR.name(), &hash);
        let ours = mutual.map(|(target, identifier, own)| {
            text.push(Key::ChapI.name(), identifier);
            text.push_binary(Key::ChapC.name(), own);
            let response = respond(identifier, target.secret.expose(), own);
            let name = target.name.clone();
            (own.to_vec(), Expected { name, response })
        });
        Ok(Answered {
            algorithm: self.algorithm,
            theirs: self.challenge,
            ours,
        })
    }
}

/// What an authentic target answers.
pub(super) struct Expected {
    name: Option<Arc<str>>,
    response: Vec<u8>,
}

/// Without the response, which is as good as the secret for as long as the login lasts.
impl core::fmt::Debug for Expected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Expected")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The target's CHAP_N and CHAP_R, as they came.
#[derive(Debug, Default)]
pub(super) struct ProofKeys<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) response: Option<&'a str>,
}

impl ProofKeys<'_> {
    /// Whether any of them came.
    pub(super) const fn any(&self) -> bool {
        self.name.is_some() || self.response.is_some()
    }
}

/// Proof that the target knows its secret.
#[derive(Debug)]
pub(super) struct TargetProven(());

impl Expected {
    pub(super) fn check(
        &self,
        keys: &ProofKeys<'_>,
        planted: Planted,
    ) -> Result<TargetProven, Error> {
        let response = keys.response.and_then(|r| binary::decode(r, MAX_BINARY));
        let (Some(name), Some(response)) = (keys.name, response) else {
            return Err(PeerMisbehaved::Chap.into());
        };
        if response.len() != self.response.len() {
            return Err(PeerMisbehaved::Chap.into());
        }
        let known = self.name.as_deref().is_none_or(|expected| expected == name);
        // Both are looked at in any case, so that the time does not tell which one was wrong.
        let proven: bool = self.response.ct_eq(&response).into();
        if !(known & proven) && !planted.has(Bug::TargetProofIgnored) {
            return Err(PeerIncompatible::TargetNotAuthentic.into());
        }
        Ok(TargetProven(()))
    }
}

/// Writes CHAP_A: the list of algorithms, best first.
pub(super) fn offer_algorithms(algorithms: &[ChapAlgorithm], text: &mut TextBuf) {
    let mut list = String::new();
    for algorithm in algorithms {
        let comma = if list.is_empty() { "" } else { "," };
        list.push_str(&format!("{comma}{}", algorithm.number()));
    }
    text.push(Key::ChapA.name(), list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    use crate::login::{Secret, TargetCredentials};

    const HEX: &str = "0x000102030405060708090a0b0c0d0e0f";

    fn keys<'a>(a: &'a str, i: &'a str, c: &'a str) -> ChapKeys<'a> {
        ChapKeys {
            algorithm: Some(a),
            identifier: Some(i),
            challenge: Some(c),
        }
    }

    fn dice() -> Dice {
        Dice {
            identifier: 7,
            bytes: [0xc5; MAX_DIGEST],
        }
    }

    fn credentials() -> ChapCredentials {
        ChapCredentials::new("user", Secret::new(b"opensesame12")).unwrap()
    }

    fn mutual() -> ChapCredentials {
        let target = TargetCredentials::new(Secret::new(b"Wd3nYp8sGh5Jb6T")).unwrap();
        credentials()
            .with_target(target.with_name("shelf").unwrap())
            .unwrap()
    }

    #[test]
    fn one_key_is_enough_to_be_part_of_chap() {
        let none = ChapKeys::default;
        let one = [
            ChapKeys {
                algorithm: Some("5"),
                ..none()
            },
            ChapKeys {
                identifier: Some("1"),
                ..none()
            },
            ChapKeys {
                challenge: Some(HEX),
                ..none()
            },
        ];
        assert!(one.iter().all(ChapKeys::any) && !none().any());
    }

    #[test]
    fn the_least_challenge_is_taken_and_one_byte_less_is_not() {
        let check = |c| keys("5", "1", c).check(ChapAlgorithm::ALL);
        assert!(check("0x0001020304050607").is_ok());
        let short = check("0x00010203040506").unwrap_err();
        assert_eq!(short, PeerMisbehaved::WeakChallenge.into());
    }

    #[test]
    fn the_answer_that_is_expected_is_not_printed() {
        let expected = Expected {
            name: Some("shelf".into()),
            response: [0xa5; 16].to_vec(),
        };
        let text = format!("{expected:?}");
        assert!(
            text.contains("shelf") && !text.contains("165") && !text.contains("a5"),
            "{text}"
        );
    }

    /// The expected hashes come from another implementation (Python's hashlib).
    #[test]
    fn responses_match_independent_vectors() {
        const BASE64: &str = "0bAAECAwQFBgcICQoLDA0ODw==";
        for (algorithm, challenge, hash) in [
            ("5", HEX, "ef910a2d1d35c138582e5a4a0ed5b759"),
            ("6", HEX, "08fb48f951481c9d694d7970ed546cd008312bfa"),
            (
                "7",
                HEX,
                "d6988c0cf7016578a04b9f8cbb157e191c4940978c65b3002eddfaf5e4f12524",
            ),
            (
                "8",
                HEX,
                "281b880ee9b3cc70e78da13dc2cb9385c49a38e416235961de133041ba032417",
            ),
            ("5", BASE64, "ef910a2d1d35c138582e5a4a0ed5b759"),
            ("6", BASE64, "08fb48f951481c9d694d7970ed546cd008312bfa"),
            (
                "0x5",
                &BASE64.replacen('b', "B", 1),
                "ef910a2d1d35c138582e5a4a0ed5b759",
            ),
        ] {
            let mut text = TextBuf::new();
            let challenge = keys(algorithm, "0x5a", challenge).check(ChapAlgorithm::ALL);
            let answered = challenge
                .unwrap()
                .answer(&credentials(), Some(&dice()), &mut text);
            let answered = answered.unwrap();
            assert_eq!(hash.len(), 2 * answered.algorithm.digest_len());
            assert!(answered.ours.is_none());
            let want = format!("CHAP_N=user\0CHAP_R=0x{hash}\0");
            assert_eq!(text.as_bytes(), want.as_bytes());
        }
    }

    #[test]
    fn our_challenge_is_as_long_as_the_digest_and_never_the_targets() {
        for algorithm in ChapAlgorithm::ALL {
            let number = algorithm.number().to_string();
            let challenge = keys(&number, "1", HEX).check(ChapAlgorithm::ALL).unwrap();
            let mut text = TextBuf::new();
            let answered = challenge
                .answer(&mutual(), Some(&dice()), &mut text)
                .unwrap();
            let (own, _) = answered.ours.unwrap();
            assert_eq!(own, &[0xc5; MAX_DIGEST][..algorithm.digest_len()]);
            let text = String::from_utf8(text.as_bytes().to_vec()).unwrap();
            let sent = format!("\0CHAP_I=7\0CHAP_C=0x{}\0", "c5".repeat(own.len()));
            assert!(text.ends_with(&sent), "{text}");

            let back = format!("0x{}", "c5".repeat(algorithm.digest_len()));
            let reflected = keys(&number, "1", &back).check(ChapAlgorithm::ALL).unwrap();
            let mut text = TextBuf::new();
            let error = reflected
                .answer(&mutual(), Some(&dice()), &mut text)
                .unwrap_err();
            assert_eq!(error, PeerMisbehaved::ChapReflection.into());
            assert!(text.is_empty(), "nothing that depends on a secret is said");
        }
    }

    #[test]
    fn only_the_exact_answer_proves_the_target() {
        let challenge = keys("5", "1", HEX).check(ChapAlgorithm::ALL).unwrap();
        let answered = challenge.answer(&mutual(), Some(&dice()), &mut TextBuf::new());
        let (_, expected) = answered.unwrap().ours.unwrap();
        // MD5 of 07, the secret and sixteen times c5, again by hashlib.
        let right = "0x0c38a18824bee00ae3d3ce71a7de3323";
        let check = |name: Option<&str>, response: Option<&str>| {
            expected
                .check(&ProofKeys { name, response }, Planted::NONE)
                .map(|_| ())
        };
        assert_eq!(check(Some("shelf"), Some(right)), Ok(()));
        let wrong = format!("0x{}", "00".repeat(16));
        let malformed = Err(PeerMisbehaved::Chap.into());
        let impostor = Err(PeerIncompatible::TargetNotAuthentic.into());
        for (name, response, result) in [
            (None, Some(right), malformed),
            (Some("shelf"), None, malformed),
            (Some("shelf"), Some(&right[..32]), malformed),
            (Some("shelf"), Some("0xzz"), malformed),
            (Some("shelf"), Some(wrong.as_str()), impostor),
            (Some("other"), Some(right), impostor),
            (Some(""), Some(right), impostor),
        ] {
            assert_eq!(check(name, response), result, "{name:?} {response:?}");
        }
        let longer = format!("{right}00");
        assert_eq!(check(Some("shelf"), Some(&longer)), malformed);
        assert!(!format!("{expected:?}").contains("response"));
    }

    /// H51, H52, C-78 to C-80.
    #[test]
    fn malformed_challenges_are_refused() {
        let long = format!("0x{}", "00".repeat(1025));
        let longest = format!("0x{}", "00".repeat(1024));
        let both = [ChapAlgorithm::Md5, ChapAlgorithm::Sha256];
        for (a, i, c) in [
            ("9", "1", HEX),
            ("abc", "1", HEX),
            ("5,7", "1", HEX),
            ("261", "1", HEX),
            ("5", "256", HEX),
            ("5", "-1", HEX),
            ("5", "", HEX),
            ("5", "1", ""),
            ("5", "1", "0x"),
            ("5", "1", "0x123"),
            ("5", "1", "0xzz"),
            ("5", "1", "0b!!!!"),
            ("5", "1", long.as_str()),
        ] {
            let error = keys(a, i, c).check(&both).unwrap_err();
            assert_eq!(error, Error::from(PeerMisbehaved::Chap), "{a} {i} {c}");
        }
        assert!(keys("5", "0", &longest).check(&both).is_ok());
        assert!(keys("5", "255", HEX).check(&both).is_ok());
        assert!(
            keys("5", "1", HEX).check(&[ChapAlgorithm::Sha256]).is_err(),
            "not offered"
        );
        let weak = keys("5", "1", "0x00010203040506").check(&both).unwrap_err();
        assert_eq!(weak, Error::from(PeerMisbehaved::WeakChallenge));
        for missing in [0, 1, 2] {
            let mut some = keys("5", "1", HEX);
            match missing {
                0 => some.algorithm = None,
                1 => some.identifier = None,
                _ => some.challenge = None,
            }
            assert!(some.check(&both).is_err());
        }
    }
}
