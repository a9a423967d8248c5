//! Every input of the corpora, and every one that was ever a crash, through the body of its target.

use std::{
    alloc::System,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = iscsi_fuzz_bodies::memory::ALLOCATOR;

/// Bodies count what the process allocates.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(kind)
        .join(target);
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths
}

fn replay(target: &str) {
    let guard = ONE_AT_A_TIME.lock();
    let body = iscsi_fuzz_bodies::target(target).expect("a target of this name");
    let corpus = inputs("corpus", target);
    assert!(corpus.len() >= 10, "{} inputs of {target}", corpus.len());
    for path in corpus.iter().chain(&inputs("regressions", target)) {
        // Shown where the test fails: the last one is the culprit.
        println!("{}", path.display());
        body(&fs::read(path).expect("readable"));
    }
    drop(guard);
}

macro_rules! replays {
    ($($target:ident)+) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )+

        #[test]
        fn no_target_is_left_out() {
            let here = [$(stringify!($target)),+];
            assert_eq!(iscsi_fuzz_bodies::TARGETS.map(|(name, _)| name), here);
        }
    };
}

replays! {
    chap digests discovery login multipath names negotiate pair pdu_stream scsi session text
}
