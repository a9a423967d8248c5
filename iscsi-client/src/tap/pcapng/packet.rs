//! The IP and TCP headers around what a tap has seen (RFC 791, RFC 8200, RFC 9293).

use std::net::{IpAddr, SocketAddr};

/// TCP flags (RFC 9293 section 3.1).
pub(super) mod flags {
    pub(in super::super) const FIN: u8 = 0x01;
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const PSH: u8 = 0x08;
    pub(in super::super) const ACK: u8 = 0x10;
}

/// The most stream bytes in one segment: below what the 16-bit lengths of IPv4 and IPv6 can say, with
/// room for headers.
pub(super) const MAX_SEGMENT: usize = 60 * 1024;

/// Offered with the SYN, so that a dissector does not find the flight of bytes too large for the
/// window: maximum segment size 65495, and a window of 65535 times 2^14.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0xff, 0xd7, 1, 3, 3, 14];

const PROTOCOL_TCP: u8 = 6;
const HOP_LIMIT: u8 = 64;

/// A segment of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// What of the payload is kept.
    pub(super) payload: &'a [u8],
    /// How long the payload was on the wire: at least what is kept, at most [`MAX_SEGMENT`].
    pub(super) wire_len: usize,
}

impl Segment<'_> {
    /// Appends headers and kept payload to `out`; returns the length that the packet had uncut.
    pub(super) fn emit(&self, out: &mut Vec<u8>) -> usize {
        let options: &[u8] = match self.flags & flags::SYN {
            0 => &[],
            _ => &SYN_OPTIONS,
        };
        let tcp_len = 20 + options.len() + self.wire_len;
        let start = out.len();
        let ip_len = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let total = (20 + tcp_len) as u16;
                out.extend([0x45, 0]);
                out.extend(total.to_be_bytes());
                // Identification 0, "don't fragment".
                out.extend([0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP, 0, 0]);
                out.extend(from.octets());
                out.extend(to.octets());
                let sum = checksum(0, &out[start..]).to_be_bytes();
                out[start + 10..start + 12].copy_from_slice(&sum);
                20
            }
            (from, to) => {
                out.extend([0x60, 0, 0, 0]);
                out.extend((tcp_len as u16).to_be_bytes());
                out.extend([PROTOCOL_TCP, HOP_LIMIT]);
                out.extend(v6_octets(from));
                out.extend(v6_octets(to));
                40
            }
        };
        let tcp = out.len();
        out.extend(self.from.port().to_be_bytes());
        out.extend(self.to.port().to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        let words = (20 + options.len()) / 4;
        out.extend([(words as u8) << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(options);
        out.extend(self.payload);
        // Of a cut packet nobody can check the sum; zero says that there is none.
        if self.payload.len() == self.wire_len {
            let addresses = match ip_len {
                20 => &out[start + 12..tcp],
                _ => &out[start + 8..tcp],
            };
            // The pseudo header: addresses, protocol and length (RFC 9293 section 3.1, RFC 8200
            // section 8.1).
            let pseudo = sum(u64::from(PROTOCOL_TCP) + tcp_len as u64, addresses);
            let sum = checksum(pseudo, &out[tcp..]).to_be_bytes();
            out[tcp + 16..tcp + 18].copy_from_slice(&sum);
        }
        ip_len + tcp_len
    }
}

fn v6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Adds the 16-bit words of `bytes` to `start`.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut sum = start;
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    match words.remainder() {
        [last] => sum + (u64::from(*last) << 8),
        _ => sum,
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(start: u64, bytes: &[u8]) -> u16 {
    let mut sum = sum(start, bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment<'a>(from: &str, to: &str, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            seq: 1,
            ack: 2,
            flags: flags::ACK,
            payload,
            wire_len: payload.len(),
        }
    }

    /// RFC 1071 section 3.
    #[test]
    fn the_checksum_of_the_rfcs_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(0, &bytes), !0xddf2);
    }

    #[test]
    fn checksums_verify_over_both_protocols_and_odd_lengths() {
        for (from, to, ip_len, addresses) in [
            ("10.0.0.1:3260", "10.0.0.2:40000", 20, 12..20),
            ("[2001:db8::1]:3260", "[2001:db8::2]:40000", 40, 8..40),
        ] {
            for payload in [b"".as_slice(), b"a", b"ab", b"abc"] {
                let mut out = Vec::new();
                let len = segment(from, to, payload).emit(&mut out);
                assert_eq!(len, out.len());
                let tcp_len = (out.len() - ip_len) as u64;
                let pseudo = sum(6 + tcp_len, &out[addresses.clone()]);
                assert_eq!(checksum(pseudo, &out[ip_len..]), 0);
                if ip_len == 20 {
                    assert_eq!(checksum(0, &out[..20]), 0);
                }
            }
        }
    }

    #[test]
    fn a_cut_packet_says_how_long_it_was() {
        let mut out = Vec::new();
        let mut cut = segment("10.0.0.1:1", "10.0.0.2:2", b"head");
        cut.wire_len = MAX_SEGMENT;
        assert_eq!(cut.emit(&mut out), 40 + MAX_SEGMENT);
        assert_eq!(out.len(), 44);
        let total = u16::from_be_bytes([out[2], out[3]]);
        assert_eq!(usize::from(total), 40 + MAX_SEGMENT);
    }
}
