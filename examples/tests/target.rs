//! The example that serves the test target, as a tool for other initiators.

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use common::{SIZE, TARGET, failure_of, run, stdout, target, tool, url};

/// Ends the process that it started, however the test ends.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has noticed by then.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_serves_there() {
    let unit = format!("{SIZE},4096,thin");
    let mut child = tool("target")
        .args(["--listen", "127.0.0.1:0", "--lun", &unit, "--name", TARGET])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _served = Served(child);
    let mut portal = None;
    for line in lines.map(Result::unwrap) {
        if let Some(address) = line.strip_prefix("portal ") {
            portal = address.split(',').next().map(str::to_owned);
        }
        if line == "interrupt it to stop" {
            break;
        }
    }
    let url = format!("iscsi://{}/{}/0", portal.unwrap(), TARGET);
    let output = run("perf", &["--url", &url, "--bs", "4k", "--ops", "16"]);
    let line = stdout(&output);
    assert!(
        line.contains("\"ops\":16") && line.contains("\"errors\":0"),
        "{line}"
    );
}

#[test]
fn a_port_in_use_is_left_to_who_has_it() {
    let other = target(None);
    let portal = other.portal(0).to_string();
    let said = failure_of("target", &["--listen", &portal], 1);
    assert!(said.contains("cannot listen"), "{said}");
    let output = run("perf", &["--url", &url(&other, "0"), "--ops", "4"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_it_cannot_serve_it_says_in_one_line() {
    for args in [
        ["--lun", "1000"],
        ["--lun", "8m,1000"],
        ["--lun", "8m,8192"],
        ["--chap", "alice"],
        ["--listen", "nowhere"],
    ] {
        failure_of("target", &args, 2);
    }
    let missing = failure_of("target", &["--chap", "alice:/nonexistent/secret"], 1);
    assert!(missing.contains("check --chap"), "{missing}");
}
