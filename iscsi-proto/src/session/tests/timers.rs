//! Timers that belong to no task.

use super::*;
use crate::error::TimedOut;

/// Row H02: a PDU that never ends.
#[test]
fn the_rest_of_a_pdu_is_overdue_however_slowly_it_drips() {
    let config = SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let itt = h.read(512);
    h.sent();
    let bytes = encode(h.data_in(itt, 0, 0, 512).emit(), &[0; 512], false);
    let mut overdue = None;
    for byte in &bytes {
        h.feed_bytes(&[*byte]).unwrap();
        h.advance(Duration::from_secs(1));
        if let Err(error) = h.session.handle_timeout(h.now) {
            overdue = Some(error);
            break;
        }
    }
    assert_eq!(overdue, Some(TimedOut::Pdu.into()));
    assert_eq!(h.now, Instant::from_nanos(30_000_000_000));
}

#[test]
fn the_clock_starts_anew_with_every_pdu() {
    let config = SessionConfig {
        nop_interval: None,
        ..SessionConfig::default()
    };
    let mut h = Harness::with(parameters(), config);
    let itt = h.read(5120);
    h.sent();
    let mut stream = Vec::new();
    for i in 0..10 {
        stream.extend(encode(
            h.data_in(itt, i, i * 512, 512).emit(),
            &[0; 512],
            false,
        ));
    }
    // Always in the middle of a PDU, but of another one every ten seconds.
    for chunk in stream[..5500].chunks(550) {
        h.feed_bytes(chunk).unwrap();
        h.advance(Duration::from_secs(10));
        h.session.handle_timeout(h.now).unwrap();
    }
}

#[test]
fn early_calls_are_harmless() {
    let mut h = Harness::new();
    for _ in 0..100 {
        h.session.handle_timeout(h.now).unwrap();
        h.advance(Duration::from_millis(10));
    }
    assert!(h.sent().is_empty() && h.events().is_empty());
}
