//! Where the PDUs of a connection begin and end, for faults that hit certain parts of them.
//!
//! Follows RFC 7143: the login without digests, and from its last response on with those that were
//! agreed on in it.

use std::ops::Range;

use iscsi_proto::pdu::Bhs;

use super::ids::Side;

const LOGIN_RESPONSE: u8 = 0x23;

/// The T bit, and the next stage: full feature phase.
const INTO_FULL_FEATURE: u8 = 0x83;

/// As much as is read of a login's text.
const MAX_TEXT: usize = 64 * 1024;

/// A part of a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Header,
    HeaderDigest,
    Data,
    DataDigest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) header: bool,
    pub(super) data: bool,
}

impl Digests {
    /// Whether a digest vouches for this part, or it is one itself.
    pub(super) const fn protect(self, part: Part) -> bool {
        match part {
            Part::Header | Part::HeaderDigest => self.header,
            Part::Data | Part::DataDigest => self.data,
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Stream {
    /// How far the current PDU has come.
    at: usize,
    header: Vec<u8>,
    /// Where its parts end, once its header is there.
    ends: Option<[usize; 4]>,
    /// What hits the PDU: where, from the beginning of which part.
    hit: Option<(Part, usize, u8)>,
}

/// A connection's PDUs, in both directions.
#[derive(Debug, Default)]
pub(super) struct Frames {
    streams: [Stream; 2],
    text: Vec<u8>,
    is_full_feature: bool,
    digests: Digests,
}

/// What is to be hit in a PDU: a part, a byte of it (of those that there are), and a bit.
pub(super) type Aim = (Part, u64, u8);

impl Frames {
    /// Goes on over what `side` sends. `aim` says of each PDU what of it is to be hit, and `hit` is told
    /// where in `data` that is.
    pub(super) fn advance(
        &mut self,
        side: Side,
        data: &[u8],
        mut aim: impl FnMut(Digests) -> Option<Aim>,
        mut hit: impl FnMut(usize, u8, Part),
    ) {
        let mut at = 0;
        while at < data.len() {
            if self.streams[side as usize].at == 0 {
                let digests = self.digests_in_force();
                self.streams[side as usize].begin(aim(digests));
            }
            let digests = self.digests_in_force();
            let stream = &mut self.streams[side as usize];
            let piece = stream.next_piece(&data[at..], digests);
            if let Some((offset, bit, part)) = stream.hit_within(piece.clone()) {
                hit(at + offset, bit, part);
            }
            let len = piece.len();
            stream.at = piece.end;
            if side == Side::Target && !self.is_full_feature {
                self.read_login(&data[at..at + len], piece);
            }
            at += len;
            let stream = &mut self.streams[side as usize];
            if stream.ends.is_some_and(|ends| ends[3] == stream.at) {
                self.end_pdu(side);
            }
        }
    }

    const fn digests_in_force(&self) -> Digests {
        if self.is_full_feature {
            self.digests
        } else {
            Digests {
                header: false,
                data: false,
            }
        }
    }

    /// The text of login responses says which digests there will be.
    fn read_login(&mut self, bytes: &[u8], piece: Range<usize>) {
        let stream = &self.streams[Side::Target as usize];
        let Some(ends) = stream.ends else { return };
        let is_data = piece.start >= ends[1] && piece.end <= ends[2];
        if is_data && self.text.len() + bytes.len() <= MAX_TEXT {
            self.text.extend_from_slice(bytes);
        }
    }

    fn end_pdu(&mut self, side: Side) {
        let stream = &mut self.streams[side as usize];
        let (opcode, flags) = (stream.header[0] & 0x3f, stream.header[1]);
        stream.at = 0;
        stream.header.clear();
        stream.ends = None;
        stream.hit = None;
        let is_response = side == Side::Target && opcode == LOGIN_RESPONSE;
        if is_response && flags & INTO_FULL_FEATURE == INTO_FULL_FEATURE {
            let has = |pair: &[u8]| self.text.split(|byte| *byte == 0).any(|text| text == pair);
            self.digests = Digests {
                header: has(b"HeaderDigest=CRC32C"),
                data: has(b"DataDigest=CRC32C"),
            };
            self.is_full_feature = true;
            self.text = Vec::new();
        }
    }
}

impl Stream {
    fn begin(&mut self, aim: Option<Aim>) {
        // Digests are four bytes long; what is longer is cut down when its length is known.
        self.hit = aim.map(|(part, place, bit)| {
            let within = match part {
                Part::Header => place % Bhs::LEN as u64,
                Part::HeaderDigest | Part::DataDigest => place % 4,
                Part::Data => place % (1 << 24),
            };
            (part, within as usize, bit)
        });
    }

    /// The bytes of the PDU, from where it stands, that belong to one part and are there.
    fn next_piece(&mut self, data: &[u8], digests: Digests) -> Range<usize> {
        if self.ends.is_none() {
            let missing = Bhs::LEN - self.header.len();
            let len = missing.min(data.len());
            self.header.extend_from_slice(&data[..len]);
            if let Some((bhs, _)) = self.header.split_first_chunk::<{ Bhs::LEN }>() {
                self.ends = Some(layout(&Bhs::from(*bhs), digests));
                self.settle_hit();
            }
            return self.at..self.at + len;
        }
        let ends = self.ends.unwrap_or_default();
        let end = ends.into_iter().find(|end| *end > self.at);
        let end = end.unwrap_or(self.at).min(self.at + data.len());
        self.at..end
    }

    /// The length of the data is known: what was aimed at is within it, or nothing is hit.
    fn settle_hit(&mut self) {
        let (Some(ends), Some((part, within, bit))) = (self.ends, self.hit) else {
            return;
        };
        let part_of = range(ends, part);
        self.hit = match part {
            Part::Header => self.hit,
            _ if part_of.is_empty() => None,
            _ => Some((part, within % part_of.len(), bit)),
        };
    }

    /// What is hit in the bytes `piece` of the PDU, counted from the first of them.
    fn hit_within(&self, piece: Range<usize>) -> Option<(usize, u8, Part)> {
        let (part, within, bit) = self.hit?;
        let start = match (part, self.ends) {
            (Part::Header, _) => 0,
            (_, Some(ends)) => range(ends, part).start,
            (_, None) => return None,
        };
        let at = start + within;
        piece.contains(&at).then(|| (at - piece.start, bit, part))
    }
}

fn layout(bhs: &Bhs, digests: Digests) -> [usize; 4] {
    let header = Bhs::LEN + bhs.total_ahs_length();
    let digest = header + if digests.header { 4 } else { 0 };
    let length = bhs.data_segment_length() as usize;
    let data = digest + length.next_multiple_of(4);
    let has_digest = digests.data && length > 0;
    [header, digest, data, data + if has_digest { 4 } else { 0 }]
}

const fn range(ends: [usize; 4], part: Part) -> Range<usize> {
    match part {
        Part::Header => 0..ends[0],
        Part::HeaderDigest => ends[0]..ends[1],
        Part::Data => ends[1]..ends[2],
        Part::DataDigest => ends[2]..ends[3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(opcode: u8, flags: u8, data: &[u8], digests: Digests) -> Vec<u8> {
        let mut bytes = vec![0; Bhs::LEN];
        (bytes[0], bytes[1]) = (opcode, flags);
        bytes[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        bytes.extend(vec![0xaa; if digests.header { 4 } else { 0 }]);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let has_digest = digests.data && !data.is_empty();
        bytes.extend(vec![0xbb; if has_digest { 4 } else { 0 }]);
        bytes
    }

    /// What is hit when every PDU is aimed at `aim`, with `data` in pieces of `piece`.
    fn hits(frames: &mut Frames, data: &[u8], piece: usize, aim: Aim) -> Vec<(usize, Part)> {
        let mut hits = Vec::new();
        for (index, part) in data.chunks(piece).enumerate() {
            let aim = |digests: Digests| Some(aim).filter(|(part, ..)| digests.protect(*part));
            let hit = |at, _, part| hits.push((index * piece + at, part));
            frames.advance(Side::Target, part, aim, hit);
        }
        hits
    }

    #[test]
    fn parts_are_found_whatever_the_pieces_and_nothing_is_before_digests_are() {
        let (none, both) = (
            Digests::default(),
            Digests {
                header: true,
                data: true,
            },
        );
        let text = b"HeaderDigest=CRC32C\0DataDigest=CRC32C\0MaxBurstLength=512\0";
        for piece in [1, 3, 48, 10_000] {
            for (part, place, at) in [
                (Part::Header, 7, 7),
                (Part::HeaderDigest, 2, 50),
                (Part::Data, 12, 53),
                (Part::DataDigest, 3, 67),
            ] {
                let mut frames = Frames::default();
                let login = pdu(LOGIN_RESPONSE, INTO_FULL_FEATURE, text, none);
                assert_eq!(hits(&mut frames, &login, piece, (part, place, 0)), []);
                // Eleven bytes and one of padding; and a PDU without data.
                let mut data = pdu(0x25, 0x80, &[1; 11], both);
                let first = data.len();
                data.extend(pdu(0x21, 0x80, &[], both));
                let found = hits(&mut frames, &data, piece, (part, place, 0));
                let mut expected = vec![(at, part)];
                if matches!(part, Part::Header | Part::HeaderDigest) {
                    expected.push((first + at, part));
                }
                if part == Part::Data {
                    expected[0].0 = 52;
                }
                assert_eq!(found, expected, "{part:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_was_not_agreed_on_is_not_protected() {
        let mut frames = Frames::default();
        let text = b"HeaderDigest=None\0DataDigest=CRC32C\0";
        let login = pdu(LOGIN_RESPONSE, INTO_FULL_FEATURE, text, Digests::default());
        hits(&mut frames, &login, 5, (Part::Header, 0, 0));
        assert_eq!(
            frames.digests,
            Digests {
                header: false,
                data: true
            }
        );
    }
}
