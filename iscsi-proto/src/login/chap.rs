//! CHAP as the side that is challenged (RFC 1994; RFC 7143 section 12.1.3).
//!
//! What CHAP gives: the target learns that we know the secret. What it does not give: nothing binds
//! that to the data path, and a man in the middle may relay the exchange. So a short challenge is
//! refused, and `None` is not offered where CHAP is required.

use alloc::{format, string::String, vec::Vec};

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, PeerMisbehaved},
    login::config::{ChapAlgorithm, ChapCredentials},
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
    /// Whether the target refuses every algorithm that we offered.
    pub(super) fn refused(&self) -> bool {
        self.algorithm
            .is_some_and(|value| !matches!(Answer::of(value), Answer::Value(_)))
    }

    /// Checks them against what we offered.
    pub(super) fn check(&self, offered: &[ChapAlgorithm]) -> Result<Challenge, Error> {
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
    match algorithm {
        ChapAlgorithm::Md5 => Md5::new()
            .chain_update([identifier])
            .chain_update(secret)
            .chain_update(challenge)
            .finalize()
            .to_vec(),
        ChapAlgorithm::Sha256 => Sha256::new()
            .chain_update([identifier])
            .chain_update(secret)
            .chain_update(challenge)
            .finalize()
            .to_vec(),
    }
}

impl Challenge {
    /// Writes CHAP_N and CHAP_R.
    pub(super) fn answer(&self, credentials: &ChapCredentials, text: &mut TextBuf) {
        let secret = credentials.secret.expose();
        let hash = response(self.algorithm, self.identifier, secret, &self.challenge);
        text.push(Key::ChapN.name(), credentials.name());
        text.push_binary(Key::ChapR.name(), &hash);
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
    use crate::login::Secret;

    const HEX: &str = "0x000102030405060708090a0b0c0d0e0f";

    fn keys<'a>(a: &'a str, i: &'a str, c: &'a str) -> ChapKeys<'a> {
        ChapKeys {
            algorithm: Some(a),
            identifier: Some(i),
            challenge: Some(c),
        }
    }

    /// The expected hashes come from another implementation (Python's hashlib).
    #[test]
    fn responses_match_independent_vectors() {
        let credentials = ChapCredentials::new("user", Secret::new(b"opensesame12")).unwrap();
        let both = [ChapAlgorithm::Sha256, ChapAlgorithm::Md5];
        for (algorithm, challenge, hash) in [
            ("5", HEX, "0xef910a2d1d35c138582e5a4a0ed5b759"),
            (
                "7",
                HEX,
                "0xd6988c0cf7016578a04b9f8cbb157e191c4940978c65b3002eddfaf5e4f12524",
            ),
            (
                "5",
                "0bAAECAwQFBgcICQoLDA0ODw==",
                "0xef910a2d1d35c138582e5a4a0ed5b759",
            ),
        ] {
            let mut text = TextBuf::new();
            let challenge = keys(algorithm, "0x5a", challenge).check(&both).unwrap();
            challenge.answer(&credentials, &mut text);
            let want = format!("CHAP_N=user\0CHAP_R={hash}\0");
            assert_eq!(text.as_bytes(), want.as_bytes());
        }
    }

    /// H51, H52, C-78 to C-80.
    #[test]
    fn malformed_challenges_are_refused() {
        let long = format!("0x{}", "00".repeat(1025));
        let longest = format!("0x{}", "00".repeat(1024));
        let both = [ChapAlgorithm::Md5, ChapAlgorithm::Sha256];
        for (a, i, c) in [
            ("6", "1", HEX),
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
