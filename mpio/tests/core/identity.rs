use mpio::core::{Config, DownReason, Event, IdentityCheck, WriterMode};

use super::harness::{Harness, LOST};

#[test]
fn a_path_that_leads_elsewhere_after_its_login_is_kept_out() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    h.down(a, LOST);
    h.core.handle_path_up(h.now, a, IdentityCheck::Mismatch);
    h.drain();
    assert_eq!(h.saw(|e| *e == Event::IdentityMismatch { path: a }), 1);
    for i in 0..4 {
        let io = h.read(i..i + 1);
        assert_eq!(h.path_of(io), Some(b));
    }
    let snapshot = h.core.snapshot(h.now);
    let path = snapshot.paths().find(|p| p.id == a).unwrap();
    assert_eq!(path.down, Some(DownReason::IdentityMismatch));

    h.down(a, LOST);
    h.up(a);
    let io = h.read(9..10);
    assert_eq!(h.path_of(io), Some(a), "a later login showed the right one");
}

#[test]
fn a_stranger_at_the_old_address_is_no_reinstatement() {
    let config = Config::builder()
        .reinstatement_is_barrier(true)
        .writer_mode(WriterMode::Shared)
        .build()
        .unwrap();
    let (mut h, [a, _]) = Harness::with_paths(config);
    let write = h.write(0..8);
    h.down(a, LOST);
    h.core.handle_path_up(h.now, a, IdentityCheck::Mismatch);
    h.drain();
    assert_eq!(h.path_of(write), None);
}
