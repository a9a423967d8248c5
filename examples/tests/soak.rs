//! `soak` from the outside: what it survives, what it finds, and how it ends.

#[path = "common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use common::{SIZE, TARGET, failure_of, run, stdout, tool, url};
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};
use serde_json::Value;

const TOOL: &str = "soak";

/// A target with two portals.
fn target(blocks: u32) -> TcpTarget {
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE).with_block_size(blocks));
    TcpTarget::start(config).unwrap()
}

/// The tool at work.
struct Soak {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Soak {
    fn start(target: &TcpTarget, more: &[&str]) -> Self {
        let mut command = tool(TOOL);
        for portal in [0, 1] {
            let url = format!("iscsi://{}/{TARGET}/0", target.portal(portal));
            command.args(["--url", &url]);
        }
        let mut child = command
            .args([
                "--destroy",
                "--json",
                "--every",
                "1s",
                "--span",
                "8m",
                "--bs",
                "128k",
                "--qd",
                "8",
            ])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The next line that is of this kind.
    fn hear(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                panic!("it ended instead of saying {event}: {}", self.stderr());
            }
            print!("{line}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        println!("{text}");
        text
    }

    fn send(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The verdict, the status that it ends with, and its errors.
    fn end(&mut self) -> (Value, Option<i32>, String) {
        let verdict = self.hear("verdict");
        let errors = self.stderr();
        (verdict, self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // An error means that it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn lost_paths_cost_no_error_and_all_kinds_of_io_are_done_and_counted() {
    for (runtime, blocks) in [("tokio", 512), ("smol", 4096)] {
        let target = target(blocks);
        let mut soak = Soak::start(&target, &["--for", "4s", "--runtime", runtime, "--events"]);
        soak.hear("begun");
        for portal in [0, 1] {
            target.reset(portal);
            let progress = soak.hear("progress");
            assert_eq!(progress["paths"].as_array().unwrap().len(), 2);
        }
        let (verdict, status, errors) = soak.end();
        assert_eq!(status, Some(0), "{verdict} {errors}");
        for kind in ["reads", "writes", "flushes"] {
            assert!(verdict[kind].as_u64().unwrap() > 10, "{kind}: {verdict}");
        }
        let of_kind = &verdict["percentiles"];
        assert_eq!(of_kind[2]["kind"], "overlapping");
        assert!(of_kind[2]["count"].as_u64().unwrap() > 0, "{verdict}");
        assert_eq!(verdict["path_losses"], 2, "{verdict}");
        let losses = verdict["classes"].as_array().unwrap().iter();
        let losses: u64 = losses.map(|c| c["losses"].as_u64().unwrap()).sum();
        assert_eq!(losses, 2, "{verdict}");
        assert!(
            verdict["warm"]["descriptors"].as_u64().unwrap() > 4,
            "{verdict}"
        );
        assert!(errors.contains("is down: connection lost"), "{errors}");
        assert_eq!(target.core().violations(), []);
    }
}

/// Ctrl-C, and what a service manager sends.
#[cfg(unix)]
#[test]
fn a_signal_makes_the_verdict_come_sooner() {
    let target = target(512);
    for signal in ["-INT", "-TERM"] {
        let mut soak = Soak::start(&target, &["--for", "1d", "--seed", "7"]);
        assert_eq!(soak.hear("begun")["seed"], 7);
        soak.hear("progress");
        soak.send(signal);
        let (verdict, status, errors) = soak.end();
        assert_eq!(
            (status, &verdict["failed"]),
            (Some(0), &Value::Null),
            "{errors}"
        );
        assert!(verdict["seconds"].as_f64().unwrap() < 60.0, "{verdict}");
    }
}

#[test]
fn a_block_that_somebody_else_has_written_is_found() {
    let target = target(512);
    let mut soak = Soak::start(&target, &["--for", "1d", "--seed", "3"]);
    soak.hear("begun");
    // All of them, faster than the load could write them again.
    let url = url(&target, "0");
    let other = [
        "--url", &url, "--op", "write", "--bs", "1m", "--qd", "4", "--ops", "8",
    ];
    assert!(stdout(&run("perf", &other)).contains("\"errors\":0"));
    soak.hear("progress");
    soak.send("-TERM");
    let (verdict, status, errors) = soak.end();
    assert_eq!(status, Some(1), "{verdict}");
    assert!(verdict["wrong"].as_u64().unwrap() >= 1, "{verdict}");
    assert!(errors.contains("was read as no stamp"), "{errors}");
    assert!(
        verdict["failed"].as_str().unwrap().contains("no stamp"),
        "{verdict}"
    );
}

/// All paths gone for longer than the device waits, which is when a caller has to be told.
#[test]
fn an_error_of_a_caller_is_a_failure() {
    let target = target(512);
    let mut soak = Soak::start(&target, &["--for", "1d", "--timeout", "0.5"]);
    soak.hear("begun");
    (0..2).for_each(|portal| target.cut(portal));
    while soak.hear("progress")["errors"] == 0 {}
    (0..2).for_each(|portal| target.heal(portal));
    soak.send("-TERM");
    let (verdict, status, errors) = soak.end();
    assert_eq!(status, Some(1), "{verdict}");
    assert!(
        verdict["all_paths_down"].as_u64().unwrap() >= 1,
        "{verdict}"
    );
    assert!(errors.contains("of "), "{errors}");
}

#[test]
fn it_overwrites_nothing_unasked_and_nothing_that_is_not_there() {
    let target = common::target(None);
    let url = url(&target, "0");
    let text = failure_of(TOOL, &["--url", &url], 2);
    assert!(text.contains("--destroy"), "{text}");
    for (args, says) in [
        (["--span", "1t"], "larger than the device"),
        (["--span", "64k"], "eight times"),
        (["--for", "1w"], "30m"),
    ] {
        let all = [&["--destroy", "--url", &url][..], &args].concat();
        let text = failure_of(TOOL, &all, 2);
        assert!(text.contains(says), "{text}");
    }
}
