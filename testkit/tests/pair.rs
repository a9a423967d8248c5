//! The initiator's core against the target's: every byte right, however the stream is cut, and
//! nothing that the strict target holds against us.

use std::time::Duration;

use iscsi_proto::{
    Error, Isid,
    login::{Authentication, ChapCredentials, LoginConfig, Secret},
    pdu::LogoutReason,
    scsi::{cdb::Cdb, lun::Lun, status::ScsiStatus},
    session::{Command, DataLength, Event, Execution},
    text::{DigestOffer, OperationalOffer},
};
use iscsi_testkit::{
    pair::{Pair, PairConfig},
    pattern,
    sim::Rng,
    target::{ChapConfig, DigestPolicy, Limits, LunConfig, TargetConfig},
};

const TARGET: &str = "iqn.2026-01.example:pair";
const SEED: u64 = 77;

fn target() -> TargetConfig {
    let mut lun = LunConfig::new(0, 64 << 20).with_seed(SEED);
    lun.fua = true;
    TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:3260".parse().unwrap(), 1)
        .with_lun(lun)
}

fn login() -> LoginConfig {
    let name = "iqn.2026-01.example:initiator".parse().unwrap();
    LoginConfig::normal(name, TARGET.parse().unwrap(), Isid([0x80, 0, 0, 0, 0, 1]))
}

/// A unit attention after the login is expected; this takes it.
fn take_unit_attention(pair: &mut Pair) {
    let command = Command::new(Lun::new(0), Cdb::test_unit_ready(), DataLength::None);
    pair.submit(&command, Vec::new()).unwrap();
    let until = pair.now().saturating_add(Duration::from_secs(1));
    pair.drive(until).unwrap().expect("an answer");
}

/// Writes, reads back and reads the rest, many at a time, at random places; then looks at what the
/// target holds, and holds against us.
fn converse(pair: &mut Pair, rng: &mut Rng) {
    take_unit_attention(pair);
    let mut expected = vec![0; 1 << 20];
    pattern::fill(SEED, 0, &mut expected);
    for _ in 0..20 {
        let mut writes = Vec::new();
        for slot in 0..8u64 {
            let blocks = rng.below(200) + 1;
            let lba = slot * 256 + rng.below(256 - blocks.min(255));
            let mut data = vec![0; blocks as usize * 512];
            rng.fill(&mut data);
            let at = lba as usize * 512;
            let end = at + data.len();
            if end > expected.len() || writes.iter().any(|(l, e, _)| at < *e && *l < end) {
                continue;
            }
            expected[at..end].copy_from_slice(&data);
            let cdb = Cdb::write16(lba, blocks as u32, rng.chance(500));
            let command = Command::new(Lun::new(0), cdb, DataLength::Out(data.len() as u32));
            writes.push((at, end, pair.submit(&command, data).unwrap()));
        }
        finish(pair, writes.len());
        let mut reads = Vec::new();
        for _ in 0..8 {
            let blocks = rng.below(300) + 1;
            let lba = rng.below(2048 - blocks);
            let cdb = Cdb::read16(lba, blocks as u32, false);
            let len = blocks as usize * 512;
            let command = Command::new(Lun::new(0), cdb, DataLength::In(len as u32));
            let itt = pair.submit(&command, vec![0xee; len]).unwrap();
            reads.push((lba as usize * 512, itt));
        }
        finish(pair, reads.len());
        for (at, itt) in reads {
            let got = pair.take_memory(itt).unwrap();
            assert!(got == expected[at..at + got.len()], "wrong bytes at {at}");
        }
    }
    let mut content = vec![0; expected.len()];
    pair.target().peek(0, 0, &mut content);
    assert!(content == expected, "the target holds what was written");
    assert_eq!(pair.target().violations(), []);
}

fn finish(pair: &mut Pair, mut commands: usize) {
    while commands > 0 {
        let until = pair.now().saturating_add(Duration::from_secs(10));
        match pair.drive(until).unwrap().expect("an event") {
            Event::CommandDone { result, .. } => {
                assert_eq!(result.unwrap().status, ScsiStatus::Good);
                commands -= 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_negotiation_moves_the_right_bytes_however_the_stream_is_cut() {
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let mut limits = Limits::default();
        limits.initial_r2t = rng.chance(500);
        limits.immediate_data = rng.chance(500);
        limits.status_in_data = rng.chance(500);
        limits.max_recv_data_segment_length = 512 << rng.below(8);
        limits.max_burst_length = 4096 << rng.below(6);
        let first_burst = 512 << rng.below(8);
        limits.first_burst_length = first_burst.min(limits.max_burst_length);
        limits.max_outstanding_r2t = rng.below(4) as u16 + 1;
        limits.ping_every = rng.below(5) as u32;
        let offer = OperationalOffer::default()
            .with_max_recv_data_segment_length(512 << rng.below(9))
            .unwrap();
        let digests = rng.chance(500);
        let digest = match digests {
            true => DigestOffer::RequireCrc32c,
            false => DigestOffer::None,
        };
        let offer = offer.with_header_digest(digest).with_data_digest(digest);
        let cut = [1 << 16, 1000, 61][rng.below(3) as usize];
        let config = PairConfig::new(seed).with_cut(cut);
        let target = target().with_limits(limits);
        let mut pair = Pair::log_in(config, target, login().with_offer(offer)).unwrap();
        converse(&mut pair, &mut rng);
    }
}

#[test]
fn chap_and_required_digests_hold_between_the_two() {
    let credentials = ChapCredentials::new(
        "somebody",
        Secret::new(iscsi_testkit::canary::OURS.as_bytes()),
    )
    .unwrap();
    let login = login().with_authentication(Authentication::Chap(credentials));
    let target = target()
        .with_chap(ChapConfig::new(
            "somebody",
            iscsi_testkit::canary::OURS.as_bytes(),
        ))
        .with_digests(DigestPolicy::Require, DigestPolicy::Require);
    let login = login.with_offer(
        OperationalOffer::default()
            .with_header_digest(DigestOffer::PreferNone)
            .with_data_digest(DigestOffer::PreferNone),
    );
    let mut pair = Pair::log_in(PairConfig::new(1).with_cut(7), target, login).unwrap();
    take_unit_attention(&mut pair);
    assert_eq!(pair.target().violations(), []);
}

#[test]
fn the_same_seed_is_the_same_conversation() {
    let run = |seed| {
        let mut pair =
            Pair::log_in(PairConfig::new(seed).with_cut(300), target(), login()).unwrap();
        converse(&mut pair, &mut Rng::new(seed));
        (pair.now(), pair.session.stats())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
}

/// At ErrorRecoveryLevel 0 a lost connection is the end of its commands: each ends once, and what is
/// said to be "not executed" is not on the medium.
#[test]
fn what_was_not_executed_is_not_on_the_medium() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut pair =
            Pair::log_in(PairConfig::new(seed).with_cut(500), target(), login()).unwrap();
        take_unit_attention(&mut pair);
        let mut tags = Vec::new();
        for slot in 0..6u64 {
            let command = Command::new(
                Lun::new(0),
                Cdb::write16(slot * 8, 8, false),
                DataLength::Out(4096),
            );
            tags.push((slot, pair.submit(&command, vec![0xab; 4096]).unwrap()));
        }
        let mut ended = Vec::new();
        let until = pair
            .now()
            .saturating_add(Duration::from_micros(rng.below(3000)));
        while let Some(event) = pair.drive(until).unwrap() {
            ended.push(event);
        }
        pair.close();
        while let Some(event) = pair.session.poll_event() {
            ended.push(event);
        }
        assert_eq!(ended.len(), tags.len());
        for event in ended {
            let Event::CommandDone { itt, result } = event else {
                panic!("{event:?}")
            };
            let (slot, _) = tags.iter().find(|(_, tag)| *tag == itt).unwrap();
            let mut block = [0; 4096];
            pair.target().peek(0, slot * 4096, &mut block);
            let written = block.iter().all(|byte| *byte == 0xab);
            match result {
                Ok(response) => assert!(response.status == ScsiStatus::Good && written),
                Err(error) if error.execution == Execution::NotExecuted => assert!(!written),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn the_initiator_learns_that_the_target_has_closed() {
    let mut pair = Pair::log_in(PairConfig::new(1), target(), login()).unwrap();
    let until = pair.now().saturating_add(Duration::from_secs(1));
    let now = pair.now();
    pair.session
        .logout(now, LogoutReason::CloseSession)
        .unwrap();
    let event = pair.drive(until).unwrap();
    assert!(matches!(event, Some(Event::LoggedOut { .. })), "{event:?}");
    assert_eq!(pair.drive(until), Err(Error::Closed));
}
