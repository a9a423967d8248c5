use mpio::core::{Config, Event, Outcome};

use super::harness::{Harness, LOST, S};

#[test]
fn a_write_behind_a_ghost_waits_and_others_do_not() {
    let (mut h, [a, b]) = Harness::with_paths(Config::default());
    let lost = h.write(100..200);
    h.down(a, LOST);
    let inside = h.write(150..160);
    let touching = h.write(200..210);
    let apart = h.write(0..100);
    assert_eq!(h.path_of(inside), None);
    assert_eq!(h.path_of(touching), Some(b));
    assert_eq!(h.path_of(apart), Some(b));
    assert_eq!(h.saw(|e| *e == Event::WriteHeld { io: inside }), 1);

    h.pass(10 * S, &[]);
    assert_eq!(h.path_of(lost), Some(b));
    assert_eq!(h.path_of(inside), None, "not before the repetition is done");
    h.end_io(lost, Outcome::Success);
    assert_eq!(h.path_of(inside), Some(b));
}

#[test]
fn overlapping_writes_go_one_after_the_other_in_the_order_of_submission() {
    let (mut h, [_, _]) = Harness::with_paths(Config::default());
    let first = h.write(0..10);
    let second = h.write(5..15);
    let third = h.write(12..20);
    let far = h.write(100..110);
    assert!(h.path_of(first).is_some() && h.path_of(far).is_some());
    assert_eq!((h.path_of(second), h.path_of(third)), (None, None));
    h.end_io(first, Outcome::Success);
    assert!(h.path_of(second).is_some());
    assert_eq!(h.path_of(third), None);
    h.end_io(second, Outcome::Success);
    assert!(h.path_of(third).is_some());
    assert_eq!(
        h.saw(|e| matches!(e, Event::WriteHeld { .. })),
        0,
        "no ghost, no event"
    );
}
