//! Binary values in text: `0x` and hexadecimal digits, `0b` and base64 (RFC 7143 section 6.1).

#![expect(
    clippy::arithmetic_side_effects,
    reason = "letters within their ranges, and bits in a word"
)]

use alloc::vec::Vec;
use core::fmt;

/// Decodes a binary value of 1 to `max` bytes; `None` when it is not one.
#[must_use]
pub fn decode(value: &str, max: usize) -> Option<Vec<u8>> {
    let bytes = match value.as_bytes() {
        [b'0', b'x' | b'X', digits @ ..] => decode_hex(digits)?,
        [b'0', b'b' | b'B', digits @ ..] => decode_base64(digits)?,
        _ => return None,
    };
    (1..=max).contains(&bytes.len()).then_some(bytes)
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    // An odd number of digits could mean two different things, so it means nothing.
    if digits.len() % 2 != 0 {
        return None;
    }
    let nibble = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        })
        .collect()
}

/// RFC 4648 section 4 with its padding; bits that do not make a byte must be zero.
fn decode_base64(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() % 4 != 0 {
        return None;
    }
    let body = digits
        .strip_suffix(b"==")
        .or_else(|| digits.strip_suffix(b"="))
        .unwrap_or(digits);
    let mut out = Vec::with_capacity(body.len());
    let (mut bits, mut have) = (0u32, 0u32);
    for b in body {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    (bits & ((1 << have) - 1) == 0).then_some(out)
}

/// Shows bytes as `0x...`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};

    /// RFC 4648 section 10 has the base64 vectors.
    #[test]
    fn hex_and_base64_are_decoded() {
        for (value, bytes) in [
            ("0x00fF", &[0, 0xff][..]),
            ("0X00Ff", &[0, 0xff]),
            ("0bZg==", b"f"),
            ("0BZm8=", b"fo"),
            ("0bZm9v", b"foo"),
            ("0bZm9vYg==", b"foob"),
            ("0bZm9vYmE=", b"fooba"),
            ("0bZm9vYmFy", b"foobar"),
            ("0b+/+/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(decode(value, 8).as_deref(), Some(bytes), "{value}");
        }
    }

    /// H51.
    #[test]
    fn what_is_no_binary_value_is_refused() {
        for value in [
            "",
            "0x",
            "0b",
            "0x1",
            "0xg0",
            "x00",
            "00",
            "0b=",
            "0b====",
            "0bZ",
            "0bZg",
            "0bZg=",
            "0bZh==",
            "0bZm9=",
            "0bZ===",
            "0bZg==Zg==",
            "0b****",
            "0c00",
            "0x 0",
        ] {
            assert_eq!(decode(value, 1024), None, "{value:?}");
        }
        let of = |n: usize| format!("{}", Hex(&vec![7; n]));
        assert!(decode(&of(1024), 1024).is_some());
        assert!(decode(&of(1025), 1024).is_none());
    }
}
