//! `failover` from the outside: a path that is cut and healed, data that somebody else changes, and how it
//! ends.

#[path = "common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use common::{SIZE, TARGET, failure_of, run, stdout, tool, url};
use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};
use serde_json::Value;

const TOOL: &str = "failover";

/// A target with two portals.
fn target() -> TcpTarget {
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE));
    TcpTarget::start(config).unwrap()
}

/// The tool at work.
struct Load {
    child: Child,
    marks: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Load {
    fn start(target: &TcpTarget, more: &[&str]) -> Self {
        let urls = [0, 1].map(|portal| format!("iscsi://{}/{TARGET}/0", target.portal(portal)));
        let mut command = tool(TOOL);
        for (url, nic) in urls.iter().zip(["127.0.1.1", "127.0.1.2"]) {
            command.args(["--url", url, "--nic", nic]);
        }
        let mut child = command
            .args(["--paired", "--destroy", "--span", "2m", "--outage", "0"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            marks: child.stdin.take(),
            said,
            child,
        }
    }

    fn tell(&mut self, mark: &str) {
        writeln!(self.marks.as_mut().unwrap(), "{mark}").unwrap();
    }

    /// The next line that is of this kind.
    fn hear(&mut self, event: &str) -> Value {
        loop {
            let line = self.said.next().unwrap_or_else(|| {
                panic!(
                    "it ended instead of saying {event}: {}",
                    stderr(&mut self.child)
                )
            });
            let line = line.unwrap();
            println!("{line}");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    }

    /// What it says last, the status that it ends with, and its errors.
    fn end(&mut self) -> (Value, Option<i32>, String) {
        self.marks = None;
        let total = self.hear("total");
        let errors = stderr(&mut self.child);
        (total, self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // An error means that it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    println!("{text}");
    text
}

#[test]
fn a_cut_is_told_with_its_stages_and_costs_no_error() {
    for runtime in ["tokio", "smol"] {
        let target = target();
        let mut load = Load::start(&target, &["--runtime", runtime, "--events"]);
        let paths = load.hear("ready")["paths"].clone();
        assert_eq!(paths.as_array().unwrap().len(), 2, "{paths}");
        // A write would wait until the connection is torn down.
        load.tell("mix 100");
        load.hear("mixed");
        load.tell(&format!("fault cut {}", target.portal(1)));
        load.hear("noted");
        target.cut(1);
        load.hear("lost");
        load.hear("settled");
        load.tell("healed");
        target.heal(1);
        load.hear("back");
        load.hear("fenced");
        load.tell("end");
        let record = load.hear("round");
        assert_eq!(record["fault"], "cut");
        for figure in ["stall_ms", "lost_ms", "healed_ms", "used_ms", "back_ms"] {
            assert!(record[figure].as_f64().unwrap() > 0.0, "{figure}: {record}");
        }
        assert!(record["ios"].as_u64().unwrap() > 0);
        for none in ["errors", "wrong", "all_paths_down", "false_deaths"] {
            assert_eq!(record[none], 0, "{none}: {record}");
        }
        let (total, status, errors) = load.end();
        assert_eq!(status, Some(0), "{errors}");
        assert_eq!((&total["errors"], &total["wrong"]), (&0.into(), &0.into()));
        assert_eq!(total["blocks"], 512);
        assert!(total["failovers"].as_u64().unwrap() >= 1, "{total}");
        assert!(errors.contains("is suspected: no answer"), "{errors}");
        assert_eq!(target.core().violations(), []);
    }
}

/// At its end the load waits for them as long as the device does for a target of which it knows nothing.
#[test]
fn writes_that_a_reset_hit_are_repeated_and_their_places_written_again() {
    let target = target();
    let mut load = Load::start(&target, &["--mix", "0"]);
    load.hear("ready");
    load.tell(&format!("fault reset {} overlap", target.portal(0)));
    load.hear("noted");
    target.reset(0);
    load.hear("lost");
    load.tell("healed");
    load.hear("back");
    load.tell("end");
    let record = load.hear("round");
    for none in ["errors", "wrong", "all_paths_down", "false_deaths"] {
        assert_eq!(record[none], 0, "{none}: {record}");
    }
    // Eight writes were under way, or more, and each place of theirs is written again once.
    assert!(record["overlapping"].as_u64().unwrap() >= 8, "{record}");
    let (total, status, errors) = load.end();
    assert_eq!(status, Some(0), "{total} {errors}");
}

#[test]
fn a_block_that_somebody_else_has_written_is_found() {
    let target = target();
    let mut load = Load::start(&target, &["--mix", "100"]);
    load.hear("ready");
    let url = url(&target, "0");
    let other = run("perf", &["--url", &url, "--op", "write", "--ops", "1"]);
    assert!(stdout(&other).contains("\"ops\":1,\"errors\":0"));
    let (total, status, errors) = load.end();
    assert_eq!(status, Some(1));
    assert!(total["wrong"].as_u64().unwrap() >= 1, "{total}");
    assert!(errors.contains("block 0 was read as no stamp"), "{errors}");
}

#[test]
fn a_mark_that_makes_no_sense_ends_it() {
    let target = target();
    for (mark, says) in [
        ("hello", "not a mark: hello"),
        ("fault cut nowhere", "no path has nowhere in its name"),
        ("healed", "no fault was told before"),
        ("end", "no fault was told before"),
    ] {
        let mut load = Load::start(&target, &[]);
        load.hear("ready");
        load.tell(mark);
        let (_, status, errors) = load.end();
        assert_eq!(status, Some(1));
        assert!(errors.contains(says), "{mark}: {errors}");
    }
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
        (["--bs", "1000"], "multiples of 4096"),
        (["--mix", "101"], "101"),
    ] {
        let all = [&["--destroy", "--url", &url][..], &args].concat();
        let text = failure_of(TOOL, &all, 2);
        assert!(text.contains(says), "{text}");
    }
    failure_of(
        TOOL,
        &[
            "--destroy",
            "--url",
            &format!("iscsi://127.0.0.1:1/{TARGET}/0"),
        ],
        1,
    );
}
