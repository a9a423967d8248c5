//! `perf` from the outside: the line of JSON, and how it ends.

#[path = "common/mod.rs"]
mod common;

use common::{SIZE, failure_of, run, stdout, target, url};
use iscsi_testkit::target::{DigestPolicy, LunConfig, TargetConfig, TcpTarget};
use serde_json::Value;

const TOOL: &str = "perf";

/// What other load generators print as well.
const KEYS: &str = "impl version op bs qd paths hd dd ops errors secs iops mbps p50_us p99_us p999_us \
    max_us user_s sys_s cpu_us_per_io user_us_per_io nvcsw nivcsw maxrss_kib";

fn measure(args: &[&str]) -> Value {
    let output = run(TOOL, args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    for key in KEYS.split_whitespace() {
        let is_text = ["impl", "version", "op"].contains(&key);
        assert!(json[key].is_number() != is_text, "{key}: {text}");
    }
    json
}

#[test]
fn every_layer_and_runtime_does_the_number_of_operations_asked_for() {
    let target = target(None);
    let url = url(&target, "0");
    for via in ["session", "multipath", "dyn"] {
        for runtime in ["tokio", "smol"] {
            for op in ["read", "randread", "mixed"] {
                let mut args = vec![
                    "--url",
                    &url,
                    "--via",
                    via,
                    "--runtime",
                    runtime,
                    "--op",
                    op,
                ];
                args.extend(["--ops", "500", "--qd", "8", "--bs", "16k", "--span", "4m"]);
                let json = measure(&args);
                assert_eq!(
                    (&json["ops"], &json["errors"]),
                    (&500.into(), &0.into()),
                    "{json}"
                );
                assert_eq!(json["op"], op);
                assert!(json["copied_bytes_per_byte"].is_number());
            }
        }
    }
    assert_eq!(target.core().violations(), []);
}

#[test]
fn two_urls_are_two_paths_that_share_the_load() {
    let target = target(None);
    let url = url(&target, "0");
    for via in ["session", "multipath"] {
        let json = measure(&[
            "--url", &url, "--url", &url, "--via", via, "--ops", "200", "--qd", "4",
        ]);
        assert_eq!(json["paths"], 2);
        let ops: Vec<u64> = serde_json::from_value(json["per_path_ops"].clone()).unwrap();
        assert!(ops.len() == 2 && ops.iter().all(|ops| *ops > 0), "{json}");
    }
}

#[test]
fn what_was_written_is_there() {
    let target = target(None);
    let url = url(&target, "0");
    let span = SIZE.to_string();
    measure(&[
        "--url", &url, "--op", "write", "--bs", "1m", "--ops", "8", "--qd", "2", "--span", &span,
    ]);
    let mut content = vec![0; SIZE as usize];
    target.core().peek(0, 0, &mut content);
    assert!(content.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn writes_may_be_solicited_or_not() {
    let target = target(None);
    let url = url(&target, "0");
    for (r2t, immediate) in [("yes", "no"), ("yes", "yes"), ("no", "no")] {
        let args = [
            "--url",
            &url,
            "--op",
            "randwrite",
            "--ops",
            "50",
            "--span",
            "4m",
        ];
        let offer = [
            "--bs",
            "64k",
            "--initial-r2t",
            r2t,
            "--immediate",
            immediate,
        ];
        let json = measure(&[&args[..], &offer[..]].concat());
        assert_eq!(json["ops"], 50);
    }
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_run_by_time_leaves_the_warm_up_out() {
    let target = target(None);
    let url = url(&target, "0");
    let json = measure(&[
        "--url", &url, "--secs", "0.2", "--warmup", "0.1", "--qd", "2",
    ]);
    let seconds = json["secs"].as_f64().unwrap();
    assert!((0.1..0.3).contains(&seconds), "{json}");
    assert!(json["ops"].as_u64().unwrap() > 0);
}

#[test]
fn a_digest_that_the_target_refuses_is_an_unsupported_option() {
    let config = TargetConfig::new(common::TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE))
        .with_digests(DigestPolicy::Never, DigestPolicy::Never);
    let target = TcpTarget::start(config).unwrap();
    failure_of(
        TOOL,
        &["--url", &url(&target, "0"), "--data-digest", "crc32c"],
        3,
    );
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_status_2() {
    let target = target(None);
    let url = url(&target, "0");
    for args in [
        &[][..],
        &["--url", &url, "--op", "trim"],
        &["--url", &url, "--qd", "0"],
        &["--url", &url, "--bs", "1000"],
        &["--url", &url, "--bs", "16m"],
        &["--url", &url, "--ops", "5", "--secs", "5"],
        &["--url", &url, "--single-thread", "--threads", "2"],
        &["--url", &url, "--immediate", "maybe"],
    ] {
        failure_of(TOOL, args, 2);
    }
}
