//! `topology` from the outside, and what it draws on a terminal.

#[path = "common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use common::{SIZE, TARGET, failure_of, run, stdout, target, tool, url};
use iscsi_client::{
    buf::ReadBuf,
    device::{BlockDevice, ReadOptions},
    session::SessionOptions,
};
use iscsi_examples::{
    args::{LoginArgs, RuntimeChoice},
    clock,
    deadlines::DeadlineArgs,
    events::Narrator,
    paths::{self, Places},
    runtime::block_on,
    watch::{Watch, draw},
};
use iscsi_testkit::target::{AluaConfig, LunConfig, PortState, TargetConfig, TcpTarget};
use ratatui::{Terminal, backend::TestBackend};
use serde_json::Value;

const TOOL: &str = "topology";
const WWID: &str = "36001405f15c51d000000000000000000";

/// Two portals, of which the second one stands by.
fn array() -> TcpTarget {
    let mut alua = AluaConfig::default();
    alua.states = vec![(2, PortState::Standby)];
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 2)
        .with_lun(LunConfig::new(0, SIZE))
        .with_alua(alua);
    TcpTarget::start(config).unwrap()
}

fn urls(target: &TcpTarget) -> [String; 2] {
    [0, 1].map(|portal| format!("iscsi://{}/{TARGET}/0", target.portal(portal)))
}

/// The words of each line: how far it is to the next check differs from run to run.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn it_prints_what_multipath_and_show_paths_would_and_ends() {
    let target = array();
    let [one, two] = urls(&target);
    for runtime in ["tokio", "smol"] {
        let output = run(TOOL, &[&one, &two, "--runtime", runtime]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let (first, second) = (target.portal(0), target.portal(1));
        let lines = words(&text);
        let joined: Vec<String> = lines.iter().map(|words| words.join(" ")).collect();
        let wanted = [
            format!("{WWID} RUSTSDK,TESTKIT DISK"),
            "size=8.0M features='1 queue_if_no_path' hwhandler='1 alua' wp=rw".to_owned(),
            "|-+- policy='service-time 0' prio=50 status=active".to_owned(),
            format!("| `- any -> {first} active ready running"),
            "`-+- policy='service-time 0' prio=1 status=enabled".to_owned(),
            format!("`- any -> {second} active ghost running (standby)"),
            String::new(),
            "hcil dev pri dm_st chk_st dev_st next_check".to_owned(),
        ];
        assert_eq!(joined[..wanted.len()], wanted, "{text}");
        // As many columns as the heading has, though the names have blanks: the last one is a bar and seconds.
        let rows = &lines[wanted.len()..];
        assert_eq!(
            rows[0][..6],
            [
                "0:0:0:0",
                &format!("any->{first}"),
                "50",
                "active",
                "ready",
                "running"
            ]
        );
        assert_eq!(
            rows[1][..6],
            [
                "1:0:0:0",
                &format!("any->{second}"),
                "1",
                "active",
                "ghost",
                "running"
            ]
        );
        assert!(rows[..2].iter().all(|row| row.len() == 8), "{text}");
    }
}

#[test]
fn json_is_one_object_with_all_of_it() {
    let target = array();
    let [one, two] = urls(&target);
    let output = run(TOOL, &[&one, &two, "--json"]);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1);
    let look: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(look["info"]["identity"]["wwid"], WWID);
    assert_eq!(look["info"]["size"], SIZE);
    let groups = look["snapshot"]["groups"].as_array().unwrap();
    let status: Vec<_> = groups
        .iter()
        .map(|group| group["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["active", "enabled"]);
    let path = &groups[1]["paths"][0];
    assert_eq!(path["name"], format!("any -> {}", target.portal(1)));
    assert_eq!(path["access"], "standby");
    assert_eq!(path["down"], "ghost");
    assert_eq!(path["latency"]["reads"]["count"], 0);
    assert!(look["snapshot"]["uptime_ns"].is_u64());
    assert_eq!(look["events"], Value::Array(Vec::new()));
}

#[test]
fn watching_without_a_terminal_is_text_each_time_and_ends_with_its_reader() {
    let target = target(None);
    let args = ["--watch", "--interval", "0.1", "--load=2"];
    let output = run(
        TOOL,
        &[&[&*url(&target, "0")], &args[..], &["--count", "3"]].concat(),
    );
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.matches("active ready running").count(), 3);
    assert_eq!(
        text.matches("load: 2 reads of 64 KiB at a time\n").count(),
        3
    );
    assert!(!text.contains('\x1b'), "{text:?}");

    let args = ["--watch", "--interval", "0.1", "--load", "--json"];
    let mut child = tool(TOOL)
        .arg(url(&target, "0"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = |line: &Value| {
        let path = &line["snapshot"]["groups"][0]["paths"][0];
        path["latency"]["reads"]["count"].as_u64().unwrap()
    };
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let first = read(&next());
    while read(&next()) <= first {}
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn watching_ends_with_a_logout_when_it_is_asked_to_end() {
    for signal in ["-TERM", "-INT"] {
        let target = target(None);
        let mut child = tool(TOOL)
            .args([&*url(&target, "0"), "--watch", "--interval", "3600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().is_ok(), "the first look");
        assert_eq!(target.core().sessions(), 1);
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(target.core().sessions(), 0, "{signal}");
    }
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() {
    let line = failure_of(TOOL, &[], 2);
    assert!(line.contains("<URL>"), "{line}");
    let line = failure_of(TOOL, &["iscsi://me%sesame-street-12@10.0.0.1/disk/0"], 2);
    assert!(
        line.contains("URL number 1: ") && !line.contains("sesame"),
        "{line}"
    );
    let line = failure_of(
        TOOL,
        &["iscsi://10.0.0.1/iqn.2026-01.example:disk/0", "--load"],
        2,
    );
    assert!(line.contains("--watch"), "{line}");
}

/// What is on a screen of this size, line by line.
fn screen(watch: &Watch, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, watch)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
    (0..height).map(line).collect()
}

fn watched(target: &TcpTarget) -> Watch {
    let texts = urls(target);
    let watched = block_on(RuntimeChoice::Tokio, 1, |runtime| async move {
        let places = Places {
            urls: paths::parse_urls(&texts)?,
            nics: Vec::new(),
            paired: false,
            deadlines: DeadlineArgs::default(),
        };
        let login = LoginArgs {
            initiator_name: None,
            chap_user: None,
            chap_secret_file: None,
        };
        let options = SessionOptions::default();
        let initiator =
            paths::initiator("watch", &login, &places.urls, options, Arc::clone(&runtime))?;
        let device = paths::open_device(&initiator, &places).await?;
        paths::settle(&device, &*runtime).await;
        let mut narrator = Narrator::new(&device);
        let mut watch = Watch::new("load: none".to_owned());
        let start = clock::now();
        watch.observe(start, device.topology());
        for second in 1..=3 {
            for _ in 0..second * 10 {
                let buf = ReadBuf::from(BytesMut::zeroed(64 << 10));
                let done = BlockDevice::read(&device, 0, buf, ReadOptions::default()).await;
                done.result?;
            }
            watch.observe(start + Duration::from_secs(second), device.topology());
        }
        let first = device
            .snapshot()
            .paths()
            .next()
            .map(|path| path.id)
            .unwrap();
        device.fail_path(first).unwrap();
        for event in narrator.events(&device) {
            watch.tell(&event, narrator.line(&event));
        }
        watch.observe(start + Duration::from_secs(4), device.topology());
        device.close().await;
        Ok(watch)
    });
    watched.unwrap()
}

#[test]
fn the_screen_shows_states_throughput_latency_and_events() {
    let target = array();
    let watch = watched(&target);
    let last = watch.paths()[0].samples.iter().rev().nth(1).unwrap();
    // 30 reads of 64 KiB in what is taken for a second.
    assert_eq!((last.ios, last.throughput), (30, 30 * 65_536));
    assert!(last.median > Duration::ZERO && last.p99 >= last.median);
    assert_eq!(watch.paths()[1].samples.back().unwrap().ios, 0);

    let lines = screen(&watch, 140, 24);
    let text = lines.join("\n");
    println!("{text}");
    let (first, second) = (target.portal(0), target.portal(1));
    let has = |wanted: &str| assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    has(&format!("{WWID} RUSTSDK,TESTKIT DISK  load: none"));
    has("no path");
    has("group prio=50 status=disabled");
    has(&format!(
        "any -> {first} failed ready running  prio 50  active/optimized"
    ));
    has("taken out of use");
    has("group prio=1 status=enabled");
    has(&format!(
        "any -> {second} active ghost running  prio 1  standby"
    ));
    has("60 I/Os, 0 failed");
    has(&format!("any -> {first} is down: taken out of use"));
    has("q, Esc, Ctrl-C");
    // Twenty reads are two thirds of thirty, and ten a third.
    let line = lines
        .iter()
        .find(|line| line.contains("IOPS") && line.contains('█'));
    let bars: String = line
        .unwrap()
        .chars()
        .filter(|c| ('▁'..='█').contains(c))
        .collect();
    assert_eq!(bars, "▂▅█", "{text}");
}

#[test]
fn a_small_screen_shows_what_fits() {
    let watch = watched(&array());
    for (width, height) in [(1, 1), (3, 40), (200, 2), (20, 7), (35, 12), (80, 24)] {
        let lines = screen(&watch, width, height);
        assert_eq!(lines.len(), usize::from(height));
        if height > 1 && width > 10 {
            assert!(lines[0].starts_with(&WWID[..10]), "{lines:?}");
        }
    }
    let nothing = screen(&Watch::default(), 40, 3);
    assert!(nothing[0].starts_with("no device yet"));
}
