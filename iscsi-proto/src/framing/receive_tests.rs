//! How much one read takes, and where to.

use alloc::{vec, vec::Vec};
use core::cell::Cell;

use super::*;
use crate::{
    digest,
    error::PeerMisbehaved,
    ids::{InitiatorTaskTag, TargetTransferTag},
    pdu::{Bhs, DataIn, NopIn, Residual, pad_len},
    scsi::lun::Lun,
    serial::{CmdSn, DataSn, StatSn},
};

const SCRATCH: usize = 64 * 1024;
const LARGE: u32 = 20_001;

fn config(read_ahead: usize, read_ahead_large: usize, digests: bool) -> ReceiverConfig {
    ReceiverConfig {
        header_digest: digests,
        data_digest: digests,
        max_recv_data_segment_length: 256 * 1024,
        scratch: SCRATCH,
        read_ahead,
        read_ahead_large,
    }
}

fn data_in(itt: u32, len: u32) -> Bhs {
    let header = DataIn {
        is_final: true,
        acknowledge: false,
        status: None,
        residual: Residual::None,
        lun: Lun::ZERO,
        itt: InitiatorTaskTag(itt),
        ttt: TargetTransferTag::RESERVED,
        stat_sn: StatSn(0),
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(9),
        data_sn: DataSn(0),
        buffer_offset: 0,
        data_segment_length: len,
    };
    header.emit()
}

fn nop_in() -> Bhs {
    let header = NopIn {
        lun: Lun::ZERO,
        itt: InitiatorTaskTag::RESERVED,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: StatSn(0),
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(9),
        data_segment_length: 0,
    };
    header.emit()
}

/// A PDU as it stands on the wire; its payload are bytes that tell their offset.
fn wire(bhs: &Bhs, digests: bool) -> Vec<u8> {
    wire_with(bhs, digests, digests)
}

fn wire_with(bhs: &Bhs, header_digest: bool, data_digest: bool) -> Vec<u8> {
    let mut bytes = bhs.as_bytes().to_vec();
    if header_digest {
        bytes.extend(digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
    }
    let len = bhs.data_segment_length() as usize;
    if len > 0 {
        let from = bytes.len();
        bytes.extend((0..len).map(|i| (i % 251) as u8));
        bytes.resize(bytes.len() + pad_len(len), 0);
        if data_digest {
            let crc = digest::crc32c(0, &bytes[from..]);
            bytes.extend(digest::to_wire(crc));
        }
    }
    bytes
}

/// The memory of one task, how much of it came by way of scratch, and how much was looked at again.
struct Home {
    memory: Vec<u8>,
    copied: usize,
    visited: Cell<usize>,
}

impl Home {
    fn new(len: u32) -> Self {
        Self {
            memory: vec![0xee; len as usize],
            copied: 0,
            visited: Cell::new(0),
        }
    }
}

impl DataStore for Home {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        self.copied += src.len();
        self.memory[at.offset as usize..][..src.len()].copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        self.visited.set(self.visited.get() + at.len as usize);
        visitor(&self.memory[at.offset as usize..][..at.len as usize]);
    }
}

/// Reads all of `stream`, each read as long as its plan allows. Returns the plans, as bytes for the
/// payload and for scratch, and how many PDUs came.
fn read_all(receiver: &mut Receiver, home: &mut Home, mut stream: &[u8]) -> Vec<(u32, usize)> {
    let mut plans = Vec::new();
    while !stream.is_empty() {
        let plan = receiver.plan();
        let direct = plan.payload.map_or(0, |data| data.len);
        plans.push((direct, plan.scratch.len()));
        let n = stream.len().min(direct as usize + plan.scratch.len());
        let (payload, ahead) = stream[..n].split_at(n.min(direct as usize));
        plan.scratch[..ahead.len()].copy_from_slice(ahead);
        if let Some(data) = plan.payload {
            home.memory[data.offset as usize..][..payload.len()].copy_from_slice(payload);
        }
        receiver.received(n, home).unwrap();
        stream = &stream[n..];
        loop {
            let place = |bhs: &Bhs| {
                Ok(Destination::Task {
                    itt: bhs.initiator_task_tag(),
                    offset: 0,
                })
            };
            if receiver.step(home, place).unwrap() == Step::NeedMore {
                break;
            }
        }
    }
    plans
}

#[test]
fn one_read_of_small_pdus_takes_no_more_than_the_bound() {
    let stream: Vec<u8> = (0..40)
        .flat_map(|i| wire(&data_in(i, 4096), false))
        .collect();
    for bound in [4096, 33_152, SCRATCH, usize::MAX] {
        let mut receiver = Receiver::new(config(bound, 512, false), &[]);
        let mut home = Home::new(4096);
        let plans = read_all(&mut receiver, &mut home, &stream);
        assert_eq!(receiver.pdus(), 40);
        assert!(!receiver.is_mid_pdu());
        let most = plans.iter().map(|(_, scratch)| *scratch).max();
        assert_eq!(most, Some(bound.min(SCRATCH)));
    }
}

/// With 0 the read behind a large segment ends where the next header ends, so that the segment of
/// that one is read to the beginning of its home and not a byte of it is copied.
#[test]
fn behind_a_large_segment_exactly_the_next_header_can_be_read() {
    for digests in [false, true] {
        let stream: Vec<u8> = (0..5)
            .flat_map(|i| wire(&data_in(i, LARGE), digests))
            .collect();
        let mut receiver = Receiver::new(config(usize::MAX, 0, digests), &[]);
        let mut home = Home::new(LARGE);
        // The first header comes alone.
        let header = if digests { 52 } else { 48 };
        read_all(&mut receiver, &mut home, &stream[..header]);
        let plans = read_all(&mut receiver, &mut home, &stream[header..]);
        let trailer = pad_len(LARGE as usize) + if digests { 4 } else { 0 };
        assert_eq!(plans, [(LARGE, trailer + header); 5]);
        assert_eq!((receiver.pdus(), home.copied), (5, 0));
        assert!(
            home.memory
                .iter()
                .zip(0..)
                .all(|(byte, i)| *byte == (i % 251) as u8)
        );
    }
}

#[test]
fn a_larger_read_ahead_catches_short_pdus_and_copies_as_much_at_most() {
    let mut stream = Vec::new();
    for i in 0..4 {
        stream.extend(wire(&data_in(i, LARGE), false));
        stream.extend(wire(&nop_in(), false));
        stream.extend(wire(&nop_in(), false));
    }
    let mut receiver = Receiver::new(config(usize::MAX, 512, false), &[]);
    let mut home = Home::new(LARGE);
    read_all(&mut receiver, &mut home, &stream[..48]);
    let plans = read_all(&mut receiver, &mut home, &stream[48..]);
    // One read per large segment, though there are twelve PDUs.
    assert_eq!((plans.len(), receiver.pdus()), (4, 12));
    assert!(home.copied > 0 && home.copied < 3 * 512, "{}", home.copied);
}

/// Where a large segment ended with the read, and nothing is there of the next header, a header alone
/// is not worth a read, whatever is asked for behind payload.
#[test]
fn a_header_alone_is_never_read_where_the_stream_stands_before_it() {
    let mut receiver = Receiver::new(config(usize::MAX, 0, false), &[]);
    let mut home = Home::new(LARGE);
    let stream = wire(&data_in(1, LARGE), false);
    read_all(&mut receiver, &mut home, &stream);
    assert_eq!(receiver.plan().scratch.len(), 512);
}

/// What a fuzzer does, with streams that it would be long in finding: large and small segments, with
/// and without a home.
#[test]
fn the_cut_of_a_stream_into_reads_changes_nothing() {
    for flags in [0u8, 1, 2, 3, 0x40, 0xfc, 0xff] {
        let (header_digest, data_digest) = (flags & 1 != 0, flags & 2 != 0);
        let wire = |bhs: &Bhs| wire_with(bhs, header_digest, data_digest);
        let mut input = vec![flags, flags.wrapping_mul(31)];
        for (itt, len) in (0..).zip([0, 1, 4096, LARGE, 3, LARGE, LARGE + 2, 0, 17_000, 5]) {
            input.extend(wire(&data_in(itt, len)));
            input.extend(wire(&nop_in()));
        }
        fuzz_stream(&input);
        // And one that ends in the middle, and one with an opcode that there is not.
        fuzz_stream(&input[..input.len() - 40]);
        input.extend([0x3e; 60]);
        fuzz_stream(&input);
    }
}

/// Whoever places segments may refuse one; nothing behind it can be trusted then.
#[test]
fn a_segment_that_has_no_place_ends_the_stream() {
    let mut receiver = Receiver::new(config(usize::MAX, 512, false), &[]);
    let mut home = Home::new(8);
    let stream = [wire(&data_in(1, 8), false), wire(&data_in(2, 8), false)].concat();
    receiver.plan().scratch[..stream.len()].copy_from_slice(&stream);
    receiver.received(stream.len(), &home).unwrap();
    let refused = receiver.step(&mut home, |_| Err(PeerMisbehaved::Flags.into()));
    assert_eq!(refused, Err(PeerMisbehaved::Flags.into()));
    let again = receiver.step(&mut home, |_| Ok(Destination::Discard));
    assert_eq!(again, Err(PeerMisbehaved::Flags.into()));
    assert_eq!((receiver.pdus(), home.copied), (0, 0));
}

/// A digest is summed once over every byte, where it lies, however the segment came.
#[test]
fn no_byte_of_a_segment_is_summed_twice() {
    let stream: Vec<u8> = (0..5)
        .flat_map(|i| wire(&data_in(i, LARGE), true))
        .collect();
    for most in [1, 700, 5_000, 1 << 20] {
        let mut receiver = Receiver::new(config(usize::MAX, 512, true), &[]);
        let mut home = Home::new(LARGE);
        for bytes in stream.chunks(most) {
            read_all(&mut receiver, &mut home, bytes);
        }
        assert_eq!(receiver.pdus(), 5);
        // What crossed scratch was summed there.
        assert_eq!(home.copied + home.visited.get(), 5 * LARGE as usize);
    }
}

/// Reads as much as there is room for, from a stream that has no end; says how much that was.
fn fill(receiver: &mut Receiver, home: &mut Home, pdu: &[u8], from: &mut usize) -> usize {
    let plan = receiver.plan();
    assert_eq!(plan.payload, None);
    let room = plan.scratch.len();
    for (place, byte) in plan.scratch.iter_mut().zip(pdu.iter().cycle().skip(*from)) {
        *place = *byte;
    }
    *from = (*from + room) % pdu.len();
    receiver.received(room, home).unwrap();
    while receiver.step(home, |_| Ok(Destination::Segment)).unwrap() == Step::Complete {}
    room
}

#[test]
fn scratch_grows_while_reads_fill_it_and_is_given_back_at_rest() {
    let mut receiver = Receiver::new(config(usize::MAX, 0, false), &[]);
    let mut home = Home::new(0);
    let pdu = wire(&nop_in(), false);
    // A read that leaves room has found all that there was.
    for _ in 0..100 {
        let plan = receiver.plan();
        plan.scratch[..48].copy_from_slice(&pdu);
        receiver.received(48, &home).unwrap();
        receiver
            .step(&mut home, |_| Ok(Destination::Segment))
            .unwrap();
    }
    assert_eq!(receiver.plan().scratch.len(), 4096);
    let (mut rooms, mut from) = (Vec::new(), 0);
    for _ in 0..10 {
        rooms.push(fill(&mut receiver, &mut home, &pdu, &mut from));
    }
    assert!(rooms.is_sorted(), "{rooms:?}");
    assert_eq!((rooms[0], receiver.held_bytes()), (4096, SCRATCH as u64));
    // Half a header waits there, which stays.
    assert_ne!(from, 0);
    receiver.rest();
    receiver.plan();
    assert_eq!(receiver.held_bytes(), SCRATCH as u64);
    let plan = receiver.plan();
    plan.scratch[..48 - from].copy_from_slice(&pdu[from..]);
    receiver.received(48 - from, &home).unwrap();
    let step = receiver.step(&mut home, |_| Ok(Destination::Segment));
    assert_eq!(step, Ok(Step::Complete));
    assert_eq!(receiver.plan().scratch.len(), 4096);
    assert_eq!(receiver.held_bytes(), 4096);
    assert_eq!(fill(&mut receiver, &mut home, &pdu, &mut 0), 4096);
}
