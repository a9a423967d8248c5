//! How much memory a session says that it holds.

use super::*;
use crate::{pdu::TextResponse, session::SubmitError};

/// One read, from its submit to its end.
fn round(h: &mut Harness) {
    let itt = h.read(512);
    h.sent();
    let data = h.data_in(itt, 0, 0, 512);
    h.feed(data.emit(), &pattern(0, 512)).unwrap();
    h.max_cmd_sn = h.max_cmd_sn.wrapping_add(1);
    let good = h.response(itt).emit();
    h.feed(good, &[]).unwrap();
    h.done(itt).unwrap();
    h.memory.0.clear();
}

#[test]
fn many_commands_at_a_time_need_more_and_then_no_more() {
    let mut h = Harness::new();
    let most = SessionConfig::default().max_tasks;
    let mut full = None;
    for _ in 0..3 {
        let reads: Vec<_> = (0..most).map(|_| h.read(512)).collect();
        let refused = Command::new(Lun::new(1), Cdb::read16(0, 1, false), DataLength::In(512));
        let refused = h.session.submit(h.now, &refused);
        assert_eq!(refused, Err(SubmitError::QueueFull));
        for itt in reads {
            h.session.abandon(h.now, itt);
            assert!(h.done(itt).is_err());
        }
        h.memory.0.clear();
        let held = h.session.held_bytes();
        assert!(held < 128 * 1024, "{held}");
        assert_eq!(*full.get_or_insert(held), held);
    }
}

#[test]
fn it_is_what_it_was_however_many_commands_there_were() {
    let mut h = Harness::new();
    round(&mut h);
    let held = h.session.held_bytes();
    // Not the 256 tasks that there may be, nor all of scratch.
    assert!((4096..12 * 1024).contains(&held), "{held}");
    for _ in 0..10_000 {
        round(&mut h);
    }
    assert_eq!(h.session.held_bytes(), held);
}

fn answer(h: &mut Harness, itt: InitiatorTaskTag, is_final: bool) -> TextResponse {
    TextResponse {
        is_final,
        cont: !is_final,
        lun: Lun::ZERO,
        itt,
        ttt: TargetTransferTag(if is_final { u32::MAX } else { 1 }),
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    }
}

#[test]
fn a_text_counts_until_it_was_polled() {
    let mut h = Harness::new();
    let before = h.session.held_bytes();
    let itt = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    h.sent();
    let part = vec![b'a'; 60_000];
    let more = answer(&mut h, itt, false);
    h.feed(more.emit(), &part).unwrap();
    let during = h.session.held_bytes();
    assert!(during >= before + 60_000, "{during} after {before}");
    h.sent();
    let last = answer(&mut h, itt, true);
    h.feed(last.emit(), &part).unwrap();
    let whole = h.session.held_bytes();
    assert!(whole >= before + 120_000, "{whole} after {before}");
    let events = h.events();
    assert!(
        matches!(&events[..], [Event::TextDone { result: Ok(text), .. }] if text.len() == 120_000),
        "{events:?}"
    );
    let after = h.session.held_bytes();
    // The receiver keeps a small buffer for the next one, and its scratch until it rests.
    let scratch = SessionConfig::default().scratch as u64;
    assert!(after < before + scratch + 4096, "{after} after {before}");
    h.advance(Duration::from_secs(5));
    h.session.handle_timeout(h.now).unwrap();
    h.session.recv_plan();
    h.sent();
    let rested = h.session.held_bytes();
    assert!(rested < before + 8192, "{rested} after {before}");
}
