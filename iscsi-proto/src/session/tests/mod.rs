//! Full feature phase against PDUs written by hand, in virtual time.

mod abort;
mod async_message;
mod close;
mod deadlines;
mod digests;
mod discovery;
mod extended_cdb;
mod held;
mod ladder;
mod logout;
mod manage;
mod nop;
mod priority;
mod read;
mod reject;
mod renegotiate;
mod text;
mod timers;
mod window;
mod write;

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::time::Duration;

use super::{Command, DataLength, Event, Response, Session, SessionConfig, TaskError};
use crate::{
    digest,
    error::Error,
    framing::{DataRef, DataStore, TransmitPiece},
    ids::{InitiatorTaskTag, TargetTransferTag},
    login::LoggedIn,
    pdu::{
        Bhs, DataIn, Pdu, R2t, Residual, ScsiResponse, ServiceResponse, TaskManagementRequest,
        TaskManagementResponse, TaskManagementResponseCode, pad_len,
    },
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
    serial::{CmdSn, DataSn, R2tSn, StatSn},
    text::{Digest, Parameters},
    time::Instant,
};

/// The first StatSN of the target; not zero, so that a confusion with "none yet" shows.
const STAT_SN: u32 = 100;
/// The first CmdSN of the session.
const CMD_SN: u32 = 0xffff_fffe;

/// The memory of the commands under test, by tag.
#[derive(Default)]
struct Memory(BTreeMap<u32, Vec<u8>>);

impl Memory {
    fn slice(&self, at: DataRef) -> &[u8] {
        &self.0[&at.itt.0][at.offset as usize..(at.offset + at.len) as usize]
    }
}

impl DataStore for Memory {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        let memory = self.0.get_mut(&at.itt.0).expect("a live command");
        memory[at.offset as usize..(at.offset + at.len) as usize].copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        visitor(self.slice(at));
    }
}

/// A session, the memory of its commands, and a clock that the test moves.
struct Harness {
    session: Session,
    memory: Memory,
    now: Instant,
    stat_sn: u32,
    max_cmd_sn: u32,
    digests: bool,
}

/// What the negotiation of most tests came to: small sizes, so that sequences have several PDUs.
fn parameters() -> Parameters {
    Parameters {
        initial_r2t: false,
        immediate_data: true,
        max_recv_data_segment_length: 64 * 1024,
        max_xmit_data_segment_length: 512,
        max_burst_length: 2048,
        first_burst_length: 1024,
        max_outstanding_r2t: 2,
        ..Parameters::default()
    }
}

impl Harness {
    fn new() -> Self {
        Self::with(parameters(), SessionConfig::default())
    }

    fn with(parameters: Parameters, config: SessionConfig) -> Self {
        let digests = parameters.data_digest == Digest::Crc32c;
        let login = LoggedIn::for_unit_tests(
            parameters,
            CmdSn(CMD_SN),
            StatSn(STAT_SN),
            CmdSn(CMD_SN.wrapping_add(31)),
        );
        Self {
            session: Session::new(Instant::ZERO, login, config).expect("valid configuration"),
            memory: Memory::default(),
            now: Instant::ZERO,
            stat_sn: STAT_SN,
            max_cmd_sn: CMD_SN.wrapping_add(31),
            digests,
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
    }

    fn submit(&mut self, cdb: Cdb, data: DataLength, memory: Vec<u8>) -> InitiatorTaskTag {
        let command = Command::new(Lun::new(1), cdb, data);
        let itt = self
            .session
            .submit(self.now, &command)
            .expect("a free slot");
        self.memory.0.insert(itt.0, memory);
        itt
    }

    /// A read of `len` bytes into memory full of 0xa5.
    fn read(&mut self, len: u32) -> InitiatorTaskTag {
        let cdb = Cdb::read16(0, len / 512, false);
        self.submit(cdb, DataLength::In(len), vec![0xa5; len as usize])
    }

    /// A write of bytes that tell their own offset.
    fn write(&mut self, len: u32) -> InitiatorTaskTag {
        let cdb = Cdb::write16(0, len / 512, false);
        self.submit(cdb, DataLength::Out(len), pattern(0, len))
    }

    /// Everything that the session sends now: headers and data segments, framing checked.
    fn sent(&mut self) -> Vec<(Pdu, Vec<u8>)> {
        let stream = self.sent_bytes();
        split(&stream, self.digests)
    }

    /// The same as it stands on the wire.
    fn sent_bytes(&mut self) -> Vec<u8> {
        let mut stream = Vec::new();
        while self.session.poll_transmit(self.now, 4096, &self.memory) {
            let before = stream.len();
            for piece in self.session.transmit_pieces() {
                match piece {
                    TransmitPiece::Inline(bytes) => stream.extend_from_slice(bytes),
                    TransmitPiece::Data(data) => stream.extend_from_slice(self.memory.slice(data)),
                }
            }
            let n = stream.len() - before;
            self.session
                .handle_transmitted(self.now, n)
                .expect("as planned");
        }
        stream
    }

    /// Feeds one PDU of the target; the header's length field is set here.
    fn feed(&mut self, bhs: Bhs, data: &[u8]) -> Result<(), Error> {
        let bytes = encode(bhs, data, self.digests);
        self.feed_bytes(&bytes)
    }

    fn feed_bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let plan = self.session.recv_plan();
            let direct = plan
                .payload
                .map_or(0, |data| data.len as usize)
                .min(bytes.len());
            let ahead = (bytes.len() - direct).min(plan.scratch.len());
            plan.scratch[..ahead].copy_from_slice(&bytes[direct..direct + ahead]);
            if let Some(data) = plan.payload {
                self.memory.store(
                    DataRef {
                        len: direct as u32,
                        ..data
                    },
                    &bytes[..direct],
                );
            }
            self.session
                .handle_recv(self.now, direct + ahead, &mut self.memory)?;
            bytes = &bytes[direct + ahead..];
        }
        Ok(())
    }

    fn next_stat_sn(&mut self) -> StatSn {
        self.stat_sn = self.stat_sn.wrapping_add(1);
        StatSn(self.stat_sn.wrapping_sub(1))
    }

    fn data_in(&self, itt: InitiatorTaskTag, sn: u32, offset: u32, len: u32) -> DataIn {
        DataIn {
            is_final: false,
            acknowledge: false,
            status: None,
            residual: Residual::None,
            lun: Lun::ZERO,
            itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(self.max_cmd_sn),
            data_sn: DataSn(sn),
            buffer_offset: offset,
            data_segment_length: len,
        }
    }

    /// A SCSI Response with GOOD and no residual, to be changed by the test.
    fn response(&mut self, itt: InitiatorTaskTag) -> ScsiResponse {
        ScsiResponse {
            response: ServiceResponse::CompletedAtTarget,
            status: ScsiStatus::Good,
            status_qualifier: 0,
            bidi_residual: Residual::None,
            residual: Residual::None,
            itt,
            snack_tag: 0,
            stat_sn: self.next_stat_sn(),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(self.max_cmd_sn),
            exp_data_sn: DataSn(0),
            data_segment_length: 0,
        }
    }

    fn good(&mut self, itt: InitiatorTaskTag) -> Result<(), Error> {
        let response = self.response(itt);
        self.feed(response.emit(), &[])
    }

    fn r2t(&self, itt: InitiatorTaskTag, sn: u32, offset: u32, len: u32) -> R2t {
        R2t {
            lun: Lun::new(1),
            itt,
            ttt: TargetTransferTag(0x7700 + sn),
            stat_sn: StatSn(self.stat_sn),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(self.max_cmd_sn),
            r2t_sn: R2tSn(sn),
            buffer_offset: offset,
            desired_data_transfer_length: len,
        }
    }

    /// The answer to a task management function.
    fn managed(&mut self, itt: InitiatorTaskTag, response: TaskManagementResponseCode) -> Bhs {
        TaskManagementResponse {
            response,
            additional_response_information: [0; 3],
            itt,
            stat_sn: self.next_stat_sn(),
            exp_cmd_sn: CmdSn(CMD_SN),
            max_cmd_sn: CmdSn(self.max_cmd_sn),
        }
        .emit()
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The one event there is, which must be the end of `itt`; that it was late before is not asked.
    fn done(&mut self, itt: InitiatorTaskTag) -> Result<Response, TaskError> {
        let mut events = self.events();
        events.retain(|event| !matches!(event, Event::CommandLate { .. }));
        assert_eq!(events.len(), 1, "{events:?}");
        match events.remove(0) {
            Event::CommandDone { itt: found, result } if found == itt => result,
            other => panic!("{other:?}"),
        }
    }
}

/// The one task management function that was sent.
fn function_in(sent: &[(Pdu, Vec<u8>)]) -> TaskManagementRequest {
    let functions: Vec<_> = sent
        .iter()
        .filter_map(|(pdu, _)| match pdu {
            Pdu::TaskManagementRequest(request) => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(functions.len(), 1, "{sent:?}");
    functions[0]
}

fn pattern(offset: u32, len: u32) -> Vec<u8> {
    (offset..offset + len)
        .map(|o| (o / 7) as u8 ^ o as u8)
        .collect()
}

fn encode(mut bhs: Bhs, data: &[u8], digests: bool) -> Vec<u8> {
    let len = (data.len() as u32).to_be_bytes();
    bhs.as_bytes_mut()[5..8].copy_from_slice(&len[1..]);
    let mut bytes = bhs.as_bytes().to_vec();
    if digests {
        bytes.extend(digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
    }
    if !data.is_empty() {
        let from = bytes.len();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + pad_len(data.len()), 0);
        if digests {
            let crc = digest::crc32c(0, &bytes[from..]);
            bytes.extend(digest::to_wire(crc));
        }
    }
    bytes
}

/// Cuts our own stream into PDUs, independently of the receiver under test.
fn split(mut stream: &[u8], digests: bool) -> Vec<(Pdu, Vec<u8>)> {
    let mut pdus = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<48>() {
        let bhs = Bhs::from(*header);
        let mut rest = rest;
        if digests {
            let (crc, after) = rest.split_first_chunk::<4>().expect("header digest");
            assert_eq!(digest::from_wire(*crc), digest::crc32c(0, header));
            rest = after;
        }
        let len = bhs.data_segment_length() as usize;
        let padded = len + pad_len(len);
        let (segment, after) = rest.split_at(padded);
        assert!(
            segment[len..].iter().all(|byte| *byte == 0),
            "padding is zero"
        );
        rest = after;
        if digests && len > 0 {
            let (crc, after) = rest.split_first_chunk::<4>().expect("data digest");
            assert_eq!(digest::from_wire(*crc), digest::crc32c(0, segment));
            rest = after;
        }
        pdus.push((
            Pdu::parse(&bhs).expect("well-formed"),
            segment[..len].to_vec(),
        ));
        stream = rest;
    }
    assert!(stream.is_empty(), "only whole PDUs");
    pdus
}
