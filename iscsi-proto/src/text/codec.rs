//! `key=value` pairs in and out of a data segment (RFC 7143 section 6.1), and texts that the C bit
//! spreads over several PDUs.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::vec::Vec;
use core::fmt;

use crate::{error::DecodeError, text::binary};

/// The longest key name, in bytes.
pub const MAX_KEY: usize = 63;
/// The longest value of an ordinary key, in bytes.
pub const MAX_VALUE: usize = 255;
/// The longest value of a key that carries a large binary value: those of CHAP.
pub const MAX_LARGE_VALUE: usize = 8191;
/// The longest data segment during login and of the requests that we split (section 13.12: the
/// MaxRecvDataSegmentLength of both sides until they declare another).
pub const MAX_SEGMENT: usize = 8192;

/// The pairs of a complete text.
///
/// Yields an error once, and nothing behind it. Empty strings between pairs are skipped: some
/// targets fill up the segment with NULs.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Pairs<'a> {
    /// The pairs of `text`, which must be complete (see [`Accumulator`]).
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            offset: 0,
        }
    }

    fn pair(&self, entry: &'a [u8]) -> Result<(&'a str, &'a str), DecodeError> {
        let bad = |at: usize| DecodeError::Text {
            offset: clamp(self.offset + at),
        };
        let equals = entry
            .iter()
            .position(|b| *b == b'=')
            .ok_or_else(|| bad(0))?;
        let (key, value) = entry.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        if key.is_empty() {
            return Err(bad(0));
        }
        if let Some(at) = key.iter().position(|b| !is_key_byte(*b)) {
            return Err(bad(at));
        }
        let limit = if key.starts_with(b"CHAP_") {
            MAX_LARGE_VALUE
        } else {
            MAX_VALUE
        };
        for (length, limit) in [(key.len(), MAX_KEY), (value.len(), limit)] {
            if length > limit {
                return Err(DecodeError::TextTooLong {
                    length: clamp(length),
                    limit: clamp(limit),
                });
            }
        }
        let utf8 = |part: &'a [u8], from: usize| {
            core::str::from_utf8(part).map_err(|e| bad(from + e.valid_up_to()))
        };
        Ok((utf8(key, 0)?, utf8(value, equals + 1)?))
    }
}

const fn clamp(n: usize) -> u32 {
    if n > u32::MAX as usize {
        u32::MAX
    } else {
        n as u32
    }
}

/// The characters of a standard label; the first one is not checked further, since a key that
/// begins with the wrong one is just one that nobody understands.
const fn is_key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'@' | b'_' | b'#')
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a str, &'a str), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix(&[0]) {
            self.rest = rest;
            self.offset += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let Some(end) = self.rest.iter().position(|b| *b == 0) else {
            self.rest = &[];
            return Some(Err(DecodeError::Text {
                offset: clamp(self.offset),
            }));
        };
        let (entry, rest) = self.rest.split_at(end);
        let pair = self.pair(entry);
        self.rest = if pair.is_ok() { rest } else { &[] };
        self.offset += end;
        Some(pair)
    }
}

/// Joins the segments of one text, up to a cap.
#[derive(Debug)]
pub struct Accumulator {
    text: Vec<u8>,
    cap: u32,
}

impl Accumulator {
    /// The cap of a login or of a negotiation: many times what an honest peer needs.
    pub const LOGIN_CAP: u32 = 64 << 10;

    /// Takes texts of at most `cap` bytes.
    #[must_use]
    pub const fn new(cap: u32) -> Self {
        Self {
            text: Vec::new(),
            cap,
        }
    }

    /// Appends a segment, whether the C bit says that more will follow or not.
    ///
    /// [`DecodeError::TextTooLong`] past the cap; nothing is kept of the segment then.
    pub fn push(&mut self, segment: &[u8]) -> Result<(), DecodeError> {
        let length = clamp(self.text.len().saturating_add(segment.len()));
        if length > self.cap {
            return Err(DecodeError::TextTooLong {
                length,
                limit: self.cap,
            });
        }
        self.text.extend_from_slice(segment);
        Ok(())
    }

    /// The text so far; the next segment begins another one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.text)
    }
}

/// A text to send.
///
/// It is up to the writer to keep keys and values to what section 6.1 allows: all of ours are known
/// when the program is written, or were checked when they came in.
#[derive(Clone, Default)]
pub struct TextBuf {
    text: Vec<u8>,
}

impl TextBuf {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: Vec::new() }
    }

    /// Appends `key=value`.
    pub fn push(&mut self, key: &str, value: impl fmt::Display) {
        // Writing to a Vec cannot fail, and a `Display` that fails by itself leaves a short value.
        let _infallible = fmt::Write::write_fmt(self, format_args!("{key}={value}\0"));
    }

    /// Appends `key=0x...`.
    pub fn push_binary(&mut self, key: &str, value: &[u8]) {
        self.push(key, binary::Hex(value));
    }

    /// Moves all pairs of `other` behind the ones here.
    pub fn append(&mut self, other: &mut Self) {
        self.text.append(&mut other.text);
    }

    /// Length in bytes, NULs included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The whole text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Takes what fits into one data segment of at most `limit` bytes. Whatever is left is for the
    /// next PDU, and this one carries the C bit; a pair may be cut anywhere (section 6.2).
    #[must_use]
    pub fn take_segment(&mut self, limit: usize) -> Vec<u8> {
        let rest = self.text.split_off(self.text.len().min(limit));
        core::mem::replace(&mut self.text, rest)
    }
}

impl fmt::Write for TextBuf {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.text.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// Length only: the text may answer a challenge.
impl fmt::Debug for TextBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextBuf({} bytes)", self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec, vec::Vec};

    fn all(text: &[u8]) -> Result<Vec<(&str, &str)>, DecodeError> {
        Pairs::new(text).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut buf = TextBuf::new();
        buf.push("MaxBurstLength", 512);
        buf.push("TargetAlias", "a=b");
        buf.push("Empty", "");
        buf.push_binary("CHAP_R", &[0, 0xab]);
        let want = vec![
            ("MaxBurstLength", "512"),
            ("TargetAlias", "a=b"),
            ("Empty", ""),
            ("CHAP_R", "0x00ab"),
        ];
        assert_eq!(all(buf.as_bytes()), Ok(want.clone()));

        let mut joined = Accumulator::new(1000);
        while !buf.is_empty() {
            joined.push(&buf.take_segment(7)).unwrap();
        }
        assert_eq!(
            all(&joined.take()),
            Ok(want),
            "split anywhere, it is the same text"
        );
    }

    /// H19, H20.
    #[test]
    fn malformed_text_is_refused_where_it_breaks() {
        for (text, offset) in [
            (&b"A=1"[..], 0),
            (b"A=1\0B", 4),
            (b"A=1\0B\0", 4),
            (b"=1\0", 0),
            (b"=\0", 0),
            (b"A=1\0\0A b=1\0", 6),
            (b"\xc3\xa9=1\0", 0),
            (b"A=\xff\0", 2),
        ] {
            assert_eq!(all(text), Err(DecodeError::Text { offset }), "{text:?}");
        }
        assert_eq!(all(&[0; 8192]), Ok(vec![]));
        assert_eq!(all(b"\0A=1\0\0"), Ok(vec![("A", "1")]));
        let mut pairs = Pairs::new(b"=\0A=1\0");
        assert!(pairs.next().is_some_and(|p| p.is_err()) && pairs.next().is_none());
    }

    /// H21.
    #[test]
    fn lengths_are_limited() {
        let text = |key: usize, value: usize| {
            format!("{}={}\0", "K".repeat(key), "v".repeat(value)).into_bytes()
        };
        assert!(all(&text(63, 255)).is_ok());
        let long = |length, limit| Err(DecodeError::TextTooLong { length, limit });
        assert_eq!(all(&text(64, 0)), long(64, 63));
        assert_eq!(all(&text(1, 256)), long(256, 255));
        let chap = |n| format!("CHAP_C={}\0", String::from_utf8(vec![b'0'; n]).unwrap());
        assert!(all(chap(8191).as_bytes()).is_ok());
        assert_eq!(all(chap(8192).as_bytes()), long(8192, 8191));
    }

    /// H23.
    #[test]
    fn an_endless_text_ends_at_the_cap() {
        let mut text = Accumulator::new(Accumulator::LOGIN_CAP);
        for _ in 0..8 {
            text.push(&[b'x'; 8192]).unwrap();
        }
        let error = DecodeError::TextTooLong {
            length: 65_537,
            limit: 65_536,
        };
        assert_eq!(text.push(b"x"), Err(error));
    }
}
