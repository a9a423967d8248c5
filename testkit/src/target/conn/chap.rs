//! The target's half of CHAP (RFC 7143 section 12.1.3, RFC 1994).

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;

use crate::{
    sim::Rng,
    target::config::{ChapConfig, ChapFault},
};

/// A challenge that was sent.
#[derive(Debug)]
pub(super) struct Challenge {
    algorithm: u8,
    identifier: u8,
    bytes: Vec<u8>,
    base64: bool,
}

impl Challenge {
    /// Picks the first algorithm of the initiator's list that the target takes. `reflected` is used in
    /// place of random bytes.
    pub(super) fn choose(
        offer: &str,
        config: &ChapConfig,
        reflected: Option<Vec<u8>>,
        rng: &mut Rng,
    ) -> Option<Self> {
        if config.fault == ChapFault::RefusesLists && offer.contains(',') {
            return None;
        }
        let acceptable = |number: &u8| config.algorithms.contains(number);
        let algorithm = offer
            .split(',')
            .filter_map(|n| n.parse().ok())
            .find(acceptable)?;
        let length = digest_length(algorithm);
        let mut bytes = vec![0; config.challenge_length.unwrap_or(length)];
        rng.fill(&mut bytes);
        Some(Self {
            algorithm,
            identifier: rng.next_u64() as u8,
            bytes: reflected.unwrap_or(bytes),
            base64: config.base64,
        })
    }

    pub(super) fn keys(&self) -> [(&'static str, String); 3] {
        [
            ("CHAP_A", self.algorithm.to_string()),
            ("CHAP_I", self.identifier.to_string()),
            ("CHAP_C", self.encode(&self.bytes)),
        ]
    }

    /// A binary value in the notation of this target.
    pub(super) fn encode(&self, bytes: &[u8]) -> String {
        if self.base64 {
            to_base64(bytes)
        } else {
            to_hex(bytes)
        }
    }

    /// Whether the initiator asks us to answer our own challenge.
    pub(super) fn is(&self, challenge: &[u8]) -> bool {
        self.bytes == challenge
    }

    /// Whether `name` and `response` prove that the initiator has the secret.
    pub(super) fn accepts(&self, config: &ChapConfig, name: &str, response: &[u8]) -> bool {
        let expected = self.answer(self.identifier, &config.secret, &self.bytes);
        name == config.name && response == expected
    }

    /// The target's own answer to the initiator's challenge, under the same algorithm.
    pub(super) fn answer(&self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        let message = [&[identifier], secret, challenge].concat();
        match self.algorithm {
            5 => Md5::digest(message).to_vec(),
            6 => Sha1::digest(message).to_vec(),
            7 => Sha256::digest(message).to_vec(),
            _ => Sha3_256::digest(message).to_vec(),
        }
    }
}

const fn digest_length(algorithm: u8) -> usize {
    match algorithm {
        5 => 16,
        6 => 20,
        _ => 32,
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("0b");
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

/// A binary value in hexadecimal or base64 (section 6.1).
pub(super) fn from_text(text: &str) -> Option<Vec<u8>> {
    let (kind, digits) = text.split_at_checked(2)?;
    if kind.eq_ignore_ascii_case("0x") {
        let padded = if digits.len() % 2 == 1 {
            format!("0{digits}")
        } else {
            digits.to_owned()
        };
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        return padded.as_bytes().chunks(2).map(byte).collect();
    }
    if !kind.eq_ignore_ascii_case("0b") {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in digits.bytes().filter(|digit| *digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_read_in_both_notations() {
        assert_eq!(from_text("0xdeadBEEF").unwrap(), [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(from_text("0bTWFu").unwrap(), b"Man");
        assert_eq!(from_text("0BTWE=").unwrap(), b"Ma");
        assert_eq!(from_text("Man"), None);
        for text in ["0b", "0bTQ==", "0bTWE=", "0bTWFu", "0bTWFuTQ=="] {
            assert_eq!(to_base64(&from_text(text).unwrap()), text);
        }
    }
}
