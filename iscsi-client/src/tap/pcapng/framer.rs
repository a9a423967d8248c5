//! Where PDUs begin and end in a stream (RFC 7143 section 11.2), and no more than that.
//!
//! Not the core's framing: that one refuses what is wrong, and a capture is there to show it. Whatever
//! comes, this one only counts.

/// What a span of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Basic header segment, additional ones, header digest.
    Header,
    /// Data segment.
    Data,
    /// Padding and data digest.
    Trailer,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Framer {
    header_digest: bool,
    data_digest: bool,
    bhs: [u8; 48],
    have: usize,
    /// Bytes of each span that are still to come.
    header: usize,
    data: usize,
    trailer: usize,
}

impl Framer {
    pub(super) const fn new() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            bhs: [0; 48],
            have: 0,
            header: 48,
            data: 0,
            trailer: 0,
        }
    }

    /// The digests of the PDUs from here on.
    pub(super) const fn set_digests(&mut self, header: bool, data: bool) {
        self.header_digest = header;
        self.data_digest = data;
    }

    /// The header of the PDU under way; whole if a span of another kind has been returned.
    pub(super) const fn bhs(&self) -> &[u8; 48] {
        &self.bhs
    }

    pub(super) const fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    /// The length of the next span of `bytes`, which are not empty; what it is; and whether a PDU ends
    /// with it. A span may be cut where `bytes` end.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (usize, Span, bool) {
        let (left, span) = match (self.header, self.data) {
            (1.., _) => (&mut self.header, Span::Header),
            (0, 1..) => (&mut self.data, Span::Data),
            (0, 0) => (&mut self.trailer, Span::Trailer),
        };
        let taken = bytes.len().min(*left);
        *left -= taken;
        if span == Span::Header && self.have < 48 {
            self.take_bhs(&bytes[..taken]);
        }
        let ends = self.header + self.data + self.trailer == 0;
        if ends {
            self.have = 0;
            self.header = 48;
        }
        (taken, span, ends)
    }

    fn take_bhs(&mut self, bytes: &[u8]) {
        self.bhs[self.have..self.have + bytes.len()].copy_from_slice(bytes);
        self.have += bytes.len();
        if self.have < 48 {
            return;
        }
        let [_, _, _, _, ahs, high, middle, low, ..] = self.bhs;
        let digest = |on: bool| usize::from(on) * 4;
        self.header = usize::from(ahs) * 4 + digest(self.header_digest);
        self.data = u32::from_be_bytes([0, high, middle, low]) as usize;
        if self.data > 0 {
            self.trailer = (4 - self.data % 4) % 4 + digest(self.data_digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(opcode: u8, ahs: u8, data: u8) -> Vec<u8> {
        let mut bytes = vec![0xee; 48];
        bytes[0] = opcode;
        bytes[4] = ahs;
        bytes[5..8].copy_from_slice(&[0, 0, data]);
        bytes
    }

    /// The stream as (span, length), joined where only the cut parted it.
    fn spans(framer: &mut Framer, stream: &[u8], cut: usize) -> Vec<(Span, usize)> {
        let mut spans: Vec<(Span, usize)> = Vec::new();
        let mut fresh = true;
        for mut bytes in stream.chunks(cut) {
            while !bytes.is_empty() {
                let (taken, span, ends) = framer.next(bytes);
                match spans.last_mut() {
                    Some((last, len)) if *last == span && !fresh => *len += taken,
                    _ => spans.push((span, taken)),
                }
                fresh = ends;
                bytes = &bytes[taken..];
            }
        }
        spans
    }

    #[test]
    fn a_stream_has_the_same_spans_however_it_is_cut() {
        let mut stream = pdu(0x01, 2, 5);
        stream.extend([0; 8 + 4 + 5 + 3 + 4]);
        stream.extend(pdu(0x00, 0, 0));
        stream.extend([0; 4]);
        stream.extend(pdu(0x25, 0, 4));
        stream.extend([0; 4 + 4 + 4]);
        let expected = [
            (Span::Header, 60),
            (Span::Data, 5),
            (Span::Trailer, 7),
            (Span::Header, 52),
            (Span::Header, 52),
            (Span::Data, 4),
            (Span::Trailer, 4),
        ];
        for cut in 1..stream.len() + 1 {
            let mut framer = Framer::new();
            framer.set_digests(true, true);
            assert_eq!(spans(&mut framer, &stream, cut), expected, "{cut}");
        }
    }
}
