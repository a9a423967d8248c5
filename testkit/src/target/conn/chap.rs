//! The target's half of CHAP (RFC 7143 section 12.1.3, RFC 1994).

use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::{sim::Rng, target::config::ChapConfig};

/// A challenge that was sent.
#[derive(Debug)]
pub(super) struct Challenge {
    algorithm: u8,
    identifier: u8,
    bytes: Vec<u8>,
}

impl Challenge {
    /// Picks the first algorithm of the initiator's list that the target takes.
    pub(super) fn choose(offer: &str, config: &ChapConfig, rng: &mut Rng) -> Option<Self> {
        let acceptable = |number: &u8| config.algorithms.contains(number);
        let algorithm = offer
            .split(',')
            .filter_map(|n| n.parse().ok())
            .find(acceptable)?;
        let mut bytes = vec![0; if algorithm == 5 { 16 } else { 32 }];
        rng.fill(&mut bytes);
        Some(Self {
            algorithm,
            identifier: rng.next_u64() as u8,
            bytes,
        })
    }

    pub(super) fn keys(&self) -> [(&'static str, String); 3] {
        [
            ("CHAP_A", self.algorithm.to_string()),
            ("CHAP_I", self.identifier.to_string()),
            ("CHAP_C", to_hex(&self.bytes)),
        ]
    }

    /// Whether `name` and `response` prove that the initiator has the secret.
    pub(super) fn accepts(&self, config: &ChapConfig, name: &str, response: &[u8]) -> bool {
        let expected = self.answer(self.identifier, &config.secret, &self.bytes);
        name == config.name && response == expected
    }

    /// The target's own answer to the initiator's challenge, under the same algorithm.
    pub(super) fn answer(&self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 3] = [&[identifier], secret, challenge];
        match self.algorithm {
            5 => parts
                .iter()
                .fold(Md5::new(), |hash, part| hash.chain_update(part))
                .finalize()
                .to_vec(),
            _ => {
                let hash = parts
                    .iter()
                    .fold(Sha256::new(), |hash, part| hash.chain_update(part));
                hash.finalize().to_vec()
            }
        }
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| {
        text + &format!("{byte:02x}")
    })
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
    }
}
