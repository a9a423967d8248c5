//! What the target sends, cut into PDUs apart from the receiver under test.

use iscsi_proto::{
    pdu::{Bhs, Pdu, pad_len},
    serial::CmdSn,
};

use super::{World, judge::Digests, target::Said};

/// The stream of the target, as far as it is not cut yet.
#[derive(Default)]
pub(super) struct Heard {
    rest: Vec<u8>,
    /// A header that announces additional segments: it is the end.
    over: bool,
}

/// A PDU, or the beginning of one.
struct Part {
    bhs: Bhs,
    data: Vec<u8>,
    whole: bool,
}

impl Heard {
    /// More of the stream: the PDUs that it completes, and the beginning of the one behind them, which will come
    /// again with more of its data.
    fn hear(&mut self, bytes: &[u8], digests: Digests) -> Vec<Part> {
        self.rest.extend_from_slice(bytes);
        let mut parts = Vec::new();
        let mut from = 0;
        while let Some((part, len)) = next(&self.rest[from..], digests).filter(|_| !self.over) {
            self.over = part.bhs.total_ahs_length() > 0;
            let whole = part.whole;
            parts.push(part);
            if !whole {
                break;
            }
            from += len;
        }
        self.rest.drain(..from);
        parts
    }
}

fn next(bytes: &[u8], digests: Digests) -> Option<(Part, usize)> {
    let (header, _) = bytes.split_first_chunk::<{ Bhs::LEN }>()?;
    let bhs = Bhs::from(*header);
    let len = bhs.data_segment_length() as usize;
    let from = Bhs::LEN + if digests.header { 4 } else { 0 };
    let trailer = pad_len(len) + if digests.data && len > 0 { 4 } else { 0 };
    let to = from + len + trailer;
    let there = bytes.get(from..).unwrap_or_default();
    let data = there[..len.min(there.len())].to_vec();
    let whole = bytes.len() >= to;
    Some((Part { bhs, data, whole }, to))
}

impl World {
    /// The oracles hear it as well.
    pub(super) fn listen(&mut self, said: &Said) {
        for part in self.heard.hear(&said.bytes, self.digests) {
            self.reads.hear(&part.bhs, &part.data);
            match Pdu::parse(&part.bhs) {
                Ok(pdu) if part.whole => self.means(&pdu, &part.bhs),
                _ => {}
            }
        }
    }

    fn means(&mut self, pdu: &Pdu, bhs: &Bhs) {
        let at = |at: usize| {
            let bytes = bhs.as_bytes()[at..].first_chunk();
            CmdSn(u32::from_be_bytes(*bytes.expect("inside the header")))
        };
        // All that targets send have them in the same place. An ExpCmdSN of the future is an error.
        let (exp, max) = (at(28), at(32));
        if pdu.opcode() & 0x20 != 0 && !self.judge.next_cmd_sn().precedes(exp) {
            self.judge.window(exp, max);
        }
        if let Pdu::R2t(r2t) = pdu {
            let (offset, len) = (r2t.buffer_offset, r2t.desired_data_transfer_length);
            self.judge.asks(r2t.itt, r2t.ttt, offset, len);
        }
    }
}
