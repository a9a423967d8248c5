//! `console` from the outside: what it answers, and how it ends.

#[expect(dead_code, reason = "this tool takes no URLs")]
#[path = "common/mod.rs"]
mod common;

use std::{
    io::Write,
    process::{Output, Stdio},
};

use common::{TARGET, failure_of, target, tool};
use iscsi_testkit::canary::OURS;

const TOOL: &str = "console";
const WWIDS: [&str; 2] = [
    "36001405f15c51d000000000000000000",
    "36001405f15c51d000000000000000001",
];

/// Says all of it at once; the end of its input is the end.
fn said(args: &[&str], lines: &str) -> Output {
    let mut child = tool(TOOL)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // One that has ended early listens no more; how it ended is looked at below.
    drop(input.write_all(lines.as_bytes()));
    drop(input);
    let output = child.wait_with_output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The answers, one for each line that was said.
fn answers(args: &[&str], lines: &[&str]) -> Vec<String> {
    let output = said(args, &lines.join("\n"));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut pieces = text.split("multipath> ").map(str::to_owned);
    assert_eq!(pieces.next().as_deref(), Some(""));
    let answers: Vec<String> = pieces.collect();
    assert!(answers.len() >= lines.len(), "{text}");
    answers
}

#[test]
fn an_operator_sees_the_disks_and_takes_paths_out_of_use_and_back() {
    let target = target(None);
    let portal = target.portal(0).to_string();
    for runtime in ["tokio", "smol"] {
        let mut args = vec!["--portal", &portal, "--runtime", runtime];
        args.extend(["--nic", "127.0.0.1", "--nic", "127.0.0.3"]);
        let lines = [
            "show sessions",
            "show topology",
            "show paths",
            "load",
            "fail path 127.0.0.3",
            "fail path 127.0.0.9",
            "load",
            "stop",
            "nonsense",
            "help",
            "wait 4",
        ];
        let answers = answers(&args, &lines);
        let [
            sessions,
            topology,
            paths,
            load,
            fail,
            none,
            again,
            stop,
            unknown,
            help,
            wait,
        ] = &answers[..lines.len()]
        else {
            panic!("{answers:?}")
        };
        for wwid in WWIDS {
            assert_eq!(sessions.matches(wwid).count(), 2, "{sessions}");
            assert_eq!(topology.matches(wwid).count(), 1, "{topology}");
            assert_eq!(stop.matches(wwid).count(), 1, "{stop}");
        }
        assert_eq!(sessions.matches(&format!("{TARGET}: up")).count(), 2);
        assert_eq!(paths.matches("active ready").count(), 4, "{paths}");
        assert_eq!(load, "ok\n");
        // Two disks have a path of that name.
        assert!(
            fail.starts_with("error: 2 paths are called 127.0.0.3; "),
            "{fail}"
        );
        assert!(
            none.starts_with("error: 0 paths are called 127.0.0.9; "),
            "{none}"
        );
        assert!(again.starts_with("error: a load is under way"), "{again}");
        assert_eq!(stop.matches(" 0 errors, ").count(), 2, "{stop}");
        assert!(!stop.contains(" 0 reads"), "{stop}");
        assert!(
            unknown.starts_with("error: not a command: nonsense; "),
            "{unknown}"
        );
        assert!(help.contains("\nreinstate path PATH "), "{help}");
        assert!(
            wait.starts_with("paths that take I/O: 4, after 0."),
            "{wait}"
        );
    }
}

/// Of one disk, by hcil: which numbers its sessions have is not known.
#[test]
fn an_operator_makes_paths_the_last_resort_and_takes_that_back() {
    let target = target(None);
    let portal = target.portal(0).to_string();
    let args = [
        "--portal",
        &portal,
        "--nic",
        "127.0.0.1",
        "--nic",
        "127.0.0.3",
    ];
    let orders = |order: &str| {
        (0..8)
            .map(|host| format!("{order} path {host}:0:0:0"))
            .collect()
    };
    let (set, reinstate): (Vec<_>, Vec<_>) = (orders("setmarginal"), orders("reinstate"));
    let show = || vec![String::from("show topology")];
    let lines = [show(), set, show(), reinstate, show()].concat();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let answers = answers(&args, &lines);
    for part in [1..9, 10..18] {
        let done = answers[part].iter().filter(|answer| *answer == "ok\n");
        assert_eq!(done.count(), 2, "{answers:?}");
    }
    for (at, marginal) in [(0, 0), (9, 2), (18, 0)] {
        let shown = &answers[at];
        assert_eq!(shown.matches("(marginal: ").count(), marginal, "{shown}");
    }
}

#[test]
fn without_a_session_it_says_why_and_ends() {
    // Port 1 of the loopback: nobody listens there.
    let line = failure_of(TOOL, &["--portal", "127.0.0.1:1"], 1);
    assert!(line.contains("no session could be opened: "), "{line}");
    assert!(line.contains("127.0.0.1:1"), "{line}");
    let target = target(Some(("somebody", OURS)));
    let portal = target.portal(0).to_string();
    let line = failure_of(TOOL, &["--portal", &portal], 1);
    assert!(line.contains("CHAP"), "{line}");
    failure_of(TOOL, &[], 2);
}
