//! A target that answers without thinking, in memory: what it costs is small, always the same, and a
//! workload of its own, so that it can be subtracted.
//!
//! It reads and writes headers byte by byte and shares no code with what is measured. What it is sent as
//! data it counts and forgets. What it sends as data are zeros where digests are summed over them; else
//! the reader's memory stays as it is, since a network would have filled it and not the program. It is no
//! judge: the testkit's target is.

mod login;
mod scsi;

use std::collections::VecDeque;

use iscsi_proto::digest;

/// Bytes of a basic header segment.
const HEADER: usize = 48;
/// How far MaxCmdSN runs ahead.
const WINDOW: u32 = 128;
const NO_TAG: u32 = u32::MAX;

/// What the target agrees to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// CRC32C over headers and data, both directions.
    pub(crate) digests: bool,
    /// No data comes with a command or behind it unasked.
    pub(crate) r2t_only: bool,
}

impl Settings {
    pub(crate) const PLAIN: Self = Self {
        digests: false,
        r2t_only: false,
    };
    pub(crate) const DIGESTS: Self = Self {
        digests: true,
        r2t_only: false,
    };
    pub(crate) const R2T: Self = Self {
        digests: false,
        r2t_only: true,
    };

    /// MaxRecvDataSegmentLength of both sides.
    const SEGMENT: u32 = 262_144;
    /// MaxBurstLength, which is also what one R2T asks for.
    const BURST: u32 = 1 << 20;
}

/// One connection's worth of target.
#[derive(Debug)]
pub(crate) struct Target {
    settings: Settings,
    /// Digests are in use: not before the login is over.
    digests: bool,
    header: [u8; HEADER],
    /// Bytes of `header` that are there.
    have: usize,
    /// Bytes of the PDU that are still to come behind its header.
    rest: usize,
    /// The data segment of a login request; of others nothing is kept.
    text: Vec<u8>,
    stat_sn: u32,
    exp_cmd_sn: u32,
    writes: Vec<Write>,
    out: VecDeque<Piece>,
    pending: usize,
    /// The checksum of so many zeros.
    zeros_crc: (u32, [u8; 4]),
    confused: Option<u8>,
}

/// A write that has not all of its data yet.
#[derive(Clone, Copy, Debug)]
struct Write {
    itt: u32,
    expected: u32,
    received: u32,
    r2ts: u32,
}

#[derive(Debug)]
enum Piece {
    /// A header with its digest, or a digest; the bytes from `at` to `end`.
    Short {
        bytes: [u8; HEADER + 4],
        at: u8,
        end: u8,
    },
    Zeros(u32),
    Long(Vec<u8>, usize),
}

impl Piece {
    fn short(from: &[u8]) -> Self {
        let mut bytes = [0; HEADER + 4];
        bytes[..from.len()].copy_from_slice(from);
        Self::Short {
            bytes,
            at: 0,
            end: from.len() as u8,
        }
    }
}

impl Target {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            digests: false,
            header: [0; HEADER],
            have: 0,
            rest: 0,
            text: Vec::new(),
            stat_sn: 1,
            exp_cmd_sn: 0,
            writes: Vec::with_capacity(64),
            out: VecDeque::with_capacity(256),
            pending: 0,
            zeros_crc: (0, [0; 4]),
            confused: None,
        }
    }

    /// The opcode that it knows no answer to, if there was one.
    pub(crate) const fn confused(&self) -> Option<u8> {
        self.confused
    }

    /// Bytes that it has to send.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// Takes bytes of the initiator's stream, cut anywhere.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < HEADER {
                let n = bytes.len().min(HEADER - self.have);
                self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < HEADER {
                    return;
                }
                self.rest = self.behind_header();
            } else {
                let n = bytes.len().min(self.rest);
                if self.opcode() == 0x03 {
                    self.text.extend_from_slice(&bytes[..n]);
                }
                self.rest -= n;
                bytes = &bytes[n..];
            }
            if self.rest == 0 {
                self.have = 0;
                self.answer();
            }
        }
    }

    /// Fills `buf` with what is to be sent, and returns how much that was.
    pub(crate) fn fill(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(piece) = self.out.front_mut() else {
                break;
            };
            let room = &mut buf[done..];
            let (n, over) = match piece {
                Piece::Short { bytes, at, end } => {
                    let n = room.len().min(usize::from(*end - *at));
                    let from = usize::from(*at);
                    room[..n].copy_from_slice(&bytes[from..from + n]);
                    *at += n as u8;
                    (n, at == end)
                }
                Piece::Zeros(left) => {
                    let n = room.len().min(*left as usize);
                    if self.digests {
                        room[..n].fill(0);
                    }
                    *left -= n as u32;
                    (n, *left == 0)
                }
                Piece::Long(bytes, at) => {
                    let n = room.len().min(bytes.len() - *at);
                    room[..n].copy_from_slice(&bytes[*at..*at + n]);
                    *at += n;
                    (n, *at == bytes.len())
                }
            };
            done += n;
            if over {
                self.out.pop_front();
            }
        }
        self.pending -= done;
        done
    }

    const fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    fn u32_at(&self, at: usize) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.header[at + i]);
        u32::from_be_bytes([a, b, c, d])
    }

    fn segment_len(&self) -> u32 {
        self.u32_at(4) & 0x00ff_ffff
    }

    /// Additional headers, data, padding and digests.
    fn behind_header(&self) -> usize {
        let len = self.segment_len() as usize;
        let digests = match (self.digests, len) {
            (false, _) => 0,
            (true, 0) => 4,
            (true, _) => 8,
        };
        usize::from(self.header[4]) * 4 + len.next_multiple_of(4) + digests
    }

    fn answer(&mut self) {
        match self.opcode() {
            0x01 => self.command(),
            0x05 => self.data_out(),
            0x03 => self.login(),
            0x00 => self.nop_out(),
            // Task management: done. Logout: goodbye.
            0x02 => self.acknowledge(0x22),
            0x06 => self.acknowledge(0x26),
            other => self.confused = Some(other),
        }
    }

    /// The next command's number is expected, unless this one is immediate and takes none.
    fn count_command(&mut self) {
        if self.header[0] & 0x40 == 0 {
            self.exp_cmd_sn = self.u32_at(24).wrapping_add(1);
        }
    }

    /// The header of an answer to the request at hand, with F set.
    fn reply(&self, opcode: u8) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = opcode;
        header[1] = 0x80;
        header[16..20].copy_from_slice(&self.header[16..20]);
        put(&mut header, 24, self.stat_sn);
        put(&mut header, 28, self.exp_cmd_sn);
        put(&mut header, 32, self.exp_cmd_sn.wrapping_add(WINDOW - 1));
        header
    }

    /// The same, and it takes a StatSN.
    fn status(&mut self, opcode: u8) -> [u8; HEADER] {
        let header = self.reply(opcode);
        self.stat_sn = self.stat_sn.wrapping_add(1);
        header
    }

    fn acknowledge(&mut self, opcode: u8) {
        self.count_command();
        let header = self.status(opcode);
        self.send(&header);
    }

    fn nop_out(&mut self) {
        self.count_command();
        if self.u32_at(16) != NO_TAG {
            let mut header = self.status(0x20);
            put(&mut header, 20, NO_TAG);
            self.send(&header);
        }
    }

    fn push(&mut self, piece: Piece, len: usize) {
        self.pending += len;
        self.out.push_back(piece);
    }

    /// A header without data.
    fn send(&mut self, header: &[u8; HEADER]) {
        if self.digests {
            let mut with_digest = [0; HEADER + 4];
            with_digest[..HEADER].copy_from_slice(header);
            let crc = digest::to_wire(digest::crc32c(0, header));
            with_digest[HEADER..].copy_from_slice(&crc);
            self.push(Piece::short(&with_digest), HEADER + 4);
        } else {
            self.push(Piece::short(header), HEADER);
        }
    }

    /// A header and `len` zeros; `len` is a multiple of four and not zero.
    fn send_zeros(&mut self, header: &mut [u8; HEADER], len: u32) {
        put_len(header, len);
        self.send(header);
        self.push(Piece::Zeros(len), len as usize);
        if self.digests {
            if self.zeros_crc.0 != len {
                let zeros = vec![0; len as usize];
                self.zeros_crc = (len, digest::to_wire(digest::crc32c(0, &zeros)));
            }
            let crc = self.zeros_crc.1;
            self.push(Piece::short(&crc), 4);
        }
    }

    fn send_bytes(&mut self, header: &mut [u8; HEADER], mut data: Vec<u8>) {
        put_len(header, data.len() as u32);
        self.send(header);
        if data.is_empty() {
            return;
        }
        data.resize(data.len().next_multiple_of(4), 0);
        if self.digests {
            data.extend(digest::to_wire(digest::crc32c(0, &data)));
        }
        let len = data.len();
        self.push(Piece::Long(data, 0), len);
    }
}

fn put(header: &mut [u8; HEADER], at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// DataSegmentLength, which shares its word with TotalAHSLength.
fn put_len(header: &mut [u8; HEADER], len: u32) {
    put(header, 4, len);
}
