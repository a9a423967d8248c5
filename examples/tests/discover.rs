//! `discover` from the outside: what it prints, and how it ends.

#[expect(dead_code, reason = "this tool takes no URLs")]
#[path = "common/mod.rs"]
mod common;

use std::net::TcpListener;

use common::{SIZE, TARGET, failure_of, run, stdout};
use iscsi_testkit::target::{
    AluaConfig, ChapConfig, LunConfig, PortState, TargetConfig, TcpTarget,
};
use serde_json::Value;

const TOOL: &str = "discover";

/// Two portals, each a group of its own; a thin disk and a small read-only one of large blocks.
fn array(chap: Option<(&str, &str)>) -> TcpTarget {
    let mut thin = LunConfig::new(0, SIZE);
    thin.thin = true;
    let mut small = LunConfig::new(300, 1 << 20).with_block_size(4096);
    small.read_only = true;
    let mut alua = AluaConfig::default();
    alua.states = vec![(2, PortState::NonOptimized)];
    alua.preferred = Some(1);
    let mut config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 2)
        .with_lun(thin)
        .with_lun(small)
        .with_alua(alua);
    if let Some((user, secret)) = chap {
        config = config.with_chap(ChapConfig::new(user, secret.as_bytes()));
    }
    TcpTarget::start(config).unwrap()
}

/// An address where nobody listens, for as long as nobody else takes it.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn lines(target: &TcpTarget) -> String {
    let (one, two) = (target.portal(0), target.portal(1));
    format!("{one},1 {TARGET}\n{two},2 {TARGET}\n")
}

fn luns(own: u16) -> String {
    let mine = |group| if group == own { ", this portal's" } else { "" };
    let groups = format!(
        "    group 1 active/optimized, preferred{}\n    group 2 active/non-optimized{}\n",
        mine(1),
        mine(2)
    );
    format!(
        "  LUN 0: 36001405f15c51d000000000000000000 RUSTSDK TESTKIT DISK, 8.00 MiB (8388608 bytes), \
         blocks 512/512, provisioning thin\n{groups}\
         \x20 LUN 300: 36001405f15c51d00000000000000012c RUSTSDK TESTKIT DISK, 1.00 MiB (1048576 bytes), \
         blocks 4096/4096, provisioning not reported, read-only\n{groups}"
    )
}

#[test]
fn targets_are_printed_as_iscsiadm_does_and_nothing_else() {
    let target = array(None);
    let portal = target.portal(0).to_string();
    for runtime in ["tokio", "smol"] {
        let output = run(
            TOOL,
            &["--portal", &portal, "--no-luns", "--runtime", runtime],
        );
        assert_eq!(stdout(&output), lines(&target));
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn logical_units_are_listed_through_every_portal_with_identity_size_and_groups() {
    let target = array(None);
    let (one, two) = (target.portal(0).to_string(), target.portal(1).to_string());
    // Both portals tell of the same target: each line comes once.
    let output = run(TOOL, &["--portal", &one, "--portal", &two]);
    let expected = format!(
        "{}\n{TARGET} at {one},1\n{}\n{TARGET} at {two},2\n{}",
        lines(&target),
        luns(1),
        luns(2)
    );
    assert_eq!(stdout(&output), expected);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(target.core().violations(), []);
}

#[test]
fn every_nic_has_its_own_lines_and_sessions() {
    let target = array(None);
    let one = target.portal(0).to_string();
    let args = ["--portal", &one, "--nic", "127.0.0.1", "--nic", "127.0.0.3"];
    let output = run(TOOL, &args);
    let text = stdout(&output);
    assert!(text.starts_with(&lines(&target).repeat(2)), "{text}");
    for nic in ["127.0.0.1", "127.0.0.3"] {
        let head = format!("{TARGET} at {one},1 from {nic}\n{}", luns(1));
        assert!(text.contains(&head), "{text}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_portal_that_does_not_answer_is_reported_and_skipped() {
    let target = array(None);
    let (bad, good) = (nobody(), target.portal(0).to_string());
    let output = run(TOOL, &["--portal", &bad, "--portal", &good, "--no-luns"]);
    assert_eq!(stdout(&output), lines(&target));
    assert_eq!(output.status.code(), Some(4));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.starts_with(&format!("{bad} from any: ")), "{notes}");
    assert_eq!(notes.lines().count(), 1);
    let output = run(TOOL, &["--portal", &bad]);
    assert_eq!(
        (stdout(&output), output.status.code()),
        (String::new(), Some(1))
    );
}

#[test]
fn json_has_all_of_it_in_one_line() {
    let target = array(None);
    let (one, bad) = (target.portal(0).to_string(), nobody());
    let output = run(TOOL, &["--portal", &one, "--portal", &bad, "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["portals"][0]["targets"][0]["name"], TARGET);
    assert_eq!(
        json["portals"][0]["targets"][0]["portals"][0],
        format!("{one},1")
    );
    assert!(json["portals"][1]["error"].is_string());
    let lun = &json["sessions"][1]["luns"][0];
    assert_eq!(lun["wwid"], "36001405f15c51d000000000000000000");
    assert_eq!(
        (&lun["size_bytes"], &lun["own_group"]),
        (&SIZE.into(), &2.into())
    );
    assert_eq!(lun["groups"][1]["state"], "active/non-optimized");
    assert_eq!(lun["provisioning"], "thin");
    assert_eq!(json["sessions"].as_array().unwrap().len(), 2);
}

#[test]
fn credentials_are_used_for_discovery_and_login_and_refusals_are_told() {
    let secret = iscsi_testkit::canary::OURS;
    let target = array(Some(("me", secret)));
    let portal = target.portal(0).to_string();
    let file = std::env::temp_dir().join(format!("iscsi-discover-{}", std::process::id()));
    std::fs::write(&file, secret).unwrap();
    let login = [
        "--chap-user",
        "me",
        "--chap-secret-file",
        file.to_str().unwrap(),
    ];
    let output = run(TOOL, &[&["--portal", &portal][..], &login].concat());
    std::fs::remove_file(&file).unwrap();
    let text = stdout(&output);
    assert!(
        text.starts_with(&lines(&target)) && text.contains(&luns(1)),
        "{text}"
    );
    let output = run(TOOL, &["--portal", &portal]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stderr).unwrap().is_empty());
}

#[test]
fn a_command_line_that_cannot_be_used_is_one_line() {
    failure_of(TOOL, &[], 2);
    failure_of(TOOL, &["--portal", "fe80::1:3260"], 2);
}
