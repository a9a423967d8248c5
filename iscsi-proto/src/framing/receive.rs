//! The incoming stream, cut into PDUs.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{vec, vec::Vec};

use super::{DataRef, DataStore};
use crate::{
    digest,
    error::{ApiMisuse, DecodeError, Error},
    held::HeldBytes,
    ids::InitiatorTaskTag,
    pdu::{Bhs, DataIn, Pdu, ScsiResponse, pad_len},
    planted::{Bug, Planted},
};

/// Limits and negotiated facts of the incoming direction of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverConfig {
    /// HeaderDigest=CRC32C was negotiated.
    pub header_digest: bool,
    /// DataDigest=CRC32C was negotiated.
    pub data_digest: bool,
    /// The MaxRecvDataSegmentLength that we declared; a longer segment is an error before any of it
    /// is read.
    pub max_recv_data_segment_length: u32,
    /// Size to which the scratch buffer may grow; at least 4 KiB, with which it begins.
    pub scratch: usize,
    /// How many bytes one read may bring into scratch while small PDUs flow; at least 4 KiB, and
    /// never more than scratch has room for. A read that takes all that a target has sent makes the
    /// two sides take turns; one that takes a part of it lets the target go on meanwhile.
    pub read_ahead: usize,
    /// How many bytes a read may bring into scratch behind a segment of 16 KiB or more, which goes
    /// to its home directly. What of them is payload of the next such segment is copied, and that
    /// segment is no longer read to the beginning of its home but to somewhere behind it. At least
    /// the trailer of the segment and the header behind it are read, so 0 stands for exactly these.
    pub read_ahead_large: usize,
}

/// Where the data segment of a PDU goes, decided from its header alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into the memory of a task. The caller has checked that all of the segment fits there.
    Task {
        /// The task.
        itt: InitiatorTaskTag,
        /// Where in its buffer the segment begins.
        offset: u32,
    },
    /// Into the receiver's own segment buffer ([`Receiver::segment`]): sense data, text, pings.
    Segment,
    /// Nowhere: the task gave its memory back. Digests are still checked.
    Discard,
}

/// What [`Receiver::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more without more bytes.
    NeedMore,
    /// A whole PDU is there ([`Receiver::header`], [`Receiver::segment`]) and its digests, if any, are
    /// right. Only now may it be acted on.
    Complete,
}

/// Where the next bytes of the stream belong: first all of `payload`, then `scratch`.
#[derive(Debug)]
pub struct RecvPlan<'a> {
    /// The rest of a data segment, to be read straight into the task's memory.
    pub payload: Option<DataRef>,
    /// The core's own memory, never empty.
    pub scratch: &'a mut [u8],
}

/// A data segment of at least this many bytes is worth its own vectored read; smaller ones come
/// with a large read-ahead and cross scratch once, which costs less than more system calls.
const DIRECT_MIN: u32 = 16 * 1024;

/// How much is read where a large segment has ended and nothing of the next header is there: the
/// header, with some room for small PDUs. What of it is payload of the next large segment is copied,
/// so this bounds the copied share: 512 bytes in a segment of 256 KiB are 0.2 %.
const READ_AHEAD_LARGE: usize = 512;

/// Bytes of scratch of a connection on which nothing comes but headers, sense data and the like.
const FIRST_SCRATCH: usize = 4096;

/// Cuts one connection's incoming bytes into PDUs, without reading a clock or owning payload.
///
/// # Driving contract
///
/// 1. [`Receiver::plan`] says where bytes belong; read some there.
/// 2. [`Receiver::received`] says how many came.
/// 3. [`Receiver::step`] until [`Step::NeedMore`], saying of each header where its data segment goes.
///
/// The cut of the stream into reads never changes the sequence of steps.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    /// As long as reads have needed so far; see [`Receiver::widen`].
    scratch: Vec<u8>,
    /// Bytes `start..end` of scratch are received and not yet consumed.
    start: usize,
    end: usize,
    phase: Phase,
    /// The error that was reported.
    dead: Option<Error>,
    /// The header of the PDU that the stream stands in, or of the last one. It stays as it came: who
    /// needs a field reads it there, which is cheaper than to carry all of them about.
    bhs: Bhs,
    data: Segment,
    segment: Vec<u8>,
    /// The last data segment that went to a task was a large one.
    large: bool,
    /// Scratch is wider than an idle connection needs it.
    rests: bool,
    /// What the last plan offered, to check `received` against.
    planned_payload: u32,
    planned_scratch: usize,
    /// PDUs completed so far.
    pdus: u64,
    planted: Planted,
}

/// Where the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Header,
    Payload,
    Trailer,
    /// An error was reported; nothing after it can be trusted.
    Dead,
}

/// The data segment that the stream stands in.
#[derive(Clone, Copy, Debug)]
struct Segment {
    destination: Destination,
    len: u32,
    done: u32,
    crc: u32,
}

impl Segment {
    const NONE: Self = Self {
        destination: Destination::Discard,
        len: 0,
        done: 0,
        crc: 0,
    };

    const fn remaining(&self) -> u32 {
        self.len - self.done
    }

    /// The name of the next `n` bytes, if they go to a task.
    const fn data_ref(&self, n: u32) -> Option<DataRef> {
        match self.destination {
            Destination::Task { itt, offset } => Some(DataRef {
                itt,
                offset: offset.saturating_add(self.done),
                len: n,
            }),
            _ => None,
        }
    }
}

impl Receiver {
    /// A receiver at the start of a PDU. `read_ahead` are bytes of the stream that were read before
    /// (behind the final login response, say).
    #[must_use]
    pub fn new(config: ReceiverConfig, read_ahead: &[u8]) -> Self {
        let mut scratch = vec![0; FIRST_SCRATCH.max(read_ahead.len())];
        if let Some(head) = scratch.get_mut(..read_ahead.len()) {
            head.copy_from_slice(read_ahead);
        }
        Self {
            config,
            scratch,
            start: 0,
            end: read_ahead.len(),
            phase: Phase::Header,
            dead: None,
            bhs: Bhs::default(),
            data: Segment::NONE,
            segment: Vec::new(),
            large: false,
            rests: false,
            planned_payload: 0,
            planned_scratch: 0,
            pdus: 0,
            planted: Planted::NONE,
        }
    }

    pub(crate) fn planted(mut self, planted: Planted) -> Self {
        self.planted = planted;
        self
    }

    /// Where the next bytes belong.
    #[inline]
    pub fn plan(&mut self) -> RecvPlan<'_> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.rests {
                self.narrow();
            }
        } else if self.start > 0 && self.scratch.len() - self.end < self.scratch.len() / 2 {
            self.scratch.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let in_payload = matches!(self.phase, Phase::Payload);
        // While scratch holds bytes they come first in the stream; `step` consumes them.
        let payload = match self.data.remaining() {
            left if in_payload && left > 0 && self.start == self.end => self.data.data_ref(left),
            _ => None,
        };
        let ahead = match (self.large, payload.is_some()) {
            (true, true) => self.config.read_ahead_large.max(self.next_header_at()),
            // A segment without a home is read into scratch, so that must be large.
            (true, false) if !in_payload => self.config.read_ahead_large.max(READ_AHEAD_LARGE),
            _ => self.config.read_ahead.max(4096),
        };
        let ahead = ahead.min(self.scratch.len() - self.end);
        self.planned_payload = payload.map_or(0, |data| data.len);
        self.planned_scratch = ahead;
        RecvPlan {
            payload,
            scratch: &mut self.scratch[self.end..self.end + ahead],
        }
    }

    /// How many bytes behind the payload of the data segment the next header ends.
    const fn next_header_at(&self) -> usize {
        let digest = if self.config.header_digest { 4 } else { 0 };
        self.config.trailer(self.data.len) + Bhs::LEN + digest
    }

    /// `n` bytes came, filling the last plan in its order.
    ///
    /// # Errors
    ///
    /// [`ApiMisuse::PlanOverrun`] when the plan had no room for `n` bytes.
    #[inline]
    pub fn received(&mut self, n: usize, store: &impl DataStore) -> Result<(), Error> {
        let to_payload = n.min(self.planned_payload as usize);
        let to_scratch = n - to_payload;
        if to_scratch > self.planned_scratch {
            return Err(ApiMisuse::PlanOverrun.into());
        }
        self.planned_payload = 0;
        self.planned_scratch = 0;
        if to_payload > 0 && matches!(self.phase, Phase::Payload) {
            if let Some(data) = self.data.data_ref(to_payload as u32) {
                // Now, while the bytes are warm.
                if self.config.data_digest {
                    let crc = &mut self.data.crc;
                    store.visit(data, &mut |bytes| *crc = digest::crc32c(*crc, bytes));
                }
                self.data.done += data.len;
            }
        }
        self.end += to_scratch;
        if self.end == self.scratch.len() {
            self.widen();
        }
        Ok(())
    }

    /// A read has filled scratch, so there may have been more: the next one may take twice as much. What
    /// goes to its home directly, and answers without data, never get here.
    #[cold]
    #[inline(never)]
    fn widen(&mut self) {
        let wider = self
            .scratch
            .len()
            .saturating_mul(2)
            .min(self.config.scratch);
        let more = wider.saturating_sub(self.scratch.len());
        self.scratch.reserve_exact(more);
        self.scratch.resize(self.scratch.len() + more, 0);
    }

    /// Nothing has come for a while: scratch is given back, as soon as nothing is in it.
    pub(crate) fn rest(&mut self) {
        self.rests = self.scratch.len() > FIRST_SCRATCH;
    }

    #[cold]
    #[inline(never)]
    fn narrow(&mut self) {
        self.rests = false;
        self.scratch.truncate(FIRST_SCRATCH);
        self.scratch.shrink_to_fit();
    }

    /// The header of the PDU just completed.
    #[must_use]
    pub const fn header(&self) -> &Bhs {
        &self.bhs
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.scratch.held_bytes() + self.segment.held_bytes()
    }

    /// The data segment of the PDU just completed, if its destination was [`Destination::Segment`].
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        &self.segment
    }

    /// Takes the segment buffer out, to be given back by [`Receiver::return_segment`].
    pub(crate) fn take_segment(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.segment)
    }

    /// Gives the segment buffer back for reuse. One that a large PDU blew up is not kept.
    pub(crate) fn return_segment(&mut self, mut segment: Vec<u8>) {
        segment.clear();
        if segment.capacity() > 4096 {
            segment.shrink_to(4096);
        }
        self.segment = segment;
    }

    /// From the next header on, longer or only shorter segments are accepted.
    pub(crate) const fn set_max_recv_data_segment_length(&mut self, length: u32) {
        self.config.max_recv_data_segment_length = length;
    }

    /// The memory of `itt` is not to be named again: what is still to come of a segment that was on
    /// its way there is discarded.
    pub fn revoke(&mut self, itt: InitiatorTaskTag) {
        self.planned_payload = 0;
        self.planned_scratch = 0;
        if matches!(self.data.destination, Destination::Task { itt: named, .. } if named == itt) {
            self.data.destination = Destination::Discard;
        }
    }

    /// Whether the stream stands inside a PDU.
    #[must_use]
    pub const fn is_mid_pdu(&self) -> bool {
        self.start != self.end || !matches!(self.phase, Phase::Header)
    }

    /// PDUs completed so far.
    #[must_use]
    pub const fn pdus(&self) -> u64 {
        self.pdus
    }

    /// The next step that the received bytes allow. `place` is asked once for each header, its digest
    /// verified and of a PDU that there is, where its data segment goes; if it has one.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`], or the error of `place`; the stream cannot be trusted after it, and every
    /// later call repeats it.
    #[inline]
    pub fn step(
        &mut self,
        store: &mut impl DataStore,
        place: impl FnOnce(&Bhs) -> Result<Destination, Error>,
    ) -> Result<Step, Error> {
        let result = match self.phase {
            Phase::Header => self.step_header(store, place),
            Phase::Payload | Phase::Trailer => self.step_data(store),
            Phase::Dead => Err(self.dead.unwrap_or(Error::Closed)),
        };
        if let Err(error) = &result {
            self.die(error);
        }
        result
    }

    #[cold]
    fn die(&mut self, error: &Error) {
        self.phase = Phase::Dead;
        self.dead = Some(*error);
    }

    #[inline(always)]
    fn step_header(
        &mut self,
        store: &mut impl DataStore,
        place: impl FnOnce(&Bhs) -> Result<Destination, Error>,
    ) -> Result<Step, Error> {
        let available = &self.scratch[self.start..self.end];
        let Some((bytes, mut rest)) = available.split_first_chunk::<{ Bhs::LEN }>() else {
            return Ok(Step::NeedMore);
        };
        self.bhs = Bhs::from(*bytes);
        let bhs = &self.bhs;
        // The digest comes before any look at the fields: a flipped bit in a length must not make
        // us wait for bytes that will never come. Its place follows from TotalAHSLength, which no
        // PDU for initiators has: a non-zero one is refused here, whatever flipped it.
        let len = bhs.length_without_ahs()?;
        if self.config.header_digest {
            let Some((found, behind)) = rest.split_first_chunk::<4>() else {
                return Ok(Step::NeedMore);
            };
            if !digest_matches(digest::crc32c(0, bytes), *found) {
                return Err(DecodeError::HeaderDigest.into());
            }
            rest = behind;
        }
        let limit = self.config.max_recv_data_segment_length;
        if len > limit {
            return Err(DecodeError::DataSegmentTooLong { length: len, limit }.into());
        }
        // What means nothing is refused before a byte of its data segment is taken.
        match bhs.opcode() {
            DataIn::OPCODE => _ = DataIn::parse(bhs)?,
            ScsiResponse::OPCODE => _ = ScsiResponse::parse(bhs)?,
            _ => check(bhs)?,
        }
        self.segment.clear();
        let mut data = Segment {
            destination: place(bhs)?,
            len,
            done: 0,
            crc: 0,
        };
        if matches!(data.destination, Destination::Task { .. }) {
            self.large = len >= DIRECT_MIN;
        }
        self.start = self.end - rest.len();
        let whole = len as usize + self.config.trailer(len);
        // Small PDUs are mostly there as a whole, and need not be remembered.
        if let Some(bytes) = rest.get(..whole) {
            let (payload, trailer) = bytes.split_at(len as usize);
            self.config
                .deliver(&mut data, payload, &mut self.segment, store);
            if !self.planted.has(Bug::DataDigestIgnored) {
                self.config.verify(&data, trailer)?;
            }
            self.start += whole;
            self.pdus += 1;
            return Ok(Step::Complete);
        }
        self.data = data;
        self.phase = Phase::Payload;
        self.step_data(store)
    }

    /// Moves what scratch has of the data segment to its home, and checks the trailer behind it.
    fn step_data(&mut self, store: &mut impl DataStore) -> Result<Step, Error> {
        if self.phase == Phase::Payload {
            let available = &self.scratch[self.start..self.end];
            let n = available.len().min(self.data.remaining() as usize);
            let payload = &available[..n];
            self.config
                .deliver(&mut self.data, payload, &mut self.segment, store);
            self.start += n;
            if self.data.remaining() > 0 {
                return Ok(Step::NeedMore);
            }
            self.phase = Phase::Trailer;
        }
        let need = self.config.trailer(self.data.len);
        let Some(trailer) = self.scratch[self.start..self.end].get(..need) else {
            return Ok(Step::NeedMore);
        };
        if !self.planted.has(Bug::DataDigestIgnored) {
            self.config.verify(&self.data, trailer)?;
        }
        self.start += need;
        self.phase = Phase::Header;
        self.pdus += 1;
        Ok(Step::Complete)
    }
}

impl ReceiverConfig {
    /// Length of what follows a data segment of `len` bytes: padding and digest.
    const fn trailer(&self, len: u32) -> usize {
        match len {
            0 => 0,
            _ => pad_len(len as usize) + if self.data_digest { 4 } else { 0 },
        }
    }

    /// Brings the next bytes of a data segment from scratch to their home.
    #[inline]
    fn deliver(
        &self,
        data: &mut Segment,
        bytes: &[u8],
        segment: &mut Vec<u8>,
        store: &mut impl DataStore,
    ) {
        if bytes.is_empty() {
            return;
        }
        if self.data_digest {
            data.crc = digest::crc32c(data.crc, bytes);
        }
        // At most what remains, which has 32 bits.
        let n = bytes.len() as u32;
        match data.data_ref(n) {
            Some(at) => store.store(at, bytes),
            // Grows with what has arrived, never with what a header claims.
            None if data.destination == Destination::Segment => segment.extend_from_slice(bytes),
            None => {}
        }
        data.done += n;
    }

    #[inline]
    fn verify(&self, data: &Segment, trailer: &[u8]) -> Result<(), DecodeError> {
        if let (true, Some((padding, found))) = (self.data_digest, trailer.split_last_chunk::<4>())
        {
            if !digest_matches(digest::crc32c(data.crc, padding), *found) {
                return Err(DecodeError::DataDigest);
            }
        }
        Ok(())
    }
}

/// Whether a header is that of a PDU. Not inlined, for the sake of those that pass it by.
#[inline(never)]
fn check(bhs: &Bhs) -> Result<(), DecodeError> {
    Pdu::parse(bhs).map(drop)
}

/// A fuzzer would never get past a checksum, so it passes there unless a target wants it kept.
fn digest_matches(computed: u32, found: [u8; 4]) -> bool {
    #[cfg(fuzzing)]
    if !digest::kept() {
        return true;
    }
    computed == digest::from_wire(found)
}

#[cfg(any(test, fuzzing, feature = "__fuzz"))]
#[cfg_attr(
    not(test),
    expect(
        clippy::expect_used,
        reason = "the body of a fuzz target: its panic is what says that an oracle does not hold"
    )
)]
mod fuzz {
    use super::*;

    /// Every payload byte that came to its home, in order of arrival: task, offset, value.
    #[derive(Default)]
    struct Sink(Vec<(InitiatorTaskTag, u32, u8)>);

    impl DataStore for Sink {
        fn store(&mut self, at: DataRef, src: &[u8]) {
            self.0.extend(
                src.iter()
                    .zip(at.offset..)
                    .map(|(byte, offset)| (at.itt, offset, *byte)),
            );
        }

        /// Only ever asked for what arrived last.
        fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
            let from = self.0.len() - at.len as usize;
            self.0[from..]
                .iter()
                .for_each(|(_, _, byte)| visitor(&[*byte]));
        }
    }

    /// What a run of the receiver over `stream` reports: completed PDUs with their segments, the
    /// bytes that tasks got, and the error at the end, if any.
    type Report = (
        Vec<(Pdu, Vec<u8>)>,
        Vec<(InitiatorTaskTag, u32, u8)>,
        Option<Error>,
    );

    /// Data-Ins of even tasks go to their memory, of odd ones nowhere.
    fn home(bhs: &Bhs) -> Result<Destination, Error> {
        Ok(match Pdu::parse(bhs)? {
            Pdu::DataIn(data) if data.itt.0 & 1 == 0 => Destination::Task {
                itt: data.itt,
                offset: 0,
            },
            Pdu::DataIn(_) => Destination::Discard,
            _ => Destination::Segment,
        })
    }

    fn run(
        config: ReceiverConfig,
        mut stream: &[u8],
        mut next_cut: impl FnMut() -> usize,
    ) -> Report {
        let mut receiver = Receiver::new(config, &[]);
        let mut sink = Sink::default();
        let mut report: Report = (Vec::new(), Vec::new(), None);
        loop {
            loop {
                match receiver.step(&mut sink, home) {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Complete) => {
                        let pdu = Pdu::parse(receiver.header()).expect("checked before");
                        report.0.push((pdu, receiver.segment().to_vec()));
                    }
                    Err(error) => {
                        report.2 = Some(error);
                        break;
                    }
                }
            }
            if stream.is_empty() || report.2.is_some() {
                report.1 = sink.0;
                return report;
            }
            let plan = receiver.plan();
            let payload = plan.payload.map_or(0, |data| data.len as usize);
            let n = next_cut()
                .clamp(1, stream.len())
                .min(payload + plan.scratch.len());
            let (direct, ahead) = stream[..n].split_at(n.min(payload));
            plan.scratch[..ahead.len()].copy_from_slice(ahead);
            if let Some(data) = plan.payload {
                sink.store(data, direct);
            }
            receiver.received(n, &sink).expect("within the plan");
            stream = &stream[n..];
        }
    }

    /// Fuzz body: however a byte stream is cut into reads, the same PDUs, the same payload bytes and
    /// the same error come out. The first bytes of the input choose digests and cuts.
    ///
    /// # Panics
    ///
    /// When two cuts disagree: that is the bug being looked for.
    pub fn fuzz_stream(input: &[u8]) {
        let Some((&[flags, seed], stream)) = input.split_first_chunk::<2>() else {
            return;
        };
        let config = ReceiverConfig {
            header_digest: flags & 1 != 0,
            data_digest: flags & 2 != 0,
            max_recv_data_segment_length: 64 * 1024,
            scratch: 4096,
            read_ahead: 4096,
            read_ahead_large: usize::from(flags & 0xfc),
        };
        let whole = run(config, stream, || usize::MAX);
        let bytewise = run(config, stream, || 1);
        assert_eq!(whole, bytewise);
        let mut state = u32::from(seed) | 1;
        let random = run(config, stream, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as usize + 1
        });
        assert_eq!(whole, random);
    }
}

#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use fuzz::fuzz_stream;
