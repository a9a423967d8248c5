//! Wireshark's dissector judges what the client sends, and what its captures look like.

#![cfg(any(feature = "tokio", feature = "smol"))]

mod support;
#[path = "support/trace.rs"]
mod trace;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    initiator::{Initiator, SessionTarget},
    runtime::Runtime,
    session::{Payload, ScsiRequest, SessionOptions},
    tap::{PayloadCapture, PcapNg, PcapOptions},
};
use iscsi_proto::{
    login::{ChapCredentials, Secret},
    scsi::{cdb::Cdb, lun::Lun},
    text::DigestOffer,
};
use iscsi_testkit::target::{ChapConfig, LunConfig, TargetConfig, TcpTarget};
use support::on_each_runtime;
use trace::{Carried, Trace, pdus};

const NAME: &str = "iqn.2026-01.example:disk";
const SECRET: &[u8] = iscsi_testkit::canary::OURS.as_bytes();

/// Whether there is a tshark. Where `ISCSI_INTEROP=require` it must be there.
fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("ISCSI_INTEROP").is_some_and(|value| value == "require");
    assert!(!required, "ISCSI_INTEROP=require, and there is no tshark");
    eprintln!("SKIPPED: no tshark here, so nobody else has read the capture");
    false
}

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("iscsi-client-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The rows of the named fields, of every packet that `filter` lets through. With more than one PDU in
/// a packet a field has several values, with commas between.
fn tshark(file: &Path, port: u16, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file);
    command.args(["-d", &format!("tcp.port=={port},iscsi")]);
    command.args([
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
    ]);
    command.args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| line.split('\t').map(Into::into).collect();
    text.lines().map(row).collect()
}

/// A session with CHAP and digests, reads and writes of many sizes, and a logout.
async fn session(
    runtime: Arc<dyn Runtime>,
    listen: &str,
    file: &Path,
    pcap: PcapOptions,
) -> (SocketAddr, Carried) {
    let mut config = TargetConfig::new(NAME)
        .with_portal(listen.parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 64 << 20))
        .with_chap(ChapConfig::new("user", SECRET));
    config.unit_attention = false;
    let target = TcpTarget::start(config).unwrap();
    let capture = Arc::new(PcapNg::create_with(file, pcap).unwrap());
    let trace = Trace::before(capture.clone());
    let mut options = SessionOptions::default();
    options.tap = Some(trace.clone());
    let crc32c = DigestOffer::RequireCrc32c;
    options.offer = options.offer.with_header_digest(crc32c);
    options.offer = options.offer.with_data_digest(crc32c);
    let initiator = Initiator::builder("iqn.2026-01.example:host".parse().unwrap(), runtime)
        .credentials(ChapCredentials::new("user", Secret::new(SECRET)).unwrap())
        .options(options)
        .build();
    let to = SessionTarget::new(NAME.parse().unwrap(), target.portal(0).into());
    let session = initiator.connect_spawned(&to).await.unwrap();
    for i in 0..100_u64 {
        let blocks = 1 << (i % 10);
        let (cdb, payload) = match i % 3 {
            0 => {
                let data = WriteBuf::from(vec![i as u8; blocks * 512]);
                (Cdb::write(i, blocks as u32, false), Payload::Out(data))
            }
            _ => {
                let buf = ReadBuf::zeroed(blocks * 512);
                (Cdb::read(i, blocks as u32, false), Payload::In(buf))
            }
        };
        let request = ScsiRequest::new(Lun::new(0), cdb, payload);
        session.execute(request).await.result.unwrap();
    }
    session.close().await;
    assert_eq!(target.core().violations(), []);
    println!("{}", capture.flush());
    (target.portal(0), trace.connections().remove(0))
}

/// Nothing that Wireshark finds to be wrong or odd.
fn assert_no_complaint(file: &Path, port: u16) {
    let complaints = "_ws.malformed || _ws.expert.severity >= 0x600000 || tcp.checksum.status == bad \
                      || ip.checksum.status == bad || tcp.analysis.flags";
    let fields = ["frame.number", "_ws.expert.message", "_ws.col.Info"];
    let found = tshark(file, port, complaints, &fields);
    assert!(found.is_empty(), "{found:?}");
}

fn numbers(rows: &[Vec<String>], column: usize) -> Vec<u32> {
    let values = rows.iter().flat_map(|row| row[column].split(','));
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap(),
    };
    values.filter(|text| !text.is_empty()).map(number).collect()
}

/// Opcodes, tags and lengths by tshark's count equal those in the streams.
fn assert_agreement(file: &Path, port: u16, carried: &Carried) {
    let (sent, received) = carried.logged_in.unwrap();
    for (direction, stream, login) in [
        (format!("tcp.dstport == {port}"), &carried.sent, sent),
        (
            format!("tcp.srcport == {port}"),
            &carried.received,
            received,
        ),
    ] {
        let filter = format!("iscsi && {direction}");
        let fields = [
            "iscsi.opcode",
            "iscsi.initiatortasktag",
            "iscsi.datasegmentlength",
        ];
        let rows = tshark(file, port, &filter, &fields);
        let ours = pdus(stream, login, 4);
        assert!(ours.len() > 100);
        assert_eq!(ours.iter().map(|pdu| pdu.len).sum::<usize>(), stream.len());
        let field = |pdu: &trace::Pdu, at: usize| {
            let word = pdu.header[at..at + 4].try_into().unwrap();
            u32::from_be_bytes(word)
        };
        let opcodes: Vec<u32> = ours.iter().map(|p| u32::from(p.header[0] & 0x3f)).collect();
        assert_eq!(numbers(&rows, 0), opcodes);
        let tags: Vec<u32> = ours.iter().map(|pdu| field(pdu, 16)).collect();
        assert_eq!(numbers(&rows, 1), tags);
        let lengths: Vec<u32> = ours.iter().map(|p| field(p, 4) & 0xff_ffff).collect();
        assert_eq!(numbers(&rows, 2), lengths);
    }
}

#[test]
fn tshark_reads_a_whole_capture_as_we_meant_it() {
    if !has_tshark() {
        return;
    }
    let scratch = Scratch::new("whole");
    on_each_runtime(async |runtime| {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let file = scratch.0.join("whole.pcapng");
            let options = PcapOptions::default();
            let (portal, carried) = session(Arc::clone(&runtime), listen, &file, options).await;
            assert_no_complaint(&file, portal.port());
            assert_agreement(&file, portal.port(), &carried);
            let comments = tshark(&file, portal.port(), "frame.comment", &["frame.comment"]);
            assert_eq!(comments.len(), 2, "{comments:?}");
            assert!(comments[1][0].contains("HeaderDigest=CRC32C"));
        }
    });
}

#[test]
fn tshark_finds_every_pdu_in_a_capture_without_payload() {
    if !has_tshark() {
        return;
    }
    let scratch = Scratch::new("headers");
    on_each_runtime(async |runtime| {
        let file = scratch.0.join("headers.pcapng");
        let mut options = PcapOptions::default();
        options.payload = PayloadCapture::HeadersOnly;
        let (portal, carried) = session(runtime, "127.0.0.1:0", &file, options).await;
        let written = std::fs::metadata(&file).unwrap().len();
        assert!(
            written < carried.received.len() as u64 / 20,
            "{written} bytes"
        );
        assert_agreement(&file, portal.port(), &carried);
        let odd = "tcp.analysis.flags || tcp.checksum.status == bad || ip.checksum.status == bad";
        let found = tshark(&file, portal.port(), odd, &["frame.number", "_ws.col.Info"]);
        assert!(found.is_empty(), "{found:?}");
    });
}

#[cfg(unix)]
#[test]
fn a_capture_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("mode");
    let file = scratch.0.join("mode.pcapng");
    drop(PcapNg::create(&file).unwrap());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
