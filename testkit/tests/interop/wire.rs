//! tshark reads what we sent and what the peer answered, and sees what we see.
//!
//! The capture is that of [`PcapNg`]; what is compared with it are the PDUs as `iscsi-proto` parses
//! them from the same bytes. tshark's dissector shares no line with either.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use iscsi_client::{
    device::{BlockDeviceExt, FlushOptions},
    logical_unit::LogicalUnit,
    session::SessionOptions,
    tap::PcapNg,
};
use iscsi_proto::{
    pdu::Pdu,
    text::{Digest, DigestOffer},
};

use crate::harness::{
    Kind, Limits, On, Peer, Setup, TempDir, Trace, block_on, have, open, run_tool,
};

each_peer!(without_digests, with_digests);

/// PDUs, both directions together, that a run must have at least.
const PDUS: usize = 10_000;

/// Which of tshark's fields are compared; all numbers.
const FIELDS: [&str; 16] = [
    "iscsi.opcode",
    "iscsi.datasegmentlength",
    "iscsi.initiatortasktag",
    "iscsi.targettransfertag",
    "iscsi.cmdsn",
    "iscsi.expstatsn",
    "iscsi.statsn",
    "iscsi.expcmdsn",
    "iscsi.maxcmdsn",
    "iscsi.datasn",
    "iscsi.r2tsn",
    "iscsi.bufferOffset",
    "iscsi.desireddatalength",
    "iscsi.scsicommand.expecteddatatransferlength",
    "iscsi.taskmanfun.referencedtasktag",
    "iscsi.scsiresponse.status",
];

/// What tshark must not find.
const FAULTS: [&str; 4] = [
    "_ws.malformed",
    "iscsi.opcode.invalid",
    "iscsi.keyvalue.invalid",
    "tcp.analysis.lost_segment",
];

type Columns = BTreeMap<&'static str, Vec<u64>>;

/// The same of a PDU as we parse it.
fn note(pdu: &Pdu, columns: &mut Columns) {
    let mut add = |field: &'static str, value: u64| columns.entry(field).or_default().push(value);
    let bhs = pdu.emit();
    add("iscsi.opcode", bhs.opcode().into());
    add("iscsi.initiatortasktag", bhs.initiator_task_tag().0.into());
    add("iscsi.datasegmentlength", bhs.data_segment_length().into());
    // tshark shows that of a Data-In only where it asks for an acknowledgement, which none does here.
    let ttt = match pdu {
        Pdu::NopOut(pdu) => Some(pdu.ttt),
        Pdu::NopIn(pdu) => Some(pdu.ttt),
        Pdu::TextRequest(pdu) => Some(pdu.ttt),
        Pdu::TextResponse(pdu) => Some(pdu.ttt),
        Pdu::DataOut(pdu) => Some(pdu.ttt),
        Pdu::R2t(pdu) => Some(pdu.ttt),
        _ => None,
    };
    if let Some(ttt) = ttt {
        add("iscsi.targettransfertag", ttt.0.into());
    }
    // CmdSN and ExpStatSN have one place in all requests, StatSN, ExpCmdSN and MaxCmdSN one in all
    // responses; a Data-Out has no CmdSN.
    let word = |at: usize| {
        let bytes = bhs.as_bytes()[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_be_bytes(bytes))
    };
    if bhs.opcode() < 0x20 {
        if !matches!(pdu, Pdu::DataOut(_)) {
            add("iscsi.cmdsn", word(24));
        }
        add("iscsi.expstatsn", word(28));
    } else {
        add("iscsi.statsn", word(24));
        add("iscsi.expcmdsn", word(28));
        add("iscsi.maxcmdsn", word(32));
    }
    match pdu {
        Pdu::ScsiCommand(pdu) => add(
            "iscsi.scsicommand.expecteddatatransferlength",
            pdu.expected_data_transfer_length.into(),
        ),
        Pdu::ScsiResponse(pdu) => add("iscsi.scsiresponse.status", pdu.status.to_byte().into()),
        Pdu::DataIn(pdu) => {
            add("iscsi.datasn", pdu.data_sn.0.into());
            add("iscsi.bufferOffset", pdu.buffer_offset.into());
            if let Some(status) = pdu.status {
                add("iscsi.scsiresponse.status", status.to_byte().into());
            }
        }
        Pdu::DataOut(pdu) => {
            add("iscsi.datasn", pdu.data_sn.0.into());
            add("iscsi.bufferOffset", pdu.buffer_offset.into());
        }
        Pdu::R2t(pdu) => {
            add("iscsi.r2tsn", pdu.r2t_sn.0.into());
            add("iscsi.bufferOffset", pdu.buffer_offset.into());
            add(
                "iscsi.desireddatalength",
                pdu.desired_data_transfer_length.into(),
            );
        }
        Pdu::TaskManagementRequest(pdu) => add(
            "iscsi.taskmanfun.referencedtasktag",
            pdu.referenced_task_tag.0.into(),
        ),
        _ => {}
    }
}

fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("tshark says {text:?}"))
}

/// What tshark sees in a capture: of the PDUs to `portal`, and of those from it.
fn dissect(capture: &Path, portal: SocketAddr) -> [Columns; 2] {
    let mut tshark = Command::new("tshark");
    tshark
        .args(["-n", "-r"])
        .arg(capture)
        .args(["-d", &format!("tcp.port=={},iscsi", portal.port())])
        .args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=,"])
        .args(["-e", "tcp.dstport"]);
    for field in FAULTS.iter().chain(&FIELDS) {
        tshark.args(["-e", field]);
    }
    let mut columns = [Columns::new(), Columns::new()];
    for line in run_tool(&mut tshark).lines() {
        let mut cells = line.split('\t');
        let to = cells.next().expect("a port");
        let columns = &mut columns[usize::from(to != portal.port().to_string())];
        for (fault, cell) in FAULTS.iter().zip(cells.by_ref()) {
            assert!(cell.is_empty(), "{fault}: {line}");
        }
        for (field, cell) in FIELDS.iter().zip(cells) {
            let values = cell.split(',').filter(|text| !text.is_empty());
            columns
                .entry(*field)
                .or_default()
                .extend(values.map(number));
        }
    }
    for columns in &mut columns {
        columns.retain(|_, values| !values.is_empty());
    }
    columns
}

/// Reads, writes, flushes and pings, several at a time, of many lengths.
async fn exercise(unit: &LogicalUnit) {
    for round in 0..60_u64 {
        let offset = |worker: u64| (worker << 20) + (round % 8) * 4096;
        let len = |worker: u64| 512 * (1 + (round * 7 + worker * 13) as usize % 90);
        let write = |worker: u64| async move {
            let bytes = Bytes::from(vec![u8::try_from(round).expect("below 256"); len(worker)]);
            unit.write_bytes(offset(worker), bytes.clone())
                .await
                .expect("a write");
            let read = unit.read_bytes(offset(worker), bytes.len()).await;
            assert!(read.expect("a read") == bytes);
        };
        join_all((0..4).map(write)).await;
        unit.flush(FlushOptions::default()).await.expect("a flush");
        unit.session().ping().await.expect("a NOP-In");
        unit.test_unit_ready(None).await.expect("it is ready");
    }
}

fn agree(kind: Kind, digest: DigestOffer, expected: Digest) {
    if !have(&["tshark"]) {
        return;
    }
    let crc32c = expected == Digest::Crc32c;
    let limits = Limits {
        segment: 1024,
        first_burst: 2048,
        max_burst: 4096,
        ..Limits::default()
    };
    let setup = Setup {
        limits,
        digests: (crc32c, crc32c),
        ..Setup::default()
    };
    let Some(peer) = Peer::start(kind, setup) else {
        return;
    };
    let dir = TempDir::new();
    let capture = dir.join("session.pcapng");
    let pcapng = Arc::new(PcapNg::create(&capture).expect("a file"));
    let trace = Arc::new(Trace::new(Arc::clone(&pcapng) as _));
    block_on(On::Tokio, |runtime| {
        let (peer, trace) = (&peer, Arc::clone(&trace));
        async move {
            let mut options = SessionOptions::default();
            options.tap = Some(trace);
            options.offer = options
                .offer
                .with_header_digest(digest)
                .with_data_digest(digest)
                .with_max_recv_data_segment_length(limits.segment)
                .and_then(|offer| offer.with_max_burst_length(limits.max_burst))
                .and_then(|offer| offer.with_first_burst_length(limits.first_burst))
                .expect("within the ranges");
            let (session, unit) = open(&runtime, peer, 0, options).await;
            exercise(&unit).await;
            session.close().await;
            assert_eq!(session.logins(), 1);
        }
    });
    let status = pcapng.flush();
    println!("{status}");
    assert_eq!(trace.digests(), Some((expected, expected)));
    let ours = trace.pdus();
    let count: usize = ours.iter().map(Vec::len).sum();
    println!("{count} PDUs");
    assert!(count >= PDUS, "only {count} PDUs");
    let theirs = dissect(&capture, peer.portals()[0]);
    for (direction, (ours, theirs)) in ["sent", "received"].iter().zip(ours.iter().zip(&theirs)) {
        let mut columns = Columns::new();
        ours.iter().for_each(|pdu| note(pdu, &mut columns));
        let names = |columns: &Columns| columns.keys().copied().collect::<Vec<_>>();
        assert_eq!(names(&columns), names(theirs), "{direction}: the fields");
        for (field, ours) in &columns {
            let theirs = &theirs[field];
            assert_eq!(ours.len(), theirs.len(), "{direction}: how many {field}");
            let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
            if let Some(at) = differs {
                let (ours, theirs) = (ours[at], theirs[at]);
                panic!("{direction}: {field} number {at} is {ours}, tshark says {theirs}");
            }
        }
    }
}

fn without_digests(kind: Kind) {
    agree(kind, DigestOffer::None, Digest::None);
}

fn with_digests(kind: Kind) {
    agree(kind, DigestOffer::RequireCrc32c, Digest::Crc32c);
}
