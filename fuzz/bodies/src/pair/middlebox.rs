//! Changes PDUs on their way.

use iscsi_proto::{
    digest::{crc32c, to_wire},
    pdu::{Bhs, pad_len},
};
use iscsi_testkit::pair::Towards;

use crate::Script;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It never arrives.
    Drop,
    /// It arrives twice.
    Double,
    /// It arrives behind the next one.
    Swap,
    /// Up to three bits are flipped in what one digest covers, which CRC32C always finds.
    Flip([u16; 3]),
    /// Its last bytes are missing, and so is everything behind it.
    Cut(u16),
    /// Bytes of a header are changed, and its digest is made right.
    Lie([(u8, u8); 3]),
    /// Its data is another, of the same length, and the digest is made right.
    Forge(u8),
}

/// What happens to one PDU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    towards: Towards,
    number: u32,
    how: How,
}

impl Change {
    pub(super) fn draw(script: &mut Script<'_>) -> Self {
        let kind = script.byte();
        let towards = if Script::bit(kind, 0) {
            Towards::Initiator
        } else {
            Towards::Target
        };
        let number = script.byte().into();
        let how = match kind >> 1 & 7 {
            0 => How::Drop,
            1 => How::Double,
            2 => How::Swap,
            3 => How::Cut(script.u16()),
            4 => How::Forge(script.byte()),
            5 => How::Lie([(); 3].map(|()| (script.byte(), script.byte()))),
            _ => How::Flip([(); 3].map(|()| script.u16())),
        };
        Self {
            towards,
            number,
            how,
        }
    }

    /// Nothing could tell by the digests.
    pub(super) const fn is_lie(&self) -> bool {
        matches!(self.how, How::Lie(_) | How::Forge(_))
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// The beginning of a PDU.
    rest: Vec<u8>,
    number: u32,
    /// Waits for the next one to pass.
    kept: Vec<u8>,
    cut: bool,
}

pub(super) struct Middlebox {
    changes: Vec<Change>,
    to_target: Way,
    to_initiator: Way,
}

/// The whole PDU at the front, with both digests.
fn pdu(bytes: &[u8]) -> Option<usize> {
    let (header, _) = bytes.split_first_chunk::<{ Bhs::LEN }>()?;
    let bhs = Bhs::from(*header);
    let len = bhs.data_segment_length() as usize;
    let digest = if len > 0 { 4 } else { 0 };
    let header = Bhs::LEN + bhs.total_ahs_length() + 4;
    let whole = header + len + pad_len(len) + digest;
    (bytes.len() >= whole).then_some(whole)
}

impl Middlebox {
    pub(super) fn new(changes: Vec<Change>) -> Self {
        Self {
            changes,
            to_target: Way::default(),
            to_initiator: Way::default(),
        }
    }

    pub(super) fn pass(&mut self, towards: Towards, bytes: &[u8]) -> Vec<u8> {
        let changes = &self.changes;
        let way = match towards {
            Towards::Target => &mut self.to_target,
            Towards::Initiator => &mut self.to_initiator,
        };
        way.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut way.rest);
        let (mut rest, mut out) = (&rest[..], Vec::new());
        while let Some(len) = pdu(rest) {
            let (pdu, behind) = rest.split_at(len);
            rest = behind;
            let number = way.number;
            way.number += 1;
            let meant = |change: &&Change| change.towards == towards && change.number == number;
            way.change(
                changes.iter().find(meant).map(|change| change.how),
                pdu.to_vec(),
                &mut out,
            );
        }
        way.rest = rest.to_vec();
        out
    }
}

impl Way {
    fn change(&mut self, how: Option<How>, mut pdu: Vec<u8>, out: &mut Vec<u8>) {
        if self.cut {
            return;
        }
        match how {
            None => out.append(&mut pdu),
            Some(How::Drop) => {}
            Some(How::Double) => out.extend_from_slice(&pdu.repeat(2)),
            Some(How::Swap) => {
                self.kept = pdu;
                return;
            }
            Some(How::Cut(at)) => {
                pdu.truncate(usize::from(at) % pdu.len());
                out.append(&mut pdu);
                self.cut = true;
            }
            Some(How::Flip(bits)) => {
                flip(&mut pdu, bits);
                out.append(&mut pdu);
            }
            Some(How::Lie(bytes)) => {
                for (at, by) in bytes {
                    pdu[usize::from(at) % Bhs::LEN] ^= by;
                }
                sign(&mut pdu, 0, Bhs::LEN);
                out.append(&mut pdu);
            }
            Some(How::Forge(by)) => {
                let data = Bhs::LEN + 4;
                if let Some(end) = pdu.len().checked_sub(4).filter(|end| *end > data) {
                    pdu[data] ^= by;
                    sign(&mut pdu, data, end);
                }
                out.append(&mut pdu);
            }
        }
        out.append(&mut self.kept);
    }
}

fn sign(pdu: &mut [u8], from: usize, to: usize) {
    let crc = to_wire(crc32c(0, &pdu[from..to]));
    pdu[to..to + 4].copy_from_slice(&crc);
}

/// Flips bits between the beginning of the header or of the data and the end of its digest.
fn flip(pdu: &mut [u8], bits: [u16; 3]) {
    let header = Bhs::LEN + 4;
    let (from, to) = match bits[0] & 1 != 0 && pdu.len() > header {
        true => (header, pdu.len()),
        false => (0, header),
    };
    for bit in bits {
        let bit = usize::from(bit >> 1) % ((to - from) * 8);
        pdu[from + bit / 8] ^= 1 << (bit % 8);
    }
}
