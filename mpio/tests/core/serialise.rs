//! What a snapshot looks like to a program that reads JSON.

use mpio::core::{Config, Outcome};
use serde_json::Value;

use super::harness::{Harness, LOST, MS};

/// Keys as they are there, so that a field that is renamed, lost or added is seen.
#[test]
fn a_snapshot_of_two_paths_is_this_json() {
    let (mut h, [_, b]) = Harness::with_paths(Config::default());
    let io = h.read(0..4096);
    h.now += MS;
    h.end_io(io, Outcome::Success);
    h.read(0..8);
    h.down(b, LOST);
    let mut snapshot = serde_json::to_value(h.core.snapshot(h.now)).unwrap();
    // As many as the program's own structures have.
    let held = snapshot.as_object_mut().unwrap().remove("held_bytes");
    assert!(held.unwrap().as_u64() > Some(0));
    let wanted: Value = serde_json::from_str(include_str!("snapshot.json")).unwrap();
    assert_eq!(snapshot, wanted, "{snapshot:#}");
}
