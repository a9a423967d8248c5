//! Our own traffic with the strict target, as the targets take it.

use std::sync::{Arc, Mutex};

use iscsi_proto::{
    Instant, Isid, Lun,
    login::{
        Authentication, ChapAlgorithm, ChapCredentials, Login, LoginConfig, Secret,
        TargetCredentials,
    },
    pdu::{Bhs, LogoutReason, opcode, pad_len},
    scsi::cdb::Cdb,
    session::{Command, DataLength, Event, TaskManagement},
    text::{DigestOffer, OperationalOffer, send_targets},
};
use iscsi_testkit::{
    pair::{Pair, PairConfig, Towards},
    target::{
        AluaConfig, ChapConfig, LunConfig, Redirect, TargetConfig, TargetConnection, TargetCore,
    },
};

use crate::Seed;

/// As the target `login` has them.
const HOST: &str = "iqn.2001-04.com.example:host";
const DISK: &str = "iqn.2001-04.com.example:disk";

fn target() -> TargetConfig {
    TargetConfig::new(DISK)
        .with_portal("127.0.0.1:3260".parse().expect("an address"), 1)
        .with_portal("[::1]:3260".parse().expect("an address"), 2)
        .with_lun(LunConfig::new(0, 1 << 20).with_thin_provisioning())
        .with_lun(LunConfig::new(7, 1 << 20).with_block_size(4096))
        .with_alua(AluaConfig::default())
}

fn login(discovery: bool) -> LoginConfig {
    let name = |text: &str| text.parse().expect("a name");
    match discovery {
        true => LoginConfig::discovery(name(HOST), Isid([2; 6])),
        false => LoginConfig::normal(name(HOST), name(DISK), Isid([2; 6])),
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = logins();
    for digests in [false, true] {
        seeds.extend(conversation(digests));
    }
    seeds.extend(discovery());
    seeds
}

/// Whole PDUs of a stream, with the data of each. Without digests.
fn split(stream: &[u8]) -> Vec<(Bhs, &[u8], &[u8])> {
    let (mut rest, mut pdus) = (stream, Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<{ Bhs::LEN }>() {
        let bhs = Bhs::from(*header);
        let len = bhs.data_segment_length() as usize;
        let whole = Bhs::LEN + len + pad_len(len);
        pdus.push((bhs, &behind[..len], &rest[..whole]));
        rest = &rest[whole..];
    }
    pdus
}

/// What the target says in logins of each kind; the numbers are those of `iscsi_proto::login::fuzz_login`.
fn logins() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |kind: u8, config: TargetConfig| {
        for algorithm in ChapAlgorithm::ALL {
            let core = TargetCore::new(
                config.clone(),
                &["127.0.0.1:3260".parse().expect("an address")],
            );
            core.redirect_logins(
                0,
                (kind & 16 != 0).then(|| Redirect {
                    to: "10.0.0.2:3260,2".into(),
                    permanent: true,
                }),
            );
            let mut ours = login(kind & 1 != 0).with_chap_algorithms(&[*algorithm]);
            if kind & 2 != 0 {
                let mut chap = ChapCredentials::new("user", Secret::new(b"opensesame12"))
                    .expect("long enough");
                if kind & 8 != 0 {
                    let theirs = TargetCredentials::new(Secret::new(b"the target's own"));
                    chap = chap
                        .with_target(theirs.expect("long enough"))
                        .expect("another secret");
                }
                ours = ours.with_authentication(Authentication::Chap(chap));
            }
            let stream = said(&core, ours.with_require_chap(kind & 4 == 0));
            for (_, text, pdu) in split(&stream) {
                if !text.is_empty() {
                    seeds.push(("text", text.to_vec()));
                }
                seeds.push(("pdu_stream", [&[0, 1], pdu].concat()));
            }
            // The first bytes: the configuration, and the size of reads.
            seeds.push(("login", [&[kind, 47], &stream[..]].concat()));
        }
    };
    let chap = ChapConfig::new("user", b"opensesame12").with_mutual("t", b"the target's own");
    for kind in [0, 1, 16] {
        add(kind, target());
    }
    for kind in [2, 3, 6, 10, 14] {
        add(kind, target().with_chap(chap.clone()));
    }
    let mut short = target();
    short.login.segment = 32;
    short.login.announce = vec![
        ("IFMarker".into(), "No".into()),
        ("X-com.example.key".into(), "1".into()),
    ];
    add(0, short);
    seeds
}

/// The target's side of a login whose random numbers are zeros.
fn said(core: &Arc<TargetCore>, config: LoginConfig) -> Vec<u8> {
    let mut connection = TargetConnection::new(core, 0, Arc::new(|| {}));
    let mut login = Login::new(config, Instant::ZERO, &mut |bytes| bytes.fill(0));
    let mut stream = Vec::new();
    while login.is_pending() {
        let request = login.transmit().to_vec();
        login.handle_transmitted(request.len()).expect("all of it");
        let mut request = &request[..];
        while !request.is_empty() {
            let room = connection.input();
            let n = room.len().min(request.len());
            room[..n].copy_from_slice(&request[..n]);
            connection.handle_input(Instant::ZERO, n);
            request = &request[n..];
        }
        let answer = connection.poll_transmit(Instant::ZERO).to_vec();
        if answer.is_empty() {
            break;
        }
        connection.transmitted(answer.len());
        stream.extend_from_slice(&answer);
        let mut answer = &answer[..];
        while !answer.is_empty() && login.is_pending() {
            let room = login.recv_buf();
            let n = room.len().min(answer.len());
            room[..n].copy_from_slice(&answer[..n]);
            answer = &answer[n..];
            if login.handle_recv(Instant::ZERO, n).is_err() {
                return stream;
            }
        }
    }
    stream
}

/// A pair, and what its target sends from now on.
fn pair(digests: bool, discovery: bool) -> (Pair, Arc<Mutex<Vec<u8>>>) {
    let digest = if digests {
        DigestOffer::RequireCrc32c
    } else {
        DigestOffer::None
    };
    let offer = OperationalOffer::default()
        .with_header_digest(digest)
        .with_data_digest(digest)
        .with_protocol_level(1)
        .expect("a level that there is");
    let login = login(discovery).with_offer(offer);
    let mut pair = Pair::log_in(PairConfig::new(1), target(), login).expect("nothing against it");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    pair.set_middlebox(move |towards, bytes| {
        if towards == Towards::Initiator {
            ear.lock().expect("nobody panics").extend_from_slice(&bytes);
        }
        bytes
    });
    (pair, heard)
}

fn done(pair: &mut Pair) -> Option<Event> {
    let until = pair.now().saturating_add(std::time::Duration::from_secs(1));
    pair.drive(until).expect("an honest target")
}

/// CDBs that ask for something, in what a disk is asked at the beginning.
fn questions() -> Vec<Cdb> {
    let cdb = |bytes: &[u8]| {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        Cdb::from_bytes(cdb)
    };
    let mut questions = vec![
        Cdb::test_unit_ready(),
        Cdb::test_unit_ready(),
        Cdb::inquiry(96),
        Cdb::report_luns(512),
        Cdb::read_capacity10(),
        Cdb::read_capacity16(),
        Cdb::request_sense(false, 252),
        Cdb::request_sense(true, 252),
        // MODE SENSE (6) and (10), all pages.
        cdb(&[0x1a, 0, 0x3f, 0, 252]),
        cdb(&[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 252]),
        // REPORT TARGET PORT GROUPS with both headers, SUPPORTED OPERATION CODES, GET LBA STATUS.
        cdb(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0]),
        cdb(&[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 1, 0]),
        cdb(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 1, 0]),
        cdb(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
        // An opcode that there is not, and an LBA.
        cdb(&[0xff]),
        Cdb::read16(1 << 40, 1, false),
    ];
    questions.extend([0, 0x80, 0x83, 0xb0, 0xb1, 0xb2].map(|page| Cdb::inquiry_vpd(page, 512)));
    questions.extend([0, 1, 2, 3].map(|action| cdb(&[0x5e, action, 0, 0, 0, 0, 0, 1, 0])));
    questions
}

/// Commands of each kind. Without digests the answers are cut to PDUs and to their data as well.
fn conversation(digests: bool) -> Vec<Seed> {
    let (mut pair, heard) = pair(digests, false);
    for cdb in questions() {
        let command = Command::new(Lun::new(0), cdb, DataLength::In(512));
        pair.submit(&command, vec![0; 512]).expect("room");
        done(&mut pair);
    }
    for (blocks, write) in [(1, true), (1, false), (40, true), (40, false)] {
        let len = blocks * 512;
        let (cdb, data) = match write {
            true => (Cdb::write16(0, blocks, false), DataLength::Out(len)),
            false => (Cdb::read16(0, blocks, false), DataLength::In(len)),
        };
        let command = Command::new(Lun::new(0), cdb, data);
        pair.submit(&command, vec![0; len as usize]).expect("room");
        done(&mut pair);
    }
    let now = pair.now();
    pair.session.ping(now, None).expect("room");
    done(&mut pair);
    let function = TaskManagement::LogicalUnitReset(Lun::new(0));
    let now = pair.now();
    pair.session
        .task_management(now, function, None)
        .expect("room");
    done(&mut pair);
    let now = pair.now();
    pair.session
        .logout(now, LogoutReason::CloseSession)
        .expect("a reason that there is");
    done(&mut pair);
    let stream = heard.lock().expect("nobody panics").clone();
    let mut seeds = Vec::new();
    // The first bytes: digests and read-ahead, and the dice for cuts.
    let flags = if digests { 3 } else { 0 };
    let start = stream.len().min(4096);
    seeds.push(("pdu_stream", [&[flags, 9], &stream[..start]].concat()));
    if !digests {
        for (bhs, data, pdu) in split(&stream) {
            if data.len() <= 600 {
                seeds.push(("pdu_stream", [&[flags, 9], pdu].concat()));
                seeds.push(("scsi", data.to_vec()));
            }
            if bhs.opcode() == opcode::SCSI_RESPONSE && data.len() > 2 {
                seeds.push(("scsi", data[2..].to_vec()));
            }
        }
    }
    seeds
}

/// The answer to SendTargets.
fn discovery() -> Vec<Seed> {
    let (mut pair, heard) = pair(false, true);
    let now = pair.now();
    pair.session
        .text(now, b"SendTargets=All\0")
        .expect("nothing else");
    let Some(Event::TextDone {
        result: Ok(text), ..
    }) = done(&mut pair)
    else {
        panic!("a target that does not answer");
    };
    let found = send_targets::parse(&text, None).expect("an honest target");
    let mut seeds = vec![
        ("text", text),
        (
            "pdu_stream",
            [&[0, 9], &heard.lock().expect("nobody panics")[..]].concat(),
        ),
    ];
    for target in found.targets {
        let portals = target.portals.iter();
        seeds.extend(portals.map(|portal| ("names", portal.to_string().into_bytes())));
        seeds.push(("names", target.name.to_string().into_bytes()));
    }
    seeds
}
