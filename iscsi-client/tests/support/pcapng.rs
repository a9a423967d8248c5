//! A reader of pcapng files, written from the format's description and not from the writer. It accepts
//! nothing that is not as a capture of ours has to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One packet of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) interface: String,
    pub(crate) nanos: u64,
    pub(crate) outbound: bool,
    pub(crate) comment: Option<String>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// What was kept of the payload.
    pub(crate) payload: Vec<u8>,
    /// Its length on the wire.
    pub(crate) wire_len: usize,
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

fn u16_le(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(bytes[..2].try_into().unwrap())
}

fn u32_le(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn u16_be(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes[..2].try_into().unwrap())
}

fn u32_be(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Code and value of each option up to `opt_endofopt`, which has to be the last thing.
fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let (code, len) = (u16_le(bytes), usize::from(u16_le(&bytes[2..])));
        if code == 0 {
            assert_eq!((len, bytes.len()), (0, 4));
            return options;
        }
        options.push((code, bytes[4..4 + len].to_vec()));
        bytes = &bytes[4 + len.next_multiple_of(4)..];
    }
}

fn text_of(options: &[(u16, Vec<u8>)], code: u16) -> Option<String> {
    let found = options.iter().find(|(found, _)| *found == code)?;
    Some(String::from_utf8(found.1.clone()).unwrap())
}

/// The Internet checksum of bytes that hold it is zero.
fn sums_up(parts: &[&[u8]]) -> bool {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum == 0xffff
}

/// All packets of a file.
pub(crate) fn read(mut file: &[u8]) -> Vec<Packet> {
    let mut interfaces: Vec<String> = Vec::new();
    let mut packets = Vec::new();
    let mut first = true;
    while !file.is_empty() {
        let (kind, len) = (u32_le(file), u32_le(&file[4..]) as usize);
        assert_eq!(len % 4, 0);
        assert_eq!(u32_le(&file[len - 4..]) as usize, len, "the lengths differ");
        let body = &file[8..len - 4];
        match kind {
            0x0a0d_0d0a => {
                assert!(first);
                assert_eq!(u32_le(body), 0x1a2b_3c4d);
                assert_eq!((u16_le(&body[4..]), u16_le(&body[6..])), (1, 0));
                let application = text_of(&options(&body[16..]), 4).unwrap();
                assert!(application.starts_with("iscsi-client "));
            }
            1 => {
                assert_eq!(u16_le(body), 101, "raw IP");
                let options = options(&body[8..]);
                assert!(options.contains(&(9, vec![9])), "nanoseconds");
                interfaces.push(text_of(&options, 2).unwrap());
            }
            6 => packets.push(packet(body, &interfaces)),
            other => panic!("block type {other}"),
        }
        first = false;
        file = &file[len..];
    }
    packets
}

fn packet(body: &[u8], interfaces: &[String]) -> Packet {
    let nanos = u64::from(u32_le(&body[4..])) << 32 | u64::from(u32_le(&body[8..]));
    let captured = u32_le(&body[12..]) as usize;
    let wire = u32_le(&body[16..]) as usize;
    assert!(captured <= wire);
    let options = options(&body[20 + captured.next_multiple_of(4)..]);
    let ip = &body[20..20 + captured];
    let (from, to, header) = match ip[0] >> 4 {
        4 => {
            assert_eq!(ip[9], 6);
            assert_eq!(usize::from(u16_be(&ip[2..])), wire);
            assert!(sums_up(&[&ip[..20]]));
            let address = |at: usize| {
                let octets: [u8; 4] = ip[at..at + 4].try_into().unwrap();
                IpAddr::from(Ipv4Addr::from(octets))
            };
            (address(12), address(16), 20)
        }
        _ => {
            assert_eq!((ip[0] >> 4, ip[6]), (6, 6));
            assert_eq!(usize::from(u16_be(&ip[4..])), wire - 40);
            let address = |at: usize| {
                let octets: [u8; 16] = ip[at..at + 16].try_into().unwrap();
                IpAddr::from(Ipv6Addr::from(octets))
            };
            (address(8), address(24), 40)
        }
    };
    let tcp = &ip[header..];
    let offset = usize::from(tcp[12] >> 4) * 4;
    if captured == wire {
        let pseudo = [0, 6, 0, 0, (tcp.len() >> 8) as u8, tcp.len() as u8];
        let addresses = &ip[if header == 20 { 12 } else { 8 }..header];
        assert!(sums_up(&[addresses, &pseudo, tcp]), "TCP checksum");
    } else {
        assert_eq!(u16_be(&tcp[16..]), 0, "no checksum over what is not there");
    }
    let flags = options.iter().find(|(code, _)| *code == 2).unwrap();
    Packet {
        interface: interfaces[u32_le(body) as usize].clone(),
        nanos,
        outbound: match u32_le(&flags.1) & 3 {
            1 => false,
            2 => true,
            other => panic!("direction {other}"),
        },
        comment: text_of(&options, 1),
        from: SocketAddr::new(from, u16_be(tcp)),
        to: SocketAddr::new(to, u16_be(&tcp[2..])),
        seq: u32_be(&tcp[4..]),
        ack: u32_be(&tcp[8..]),
        flags: tcp[13],
        payload: tcp[offset..].to_vec(),
        wire_len: wire - header - offset,
    }
}

/// A connection put together again.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) interface: String,
    pub(crate) comments: Vec<String>,
    /// The segments with payload, as (outbound, kept, wire length).
    pub(crate) segments: Vec<(bool, Vec<u8>, usize)>,
    /// Flags of the packets behind the handshake that end something, and whether they are ours.
    pub(crate) ends: Vec<(bool, u8)>,
}

impl Stream {
    /// All kept bytes of a direction.
    pub(crate) fn bytes(&self, outbound: bool) -> Vec<u8> {
        let of = self.segments.iter().filter(|s| s.0 == outbound);
        of.flat_map(|segment| segment.1.iter().copied()).collect()
    }

    /// The length of a direction on the wire.
    pub(crate) fn wire_len(&self, outbound: bool) -> usize {
        let of = self.segments.iter().filter(|s| s.0 == outbound);
        of.map(|segment| segment.2).sum()
    }
}

/// The connections of a capture, in the order of their beginnings; every sequence number checked.
pub(crate) fn streams(packets: &[Packet]) -> Vec<Stream> {
    let mut open: Vec<(SocketAddr, SocketAddr, [u32; 2], usize)> = Vec::new();
    let mut streams: Vec<Stream> = Vec::new();
    let mut last = 0;
    for packet in packets {
        assert!(packet.nanos >= last, "time runs backwards");
        last = packet.nanos;
        let (local, remote) = match packet.outbound {
            true => (packet.from, packet.to),
            false => (packet.to, packet.from),
        };
        if packet.flags == SYN {
            assert!(packet.outbound);
            open.retain(|(l, r, ..)| (*l, *r) != (local, remote));
            let next = packet.seq.wrapping_add(1);
            open.push((local, remote, [next, 0], streams.len()));
            streams.push(Stream {
                interface: packet.interface.clone(),
                comments: packet.comment.iter().cloned().collect(),
                segments: Vec::new(),
                ends: Vec::new(),
            });
            continue;
        }
        let known = open
            .iter_mut()
            .find(|(l, r, ..)| (*l, *r) == (local, remote));
        let (_, _, [ours, theirs], index) = known.expect("a packet without handshake");
        let stream = &mut streams[*index];
        let (next, other) = match packet.outbound {
            true => (ours, theirs),
            false => (theirs, ours),
        };
        if packet.flags == SYN | ACK {
            assert!(!packet.outbound);
            *next = packet.seq;
        }
        assert_eq!(packet.seq, *next, "a gap in the stream");
        assert_eq!(packet.ack, *other);
        let counted = u32::from(packet.flags & (SYN | FIN) != 0);
        *next = next.wrapping_add(packet.wire_len as u32 + counted);
        stream.comments.extend(packet.comment.clone());
        if packet.wire_len > 0 {
            let kept = packet.payload.clone();
            let segment = (packet.outbound, kept, packet.wire_len);
            stream.segments.push(segment);
        }
        if packet.flags & (FIN | RST) != 0 {
            stream
                .ends
                .push((packet.outbound, packet.flags & (FIN | RST)));
        }
    }
    streams
}
