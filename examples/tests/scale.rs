//! `scale` from the outside, in small.

#[path = "common/mod.rs"]
#[expect(dead_code, reason = "the rest is for tools that are given a target")]
mod common;

use common::{failure_of, run, stdout};
use serde_json::Value;

/// Two targets with two units and two portals each.
const SMALL: [&str; 12] = [
    "--targets",
    "2",
    "--luns",
    "2",
    "--portals",
    "2",
    "--settle",
    "1s",
    "--idle",
    "1s",
    "--outage",
    "1s",
];

#[test]
fn half_of_the_paths_come_back_and_no_io_fails() {
    for more in [
        ["--fault", "refuse"],
        ["--fault", "silence"],
        ["--runtime", "smol"],
    ] {
        let output = run("scale", &[&SMALL[..], &more].concat());
        assert_eq!(output.status.code(), Some(0), "{more:?}");
        let figures: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let numbers = ["devices", "paths", "sessions", "errors"].map(|key| figures[key].as_u64());
        assert_eq!(numbers, [4, 8, 4, 0].map(Some), "{figures}");
        assert!(figures["ios"].as_u64().unwrap() > 20, "{figures}");
        assert!(figures["back_ms"].as_f64().unwrap() > 0.0, "{figures}");
        // A session has 174 KiB, which two paths share here, and a device has something besides its paths.
        let heap = figures["idle_heap_per_path_bytes"].as_i64().unwrap();
        assert!((1..=128 << 10).contains(&heap), "{figures}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (option, number) in [("--targets", "0"), ("--portals", "1"), ("--luns", "many")] {
        failure_of("scale", &[option, number], 2);
    }
}
