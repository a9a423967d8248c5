//! What a tap sees, and what a capture shows of it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use crate::{
    pcapng::{self, FIN, RST, Stream},
    support::{World, address, assert_pattern, config, read, to, write},
    trace::{Trace, pdus},
};
use iscsi_client::{
    bind::Bind,
    initiator::Initiator,
    session::{Session, SessionOptions},
    tap::{CaptureState, PayloadCapture, PcapNg, PcapOptions, Tap},
};
use iscsi_proto::{
    login::{ChapCredentials, Secret},
    text::DigestOffer,
};
use iscsi_testkit::{
    sim::{Link, SimRuntime},
    target::ChapConfig,
};

/// The file of a capture, in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A fixed time, so that equal runs make equal files.
fn options() -> PcapOptions {
    let mut options = PcapOptions::default();
    options.epoch = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    options
}

/// A capture in memory behind a trace.
fn capture(options: PcapOptions) -> (Arc<Trace>, Memory) {
    let file = Memory::default();
    let pcap = PcapNg::with_options(file.clone(), options).unwrap();
    (Trace::before(Arc::new(pcap)), file)
}

fn tapped(tap: &Arc<Trace>) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.tap = Some(Arc::clone(tap) as Arc<dyn Tap>);
    options
}

/// Reads and writes of several sizes: many PDUs, segments of more than 64 KiB.
fn work(sim: &SimRuntime, session: &Session) {
    sim.block_on(async {
        assert_pattern(session.execute(read(0, 8)).await, 0);
        assert_pattern(session.execute(read(64, 2048)).await, 64);
        for (lba, blocks) in [(4096, 1), (8192, 1500)] {
            let data = vec![0x5a; blocks * 512];
            session.execute(write(lba, data)).await.result.unwrap();
        }
    });
}

fn one_stream(file: &Memory) -> Stream {
    let packets = pcapng::read(&file.bytes());
    let mut streams = pcapng::streams(&packets);
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

/// A session with both digests, its work, and a logout; the trace and the capture of it.
fn session_with_digests(options: PcapOptions) -> (Arc<Trace>, Memory) {
    let world = World::new(3);
    let (trace, file) = capture(options);
    let mut options = tapped(&trace);
    let crc32c = DigestOffer::RequireCrc32c;
    options.offer = options.offer.with_header_digest(crc32c);
    options.offer = options.offer.with_data_digest(crc32c);
    let session = world.connect(options);
    work(&world.sim, &session);
    world.sim.block_on(session.close());
    world.assert_clean();
    (trace, file)
}

#[test]
fn a_capture_holds_both_streams_byte_for_byte() {
    let (trace, file) = session_with_digests(options());
    let carried = trace.connections().remove(0);
    let stream = one_stream(&file);
    assert!(carried.received.len() > 1 << 20);
    assert!(stream.bytes(true) == carried.sent);
    assert!(stream.bytes(false) == carried.received);
    assert_eq!(stream.interface, "any");
    assert!(stream.ends.contains(&(true, FIN)), "{:?}", stream.ends);
    let [about, facts] = &stream.comments[..] else {
        panic!("{:?}", stream.comments)
    };
    assert!(about.contains("portal 10.0.0.1:3260"), "{about}");
    for fact in [
        "HeaderDigest=CRC32C DataDigest=CRC32C",
        "TargetName=iqn.2026-01.example:disk",
        "SessionType=Normal",
        "MaxBurstLength=",
    ] {
        assert!(facts.contains(fact), "{facts}");
    }
}

#[test]
fn equal_runs_make_equal_captures() {
    let [first, second] = [(); 2].map(|()| session_with_digests(options()).1.bytes());
    assert!(first == second);
}

#[test]
fn without_payload_the_headers_stay_and_the_lengths_are_true() {
    let mut options = options();
    options.payload = PayloadCapture::HeadersOnly;
    let (trace, file) = session_with_digests(options);
    let carried = trace.connections().remove(0);
    let stream = one_stream(&file);
    assert!(file.bytes().len() < 64 << 10, "{}", file.bytes().len());
    let (sent_login, received_login) = carried.logged_in.unwrap();
    for (outbound, bytes, login) in [
        (true, &carried.sent, sent_login),
        (false, &carried.received, received_login),
    ] {
        assert_eq!(stream.wire_len(outbound), bytes.len());
        let mut segments = stream.segments.iter().filter(|s| s.0 == outbound);
        for pdu in pdus(bytes, login, 4) {
            let (_, kept, mut wire) = segments.next().unwrap().clone();
            while wire < pdu.len {
                let (_, more, len) = segments.next().unwrap();
                assert!(more.is_empty(), "payload behind a cut");
                wire += len;
            }
            assert_eq!(wire, pdu.len, "a segment holds one PDU");
            let telling = [3, 4, 0x21, 0x23, 0x24, 0x32, 0x3f].contains(&(pdu.header[0] & 0x3f));
            if telling {
                assert_eq!(kept.len(), pdu.len);
            } else {
                assert!(kept == pdu.header);
            }
        }
    }
}

#[test]
fn chap_responses_are_overwritten_unless_wanted() {
    for redact in [true, false] {
        let secret = iscsi_testkit::canary::OURS.as_bytes();
        let world = World::with_config(1, config().with_chap(ChapConfig::new("user", secret)));
        let mut pcap = options();
        pcap.redact_chap = redact;
        let (trace, file) = capture(pcap);
        let credentials = ChapCredentials::new("user", Secret::new(secret)).unwrap();
        let initiator = world.builder().options(tapped(&trace));
        let initiator = initiator.credentials(credentials).build();
        let session = world
            .sim
            .block_on(initiator.connect_spawned(&to()))
            .unwrap();
        work(&world.sim, &session);
        let sent = one_stream(&file).bytes(true);
        let sent = String::from_utf8_lossy(&sent);
        let at = sent.find("CHAP_R=").expect("a response");
        assert_eq!(sent[at..].starts_with("CHAP_R=XXXX"), redact);
        assert_eq!(sent[at..].starts_with("CHAP_R=0x"), !redact);
        let carried = trace.connections().remove(0).sent;
        assert_eq!(one_stream(&file).wire_len(true), carried.len());
        assert!(sent.contains("CHAP_N=user"));
    }
}

#[test]
fn every_login_of_a_session_is_a_connection_of_its_capture() {
    let world = World::new(5);
    let (trace, file) = capture(options());
    let session = world.connect(tapped(&trace));
    world.sim.block_on(async {
        for _ in 0..3 {
            let seen = session.status().generation;
            world.sim.net().reset(Link::to(address()));
            session.changed(seen).await;
            session.wait_up().await.unwrap();
            assert_pattern(session.execute(read(0, 16)).await, 0);
        }
        session.close().await;
    });
    let streams = pcapng::streams(&pcapng::read(&file.bytes()));
    assert_eq!(streams.len(), 4);
    for (stream, carried) in streams.iter().zip(trace.connections()) {
        assert!(stream.bytes(true) == carried.sent);
        assert!(stream.bytes(false) == carried.received);
    }
    for lost in &streams[..3] {
        assert_eq!(lost.ends, [(false, RST)]);
        let comment = lost.comments.last().unwrap();
        assert!(comment.contains("the connection failed"), "{comment}");
    }
}

#[test]
fn each_bind_is_an_interface_and_discovery_is_captured_too() {
    let world = World::new(6);
    let nics = ["10.0.0.8", "10.0.0.9"];
    let (trace, file) = capture(options());
    let initiator = world.builder().options(tapped(&trace)).build();
    for nic in nics {
        let bind: Bind = nic.parse().unwrap();
        let portal = address().into();
        let found = initiator.discover(&portal, &bind);
        world.sim.block_on(found).unwrap();
    }
    let streams = pcapng::streams(&pcapng::read(&file.bytes()));
    assert_eq!(streams.len(), 2);
    for (stream, nic) in streams.iter().zip(nics) {
        assert_eq!(stream.interface, nic);
        assert!(stream.comments[0].contains("discovery"));
        assert!(stream.comments[1].contains("SessionType=Discovery"));
    }
}

/// Takes `left` more bytes.
#[derive(Debug)]
struct SmallDisk {
    left: usize,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect_with(world: &World, tap: Arc<dyn Tap>) -> Session {
    let mut options = SessionOptions::default();
    options.tap = Some(tap);
    let initiator: Initiator = world.builder().options(options).build();
    world
        .sim
        .block_on(initiator.connect_spawned(&to()))
        .unwrap()
}

#[test]
fn a_capture_that_cannot_be_written_stops_and_the_session_goes_on() {
    for left in [300, 1000, 5000, 100_000] {
        let world = World::new(7);
        let pcap = Arc::new(PcapNg::with_options(SmallDisk { left }, options()).unwrap());
        let session = connect_with(&world, pcap.clone());
        work(&world.sim, &session);
        let status = pcap.status();
        match status.state {
            CaptureState::Failed(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert!(pcap.status().to_string().contains("then stopped"));
        assert!(status.bytes <= left as u64);
        world.assert_clean();
    }
    let full = SmallDisk { left: 10 };
    let error = PcapNg::new(full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_capture_stays_below_its_limit_and_whole() {
    let world = World::new(8);
    let mut pcap = options();
    pcap.max_bytes = Some(100_000);
    let file = Memory::default();
    let pcap = Arc::new(PcapNg::with_options(file.clone(), pcap).unwrap());
    let session = connect_with(&world, pcap.clone());
    work(&world.sim, &session);
    let status = pcap.flush();
    assert!(matches!(status.state, CaptureState::Full));
    assert_eq!(file.bytes().len() as u64, status.bytes);
    assert!((1000..=100_000).contains(&status.bytes));
    let packets = pcapng::read(&file.bytes());
    assert_eq!(packets.len() as u64, status.packets);
}
