//! The oracles bite: with a bug switched on, some input of the corpus makes the body panic.

use std::{alloc::System, fs, panic, path::Path, sync::Mutex};

use iscsi_fuzz_bodies::{chap_with, multipath_with, session_with};
use iscsi_proto::planted::{Bug, Planted};
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = iscsi_fuzz_bodies::memory::ALLOCATOR;

/// Bodies count what the process allocates: another test would be found in place of a bug.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Those of `bugs` that no input of the corpus finds.
fn missed(target: &str, body: fn(&[u8], Planted), bugs: &[Bug]) -> Vec<&'static str> {
    let guard = ONE_AT_A_TIME.lock();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target);
    let entries = fs::read_dir(directory).expect("a corpus");
    let inputs: Vec<_> = entries
        .map(|entry| fs::read(entry.expect("readable").path()).expect("readable"))
        .collect();
    // What panics here is as it should be, and fills the screen.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let finds =
        |input: &Vec<u8>, bug| panic::catch_unwind(|| body(input, Planted::with(bug))).is_err();
    let found = |bug: Bug| inputs.iter().any(|input| finds(input, bug));
    let missed = bugs.iter().filter(|bug| !found(**bug));
    let missed = missed.map(|bug| bug.name()).collect();
    panic::set_hook(hook);
    drop(guard);
    missed
}

#[test]
fn the_session_core() {
    let bugs = [
        Bug::DataInOffsetIgnored,
        Bug::ShortDataAccepted,
        Bug::UnderflowIgnored,
        Bug::R2tOffsetIgnored,
        Bug::WindowIgnored,
        Bug::ImmediateTakesCmdSn,
        Bug::FirstBurstIgnored,
        Bug::SegmentTooLong,
        Bug::MemoryBackTooEarly,
    ];
    assert_eq!(missed("session", session_with, &bugs), [""; 0]);
}

#[test]
fn chap() {
    assert_eq!(
        missed("chap", chap_with, &[Bug::TargetProofIgnored]),
        [""; 0]
    );
}

#[test]
fn the_multipath_core() {
    let bugs = [
        Bug::GhostForgotten,
        Bug::SecondGhostForgotten,
        Bug::QuietTimeSkipped,
        Bug::EveryLoginIsBarrier,
        Bug::FailedRungProves,
        Bug::FormerLifeForgotten,
        Bug::SharedRepeatsAtOnce,
        Bug::HealthyPathPreempted,
        Bug::PartialOverlapIgnored,
        Bug::HeldNotReleased,
        Bug::StandbyUsed,
    ];
    assert_eq!(missed("multipath", multipath_with, &bugs), [""; 0]);
}
