//! `fence_probe` from the outside: its verdicts about targets of either kind, and how it ends.

#[path = "common/mod.rs"]
mod common;

use std::time::Duration;

use common::{failure_of, run, stdout, target, url};
use iscsi_testkit::target::{Reinstatement, TcpTarget, WriteHold};

const TOOL: &str = "fence_probe";

/// A target whose back end keeps each write for a part of a second.
fn slow(what: Reinstatement) -> TcpTarget {
    let target = target(None);
    let (least, most) = (Duration::from_millis(200), Duration::from_millis(900));
    target.core().set_reinstatement(what);
    target.core().hold_writes(WriteHold::new(1000, least, most));
    target
}

/// Standard output of a probe that came to a verdict.
fn probe(target: &TcpTarget, runtime: &str) -> String {
    let url = url(target, "0");
    let args = [
        "--destroy",
        "--rounds",
        "2",
        "--watch",
        "1.5",
        "--longest-cut",
        "0.1",
        "--writes",
        "16",
        "--runtime",
        runtime,
        &url,
    ];
    let output = run(TOOL, &args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(target.core().violations(), []);
    stdout(&output)
}

#[test]
fn a_target_whose_back_end_minds_no_reinstatement_is_found_out() {
    let target = slow(Reinstatement::Ignores);
    let text = probe(&target, "tokio");
    assert!(text.contains("NOT A BARRIER"), "{text}");
    assert!(text.contains("Reinstatement::NotBarrier"), "{text}");
    assert!(target.core().late_writes() > 0);
}

#[test]
fn of_one_that_is_a_barrier_it_says_only_that_nothing_was_seen() {
    for what in [Reinstatement::Ends, Reinstatement::Waits] {
        let target = slow(what);
        let text = probe(&target, "smol");
        assert!(text.contains("no write landed late"), "{what:?}: {text}");
        assert!(
            text.contains("does not prove a barrier"),
            "{what:?}: {text}"
        );
    }
}

#[test]
fn it_overwrites_nothing_unasked_and_nothing_beyond_the_lun() {
    let target = target(None);
    let before = {
        let mut block = [0; 512];
        target.core().peek(0, 0, &mut block);
        block
    };
    let url = url(&target, "0");
    let text = failure_of(TOOL, &[&url], 2);
    assert!(text.contains("--destroy"), "{text}");
    let text = failure_of(TOOL, &["--destroy", "--offset", "1t", &url], 2);
    assert!(text.contains("smaller --offset"), "{text}");
    let text = failure_of(TOOL, &["--destroy", "--bs", "100", &url], 2);
    assert!(text.contains("multiples"), "{text}");
    let mut after = [0; 512];
    target.core().peek(0, 0, &mut after);
    assert_eq!(before, after);
}

#[test]
fn without_a_target_it_says_what_to_do() {
    let text = failure_of(
        TOOL,
        &["--destroy", "iscsi://127.0.0.1:1/iqn.2026-01.example:x/0"],
        1,
    );
    assert!(text.contains("127.0.0.1:1"), "{text}");
}
