//! One connection of a capture: from stream bytes to segments.

use std::{io::Write, net::SocketAddr, time::Instant};

use iscsi_proto::{login::LoggedIn, text::Digest};

use super::{
    blocks::Direction,
    file::File,
    framer::{Framer, Span},
    packet::{MAX_SEGMENT, Segment, flags},
    redact::Redactor,
};
use crate::tap::{StreamBytes, StreamEnd};

/// Opcodes (RFC 7143 section 11.2.1.2) whose data segment tells of the session and not of the disk:
/// Login, Text, SCSI Response with its sense data, Asynchronous Message, Reject.
const TELLING: [u8; 7] = [0x03, 0x04, 0x21, 0x23, 0x24, 0x32, 0x3f];
const LOGIN_REQUEST: u8 = 0x03;
const LOGIN_RESPONSE: u8 = 0x23;

/// One direction.
#[derive(Debug)]
struct Half {
    /// The sequence number of the next byte.
    seq: u32,
    framer: Framer,
    redactor: Redactor,
    /// What is kept of the segment under construction, a prefix of it.
    kept: Vec<u8>,
    /// The length of the segment under construction.
    len: usize,
    /// The rest of this PDU is not kept.
    cut: bool,
    fin: bool,
}

impl Half {
    const fn new(seq: u32) -> Self {
        Self {
            seq,
            framer: Framer::new(),
            redactor: Redactor::new(),
            kept: Vec::new(),
            len: 0,
            cut: false,
            fin: false,
        }
    }
}

/// What is kept of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) headers_only: bool,
    pub(super) redact: bool,
}

/// The two ends, as a capture shows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) interface: u32,
}

#[derive(Debug)]
pub(super) struct Flow {
    rules: Rules,
    ends: Ends,
    sent: Half,
    received: Half,
    /// The login is done, so the digests are known.
    full_feature: bool,
    /// The final Login Response was seen and `logged_in` was not yet called: what comes behind it may
    /// have digests or not.
    handover: bool,
    behind: Vec<u8>,
    over: bool,
}

impl Flow {
    /// Sequence numbers begin at `isn`, in both directions.
    pub(super) const fn new(rules: Rules, ends: Ends, isn: u32) -> Self {
        Self {
            rules,
            ends,
            sent: Half::new(isn),
            received: Half::new(isn),
            full_feature: false,
            handover: false,
            behind: Vec::new(),
            over: false,
        }
    }

    /// The handshake of TCP.
    pub(super) fn open<W: Write>(&mut self, file: &mut File<W>, at: Instant, comment: &str) {
        self.control(file, at, Direction::Outbound, flags::SYN, Some(comment));
        let answer = flags::SYN | flags::ACK;
        self.control(file, at, Direction::Inbound, answer, None);
        self.control(file, at, Direction::Outbound, flags::ACK, None);
    }

    pub(super) fn data<W: Write>(
        &mut self,
        file: &mut File<W>,
        at: Instant,
        direction: Direction,
        bytes: StreamBytes<'_>,
    ) {
        for piece in bytes.pieces() {
            self.take(file, at, direction, piece);
        }
        if !self.rules.headers_only {
            self.flush(file, at, direction);
        }
    }

    pub(super) fn logged_in<W: Write>(
        &mut self,
        file: &mut File<W>,
        at: Instant,
        logged_in: &LoggedIn,
    ) {
        let parameters = logged_in.parameters();
        let on = |digest| digest == Digest::Crc32c;
        let (header, data) = (on(parameters.header_digest), on(parameters.data_digest));
        self.sent.framer.set_digests(header, data);
        self.received.framer.set_digests(header, data);
        self.full_feature = true;
        self.handover = false;
        self.flush(file, at, Direction::Inbound);
        let comment = super::facts::negotiated(logged_in);
        self.control(file, at, Direction::Outbound, flags::ACK, Some(&comment));
        self.take_behind(file, at);
    }

    pub(super) fn ended<W: Write>(&mut self, file: &mut File<W>, at: Instant, end: StreamEnd<'_>) {
        if self.over {
            return;
        }
        self.take_behind(file, at);
        self.flush(file, at, Direction::Outbound);
        self.flush(file, at, Direction::Inbound);
        let (direction, flag, comment) = match end {
            StreamEnd::PeerClosed => (Direction::Inbound, flags::FIN, None),
            StreamEnd::Closed => (Direction::Outbound, flags::FIN, None),
            StreamEnd::Aborted => (Direction::Outbound, flags::RST, None),
            StreamEnd::Failed(error) => {
                let comment = format!("not a packet: the connection failed: {error}");
                let from = match error.kind() {
                    std::io::ErrorKind::ConnectionReset => Direction::Inbound,
                    _ => Direction::Outbound,
                };
                (from, flags::RST, Some(comment))
            }
        };
        let flag = flag | flags::ACK;
        self.control(file, at, direction, flag, comment.as_deref());
        self.over = !matches!(end, StreamEnd::PeerClosed);
        file.flush();
    }

    const fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Outbound => &mut self.sent,
            Direction::Inbound => &mut self.received,
        }
    }

    fn take_behind<W: Write>(&mut self, file: &mut File<W>, at: Instant) {
        self.handover = false;
        let behind = std::mem::take(&mut self.behind);
        self.take(file, at, Direction::Inbound, &behind);
        if !self.rules.headers_only {
            self.flush(file, at, Direction::Inbound);
        }
    }

    /// Takes the next bytes of a direction.
    fn take<W: Write>(
        &mut self,
        file: &mut File<W>,
        at: Instant,
        direction: Direction,
        mut bytes: &[u8],
    ) {
        while !bytes.is_empty() {
            if self.handover && direction == Direction::Inbound {
                // No more than the login's own buffer holds.
                self.behind.extend(bytes);
                return;
            }
            let Rules {
                headers_only,
                redact,
            } = self.rules;
            let plain = self.full_feature && !headers_only;
            let half = self.half(direction);
            let room = bytes.len().min(MAX_SEGMENT - half.len);
            let taken = if plain {
                half.kept.extend(&bytes[..room]);
                half.len += room;
                room
            } else {
                let (taken, ends) = half.frame(&bytes[..room], headers_only, redact);
                if ends && direction == Direction::Inbound && !self.full_feature {
                    self.handover = is_final_login_response(self.received.framer.bhs());
                }
                if ends && headers_only {
                    self.flush(file, at, direction);
                    self.half(direction).cut = false;
                }
                taken
            };
            bytes = &bytes[taken..];
            if self.half(direction).len == MAX_SEGMENT {
                self.flush(file, at, direction);
            }
        }
    }

    /// Writes the segment under construction, if there is one.
    fn flush<W: Write>(&mut self, file: &mut File<W>, at: Instant, direction: Direction) {
        let half = self.half(direction);
        if half.len == 0 {
            return;
        }
        let kept = std::mem::take(&mut half.kept);
        let wire_len = std::mem::take(&mut half.len);
        let flags = flags::ACK | flags::PSH;
        let segment = self.segment(direction, flags, &kept, wire_len);
        file.packet(self.ends.interface, at, direction, None, &segment);
        let half = self.half(direction);
        half.seq = half.seq.wrapping_add(wire_len as u32);
        // The allocation is used again.
        half.kept = kept;
        half.kept.clear();
    }

    /// Writes a segment without payload. SYN and FIN count as a byte of the stream.
    fn control<W: Write>(
        &mut self,
        file: &mut File<W>,
        at: Instant,
        direction: Direction,
        flags: u8,
        comment: Option<&str>,
    ) {
        if flags & flags::FIN != 0 {
            let half = self.half(direction);
            if std::mem::replace(&mut half.fin, true) {
                return;
            }
        }
        let segment = self.segment(direction, flags, &[], 0);
        file.packet(self.ends.interface, at, direction, comment, &segment);
        if flags & (flags::SYN | flags::FIN) != 0 {
            let half = self.half(direction);
            half.seq = half.seq.wrapping_add(1);
        }
    }

    fn segment<'a>(
        &self,
        direction: Direction,
        flags: u8,
        payload: &'a [u8],
        wire_len: usize,
    ) -> Segment<'a> {
        let Ends { local, remote, .. } = self.ends;
        let (from, to, half, other) = match direction {
            Direction::Outbound => (local, remote, &self.sent, &self.received),
            Direction::Inbound => (remote, local, &self.received, &self.sent),
        };
        let ack = match flags & flags::ACK {
            0 => 0,
            _ => other.seq,
        };
        Segment {
            from,
            to,
            seq: half.seq,
            ack,
            flags,
            payload,
            wire_len,
        }
    }
}

impl Half {
    /// Takes one span from the beginning of `bytes`: its length, and whether a PDU ends with it.
    fn frame(&mut self, bytes: &[u8], headers_only: bool, redact: bool) -> (usize, bool) {
        let (taken, span, ends) = self.framer.next(bytes);
        let opcode = self.framer.opcode();
        let is_login = matches!(opcode, LOGIN_REQUEST | LOGIN_RESPONSE);
        self.cut |= headers_only && span != Span::Header && !TELLING.contains(&opcode);
        if !self.cut {
            let start = self.kept.len();
            self.kept.extend(&bytes[..taken]);
            if redact && is_login && span == Span::Data {
                self.redactor.apply(&mut self.kept[start..]);
            }
        }
        self.len += taken;
        // With the C bit (section 11.12.2) the text goes on in the next PDU, in the middle of a key or
        // of a value, where it likes.
        if ends && !(is_login && self.framer.bhs()[1] & 0x40 != 0) {
            self.redactor.restart();
        }
        (taken, ends)
    }
}

/// T bit, next stage full feature phase, status class "success" (RFC 7143 section 11.13).
const fn is_final_login_response(bhs: &[u8; 48]) -> bool {
    bhs[0] & 0x3f == LOGIN_RESPONSE && bhs[1] & 0x83 == 0x83 && bhs[36] == 0
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    fn at() -> Instant {
        tests_clock()
    }

    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn tests_clock() -> Instant {
        Instant::now()
    }

    fn flow(isn: u32) -> Flow {
        let ends = Ends {
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:3260".parse().unwrap(),
            interface: 0,
        };
        let rules = Rules {
            headers_only: false,
            redact: true,
        };
        Flow::new(rules, ends, isn)
    }

    /// Sequence and acknowledgement numbers of the packets in a file: they lie at a fixed place.
    fn numbers(file: &[u8]) -> Vec<(u32, u32)> {
        let mut rest = file;
        let mut numbers = Vec::new();
        while let Some((head, _)) = rest.split_first_chunk::<60>() {
            let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
            if u32::from_le_bytes(word(0)) == 6 {
                let number = |at| u32::from_be_bytes(word(at));
                numbers.push((number(52), number(56)));
            }
            rest = &rest[u32::from_le_bytes(word(4)) as usize..];
        }
        numbers
    }

    #[test]
    fn sequence_numbers_go_on_behind_four_gibibytes() {
        let mut file = File::new(Vec::new(), u64::MAX, None).unwrap();
        let mut flow = flow(u32::MAX - 100);
        flow.open(&mut file, at(), "");
        let bytes = [0_u8; 80];
        for direction in [Direction::Outbound, Direction::Inbound] {
            for _ in 0..2 {
                let slices = [IoSlice::new(&bytes)];
                let bytes = StreamBytes::sent(&slices, 80);
                flow.data(&mut file, at(), direction, bytes);
            }
        }
        let first = u32::MAX - 99;
        assert_eq!(
            numbers(file.writer()),
            [
                (first - 1, 0),
                (first - 1, first),
                (first, first),
                (first, first),
                (first + 80, first),
                (first, 60),
                (first + 80, 60),
            ]
        );
    }

    /// What comes behind the final Login Response may have digests: it waits until that is known.
    #[test]
    fn bytes_read_ahead_of_the_logins_end_are_not_lost_if_it_never_ends() {
        let mut file = File::new(Vec::new(), u64::MAX, None).unwrap();
        let mut flow = flow(0);
        let mut bytes = [0_u8; 48 + 10];
        bytes[..2].copy_from_slice(&[0x23, 0x87]);
        let slices = [IoSlice::new(&bytes)];
        let received = StreamBytes::sent(&slices, bytes.len());
        flow.data(&mut file, at(), Direction::Inbound, received);
        assert_eq!((flow.received.seq, flow.behind.len()), (48, 10));
        flow.ended(&mut file, at(), StreamEnd::Aborted);
        assert_eq!((flow.received.seq, flow.behind.len()), (58, 0));
    }
}
