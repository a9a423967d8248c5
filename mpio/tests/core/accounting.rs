//! What never left the process needs no proof.

use mpio::core::{Config, Event, FenceRung, Outcome, RungStep, WriterMode};

use super::harness::{Harness, LOST, UNSENT};

#[test]
fn a_write_that_never_left_moves_at_once_and_is_counted() {
    for mode in [WriterMode::Single, WriterMode::Shared] {
        let config = Config::builder().writer_mode(mode).build().unwrap();
        let (mut h, [a, b]) = Harness::with_paths(config);
        let writes = [0, 100, 200, 300].map(|at| h.write(at..at + 8));
        let on_a = h.on(a).len();
        h.down(a, UNSENT);
        assert!(writes.iter().all(|&write| h.path_of(write) == Some(b)));
        let snapshot = h.core.snapshot(h.now);
        assert_eq!(snapshot.ghosts, 0);
        let counted = snapshot.counters.fence.of(FenceRung::Accounting).done;
        assert_eq!(counted, on_a as u64);
        let told = Event::FenceStep {
            path: Some(a),
            rung: FenceRung::Accounting,
            step: RungStep::Done,
        };
        assert_eq!(h.saw(|e| *e == told), 1, "told once per loss");
        h.end_io(writes[0], Outcome::Success);
        let over = h.write(0..8);
        assert_eq!(h.path_of(over), Some(b), "nothing is held back");
        h.up(a);
        h.down(b, UNSENT);
        h.down(a, UNSENT);
        assert_eq!(h.saw(|e| *e == told), 2);
    }
}

#[test]
fn a_write_of_which_a_byte_left_is_another_matter() {
    let (mut h, [a, _]) = Harness::with_paths(Config::default());
    h.write(0..8);
    h.down(a, LOST);
    let snapshot = h.core.snapshot(h.now);
    assert_eq!(snapshot.ghosts, 1);
    assert_eq!(snapshot.counters.fence.of(FenceRung::Accounting).done, 0);
}
