//! NOP-Out and NOP-In, both ways.

use super::*;
use crate::{
    error::{PeerMisbehaved, TimedOut},
    pdu::{NopIn, NopOut},
};

fn ping_in(h: &Harness, itt: InitiatorTaskTag, ttt: u32) -> NopIn {
    NopIn {
        lun: Lun::new(3),
        itt,
        ttt: TargetTransferTag(ttt),
        stat_sn: StatSn(h.stat_sn),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        data_segment_length: 0,
    }
}

fn ping_out(h: &mut Harness) -> NopOut {
    let sent = h.sent();
    let [(Pdu::NopOut(nop), _)] = &sent[..] else {
        panic!("{sent:?}")
    };
    *nop
}

/// Row C-52.
#[test]
fn a_ping_of_the_target_is_answered_with_its_tag_lun_and_data() {
    let mut h = Harness::new();
    let ping = ping_in(&h, InitiatorTaskTag::RESERVED, 0x55);
    h.feed(ping.emit(), &[9; 600]).unwrap();
    let sent = h.sent();
    let [(Pdu::NopOut(nop), data)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (nop.ttt, nop.itt),
        (TargetTransferTag(0x55), InitiatorTaskTag::RESERVED)
    );
    assert_eq!((nop.lun, nop.immediate), (Lun::new(3), true));
    assert_eq!(
        *data, [9; 512],
        "cut to the target's MaxRecvDataSegmentLength"
    );
}

/// Row C-53, and the round trip.
#[test]
fn our_ping_is_answered() {
    let mut h = Harness::new();
    let itt = h.session.ping(h.now, None).unwrap();
    assert_eq!(ping_out(&mut h).itt, itt);
    h.advance(Duration::from_millis(7));
    let mut pong = ping_in(&h, itt, u32::MAX);
    pong.stat_sn = h.next_stat_sn();
    h.feed(pong.emit(), &[]).unwrap();
    let result = Ok(Duration::from_millis(7));
    assert_eq!(h.events(), [Event::PingDone { itt, result }]);
}

#[test]
fn an_answer_with_data_that_we_did_not_send_ends_the_connection() {
    let mut h = Harness::new();
    let itt = h.session.ping(h.now, None).unwrap();
    h.sent();
    let pong = ping_in(&h, itt, u32::MAX);
    assert_eq!(
        h.feed(pong.emit(), &[1, 2, 3]),
        Err(PeerMisbehaved::NopData.into())
    );
}

/// Row H98.
#[test]
fn a_flood_of_pings_is_refused() {
    let mut h = Harness::new();
    let ping = ping_in(&h, InitiatorTaskTag::RESERVED, 1);
    let error = (0..1000).find_map(|_| h.feed(ping.emit(), &[0; 8]).err());
    assert_eq!(error, Some(PeerMisbehaved::Flood.into()));
}

#[test]
fn silence_is_asked_about_and_then_ends_the_connection() {
    let mut h = Harness::new();
    assert_eq!(
        h.session.poll_timeout(),
        Some(Instant::from_nanos(5_000_000_000))
    );
    h.advance(Duration::from_secs(5));
    h.session.handle_timeout(h.now).unwrap();
    ping_out(&mut h);
    h.advance(Duration::from_secs(5));
    assert_eq!(h.session.handle_timeout(h.now), Err(TimedOut::Nop.into()));
}

#[test]
fn with_a_beat_pings_leave_on_it_and_before_the_interval_is_over() {
    let config = SessionConfig {
        nop_beat: Duration::from_secs(1),
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let mut at = 0;
    for (heard, due) in [
        (0, 5_000),
        (5_001, 10_000),
        (10_999, 15_000),
        (16_000, 21_000),
    ] {
        h.advance(Duration::from_millis(heard - at));
        at = heard;
        let ping = ping_in(&h, InitiatorTaskTag::RESERVED, u32::MAX);
        h.feed(ping.emit(), &[]).unwrap();
        assert_eq!(
            h.session.poll_timeout(),
            Some(Instant::from_nanos(due * 1_000_000)),
            "heard at {heard} ms"
        );
    }
    h.advance(Duration::from_millis(4999));
    h.session.handle_timeout(h.now).unwrap();
    assert!(h.sent().is_empty());
    h.advance(Duration::from_millis(1));
    h.session.handle_timeout(h.now).unwrap();
    ping_out(&mut h);
}

/// What is idle has pings, and each of them acknowledges.
#[test]
fn an_idle_session_sends_nothing_but_its_pings() {
    let mut h = Harness::new();
    let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    h.sent();
    h.good(itt).unwrap();
    h.done(itt).unwrap();
    for _ in 0..10 {
        let due = h.session.poll_timeout().unwrap();
        h.advance(due.saturating_duration_since(h.now));
        h.session.handle_timeout(h.now).unwrap();
        let ping = ping_out(&mut h);
        assert_eq!(ping.exp_stat_sn, StatSn(h.stat_sn));
        let mut pong = ping_in(&h, ping.itt, u32::MAX);
        pong.stat_sn = h.next_stat_sn();
        h.feed(pong.emit(), &[]).unwrap();
        h.events();
    }
}

/// A target that is busy sending data is alive, whether it answers pings or not.
#[test]
fn any_traffic_counts_as_an_answer() {
    let mut h = Harness::new();
    let itt = h.read(4096);
    h.sent();
    h.advance(Duration::from_secs(5));
    h.session.handle_timeout(h.now).unwrap();
    ping_out(&mut h);
    for i in 0..8 {
        h.advance(Duration::from_secs(4));
        let data = h.data_in(itt, i, i * 512, 512);
        h.feed(data.emit(), &[0; 512]).unwrap();
        h.session.handle_timeout(h.now).unwrap();
    }
}

/// A target that never answers but pings by itself is alive, if rude. Its unanswered pings must not
/// use up the task slots, which commands and aborts need.
#[test]
fn unanswered_pings_do_not_pile_up() {
    let mut h = Harness::new();
    let mut pings = 0;
    for _ in 0..1000 {
        h.advance(Duration::from_secs(5));
        h.session.handle_timeout(h.now).unwrap();
        pings += h.sent().len();
        h.advance(Duration::from_secs(1));
        let window = ping_in(&h, InitiatorTaskTag::RESERVED, u32::MAX);
        h.feed(window.emit(), &[]).unwrap();
    }
    assert_eq!(pings, 1, "one is on its way already");
    for _ in 0..SessionConfig::default().max_tasks {
        h.read(512);
    }
}

#[test]
fn an_answer_to_a_ping_that_was_not_sent_ends_the_connection() {
    let mut h = Harness::new();
    let itt = h.session.ping(h.now, None).unwrap();
    let pong = ping_in(&h, itt, u32::MAX);
    assert_eq!(h.feed(pong.emit(), &[]), Err(PeerMisbehaved::Phase.into()));
}

/// A Text Request waits for the command window; a ping is immediate and must not wait behind it, or
/// the keepalive ends a connection that it never asked.
#[test]
fn a_closed_window_holds_no_ping_back() {
    let mut h = Harness::new();
    for _ in 0..32 {
        h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    }
    h.sent();
    let text = h.session.text(h.now, b"SendTargets=All\0").unwrap();
    assert!(h.sent().is_empty(), "the window is closed");
    let itt = h.session.ping(h.now, None).unwrap();
    assert_eq!(ping_out(&mut h).itt, itt);
    h.max_cmd_sn = h.max_cmd_sn.wrapping_add(1);
    let news = ping_in(&h, InitiatorTaskTag::RESERVED, u32::MAX);
    h.feed(news.emit(), &[]).unwrap();
    let sent = h.sent();
    assert!(
        matches!(&sent[..], [(Pdu::TextRequest(request), _)] if request.itt == text),
        "{sent:?}"
    );
}

/// Sooner than the pings would.
fn acknowledging_soon() -> SessionConfig {
    SessionConfig {
        acknowledge_after: Some(Duration::from_secs(2)),
        ..SessionConfig::default()
    }
}

/// Row C-54, section 11.18: a NOP-Out without any tag carries ExpStatSN when nothing else does.
#[test]
fn a_response_is_acknowledged_in_time_though_there_is_nothing_to_send() {
    let mut h = Harness::with(parameters(), acknowledging_soon());
    let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    h.sent();
    h.good(itt).unwrap();
    h.done(itt).unwrap();
    let due = h.now.saturating_add(Duration::from_secs(2));
    assert_eq!(h.session.poll_timeout(), Some(due));
    h.now = due;
    h.session.handle_timeout(h.now).unwrap();
    let nop = ping_out(&mut h);
    assert_eq!(
        (nop.itt, nop.ttt),
        (InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED)
    );
    assert_eq!(nop.exp_stat_sn, StatSn(STAT_SN + 1));
    assert!(nop.immediate);
    // Acknowledged: nothing more until the keepalive.
    h.advance(Duration::from_secs(2));
    h.session.handle_timeout(h.now).unwrap();
    assert!(h.sent().is_empty());
}

#[test]
fn any_pdu_acknowledges_what_came_before_it() {
    let mut h = Harness::with(parameters(), acknowledging_soon());
    for _ in 0..5 {
        let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
        assert_eq!(h.sent().len(), 1);
        h.good(itt).unwrap();
        h.done(itt).unwrap();
        h.advance(Duration::from_millis(1500));
        h.session.handle_timeout(h.now).unwrap();
        assert!(h.sent().is_empty());
    }
}

/// A target that takes nothing gets one acknowledgement once it does, not one per interval.
#[test]
fn acknowledgements_do_not_pile_up() {
    let mut h = Harness::with(parameters(), acknowledging_soon());
    let itt = h.submit(Cdb::test_unit_ready(), DataLength::None, vec![]);
    h.sent();
    h.good(itt).unwrap();
    h.done(itt).unwrap();
    for _ in 0..2 {
        h.advance(Duration::from_secs(2));
        h.session.handle_timeout(h.now).unwrap();
    }
    assert_eq!(h.sent().len(), 1);
}

#[test]
fn a_callers_ping_has_a_deadline_and_a_late_answer_harms_nobody() {
    let config = SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let deadline = Some(h.now.saturating_add(Duration::from_millis(250)));
    let itt = h.session.ping(h.now, deadline).unwrap();
    ping_out(&mut h);
    h.advance(Duration::from_millis(250));
    assert_eq!(h.session.poll_timeout(), Some(h.now));
    h.session.handle_timeout(h.now).unwrap();
    let events = h.events();
    assert!(
        matches!(&events[..], [Event::PingDone { itt: done, result: Err(_) }] if *done == itt),
        "{events:?}"
    );
    let mut pong = ping_in(&h, itt, u32::MAX);
    pong.stat_sn = h.next_stat_sn();
    h.feed(pong.emit(), &[]).unwrap();
    assert!(h.events().is_empty());
}

#[test]
fn intervals_of_no_length_are_refused() {
    let config = |change: fn(&mut SessionConfig)| {
        let mut config = SessionConfig::default();
        change(&mut config);
        let login = LoggedIn::for_unit_tests(parameters(), CmdSn(1), StatSn(1), CmdSn(1));
        Session::new(Instant::ZERO, login, config).err()
    };
    let refused = Some(crate::error::ApiMisuse::OutOfRange.into());
    assert_eq!(config(|c| c.nop_interval = Some(Duration::ZERO)), refused);
    assert_eq!(config(|c| c.nop_timeout = Duration::ZERO), refused);
    assert_eq!(
        config(|c| c.acknowledge_after = Some(Duration::ZERO)),
        refused
    );
    assert_eq!(config(|c| c.nop_interval = None), None);
    let coarse = config(|c| c.nop_beat = Duration::from_millis(2501));
    assert_eq!(coarse, refused, "of an interval of 5 s");
    assert_eq!(config(|c| c.nop_beat = Duration::from_millis(2500)), None);
}
