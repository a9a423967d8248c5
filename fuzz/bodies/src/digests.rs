//! PDUs with digests, one of them damaged.

use iscsi_proto::{
    DecodeError, Error, InitiatorTaskTag,
    digest::{crc32c, to_wire},
    framing::{DataRef, DataStore, Destination, Receiver, ReceiverConfig, Step},
    pdu::{Bhs, DataIn, Pdu, opcode, pad_len},
};

use crate::Script;

/// The memory of all tasks, and nothing beyond it.
struct Home(Vec<u8>);

impl Home {
    const LEN: u32 = 4096;

    fn at(at: DataRef) -> std::ops::Range<usize> {
        at.offset as usize..(at.offset + at.len) as usize
    }
}

impl DataStore for Home {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        self.0[Self::at(at)].copy_from_slice(src);
    }

    /// In pieces that are no multiples of anything, as scattered memory has them.
    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        self.0[Self::at(at)].chunks(7).for_each(visitor);
    }
}

/// One PDU of a target with what it carries: of an opcode that a target sends, and short.
fn pdu(script: &mut Script<'_>) -> (Bhs, Vec<u8>) {
    let mut bytes = [0; Bhs::LEN];
    bytes[0] = script.pick(&[opcode::DATA_IN, opcode::NOP_IN, opcode::TEXT_RESPONSE]);
    bytes[1] = 0x80;
    let len = script.below(600);
    bytes[5..8].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
    // Even tags: the reserved one would make other PDUs of these.
    bytes[16..20].copy_from_slice(&(script.u32() & !1).to_be_bytes());
    bytes[20..24].fill(0xff);
    let mut data = vec![script.byte(); len];
    let drawn = script.bytes(len.min(16));
    data[..drawn.len()].copy_from_slice(drawn);
    (Bhs::from(bytes), data)
}

/// Where a digest's own bytes and what it covers begin and end in the stream.
type Covered = std::ops::Range<usize>;

fn write(
    bhs: &Bhs,
    data: &[u8],
    header: bool,
    payload: bool,
    stream: &mut Vec<u8>,
) -> Vec<Covered> {
    let mut covered = Vec::new();
    let mut close = |stream: &mut Vec<u8>, from: usize| {
        let crc = crc32c(0, &stream[from..]);
        stream.extend(to_wire(crc));
        covered.push(from..stream.len());
    };
    let from = stream.len();
    stream.extend_from_slice(bhs.as_bytes());
    if header {
        close(stream, from);
    }
    let from = stream.len();
    stream.extend_from_slice(data);
    stream.resize(stream.len() + pad_len(data.len()), 0);
    if payload && !data.is_empty() {
        close(stream, from);
    }
    covered
}

/// What came out: the headers of the PDUs that were complete, and the error.
fn read(config: ReceiverConfig, mut stream: &[u8], cut: usize) -> (Vec<Bhs>, Option<Error>) {
    let mut receiver = Receiver::new(config, &[]);
    let mut home = Home(vec![0; Home::LEN as usize]);
    let mut complete = Vec::new();
    let place = |bhs: &Bhs| {
        Ok(match Pdu::parse(bhs)? {
            Pdu::DataIn(DataIn { itt, .. }) => Destination::Task {
                itt: InitiatorTaskTag(itt.0),
                offset: itt.0 % (Home::LEN - 600),
            },
            _ => Destination::Segment,
        })
    };
    loop {
        loop {
            match receiver.step(&mut home, place) {
                Ok(Step::NeedMore) => break,
                Ok(Step::Complete) => complete.push(*receiver.header()),
                Err(error) => return (complete, Some(error)),
            }
        }
        if stream.is_empty() {
            return (complete, None);
        }
        let plan = receiver.plan();
        let direct = plan.payload.map_or(0, |data| data.len as usize);
        let n = stream.len().min(cut).min(direct + plan.scratch.len());
        let (payload, ahead) = stream[..n].split_at(n.min(direct));
        plan.scratch[..ahead.len()].copy_from_slice(ahead);
        if let Some(data) = plan.payload {
            let len = payload.len() as u32;
            home.store(DataRef { len, ..data }, payload);
        }
        receiver.received(n, &home).expect("as planned");
        stream = &stream[n..];
    }
}

/// Some PDUs with digests, and up to three flipped bits in one of the pieces that a digest covers.
/// CRC32C finds each such error in pieces of this length (RFC 3385 section 3.1).
///
/// # Panics
///
/// Where whole PDUs are not taken, or one with a flipped bit is, or one before it is not.
pub fn damaged(input: &[u8]) {
    #[cfg(fuzzing)]
    iscsi_proto::digest::keep();
    let mut script = Script::new(input);
    let kind = script.byte();
    let (header, payload) = (Script::bit(kind, 0), Script::bit(kind, 1));
    let config = ReceiverConfig {
        header_digest: header,
        data_digest: payload,
        max_recv_data_segment_length: 1024,
        scratch: 4096,
        read_ahead: 4096,
        read_ahead_large: 0,
    };
    let cut = 1 + script.below(600);
    let (mut stream, mut sent, mut covered) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..1 + script.below(6) {
        let (bhs, data) = pdu(&mut script);
        let places = write(&bhs, &data, header, payload, &mut stream);
        covered.extend(places.into_iter().map(|place| (index, place)));
        sent.push(bhs);
    }
    assert_eq!(read(config, &stream, cut), (sent.clone(), None));
    if covered.is_empty() {
        return;
    }
    let (index, place) = covered[script.below(covered.len())].clone();
    let whole = stream.clone();
    for _ in 0..1 + script.below(3) {
        let bit = script.below(place.len() * 8);
        stream[place.start + bit / 8] ^= 1 << (bit % 8);
    }
    if stream == whole {
        return;
    }
    let (complete, error) = read(config, &stream, cut);
    assert_eq!(
        complete,
        sent[..index],
        "a damaged PDU was taken, or a whole one was not"
    );
    assert!(
        matches!(
            error,
            Some(Error::Decode(
                DecodeError::HeaderDigest | DecodeError::DataDigest
            // What a header says of its own length is looked at before its digest.
            | DecodeError::UnexpectedAhs
            ))
        ),
        "{error:?}"
    );
}
