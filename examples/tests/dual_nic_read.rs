//! `dual_nic_read` from the outside: what it prints, and how it ends.

#[path = "common/mod.rs"]
mod common;

use std::fs;

use common::{SIZE, TARGET, failure_of, run, stdout, target, url};
use iscsi_testkit::{
    pattern,
    target::{DigestPolicy, LunConfig, TargetConfig, TcpTarget},
};
use serde_json::Value;

const TOOL: &str = "dual_nic_read";

/// A file that is removed at the end.
struct TempFile(std::path::PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> Self {
        let name = format!("iscsi-examples-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn keys(line: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\":") {
        keys.extend(before.rsplit('"').next());
        rest = after;
    }
    keys
}

#[test]
fn the_demonstration_loses_a_path_and_no_byte_under_either_runtime() {
    for runtime in ["tokio", "smol"] {
        let output = run(TOOL, &["--size", "64m", "--json", "--runtime", runtime]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{runtime}: {text}");
        let line = text.lines().last().unwrap();
        let path = ["portal", "source", "state", "ios", "bytes"];
        let mut expected = vec![
            "device",
            "wwid",
            "size_bytes",
            "block_size",
            "bytes_read",
            "seconds",
        ];
        expected.extend([
            "mib_per_s",
            "errors",
            "verified",
            "failovers",
            "longest_stall_ms",
            "paths",
        ]);
        expected.extend(path);
        expected.extend(path);
        assert_eq!(keys(line), expected);
        let json: Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["device"]["size_bytes"], 64 << 20);
        assert_eq!(json["bytes_read"], 64 << 20);
        assert_eq!(json["errors"], 0);
        assert_eq!(json["verified"], true);
        assert!(json["failovers"].as_u64().unwrap() >= 1, "{line}");
        let bytes = |path: usize| json["paths"][path]["bytes"].as_u64().unwrap();
        assert!(bytes(0) > 0 && bytes(1) > 0, "{line}");
        assert_eq!(bytes(0) + bytes(1), 64 << 20);
    }
}

#[test]
fn a_lun_is_read_and_compared_with_a_file() {
    let target = target(None);
    let url = url(&target, "0");
    let mut image = vec![0; SIZE as usize];
    pattern::fill(1, 0, &mut image);
    let good = TempFile::new("good", &image);
    image[5 << 20] ^= 1;
    let bad = TempFile::new("bad", &image);
    let args = |file| {
        [
            "--url",
            &url,
            "--verify-file",
            file,
            "--json",
            "--queue-depth",
            "3",
        ]
        .to_vec()
    };

    let output = run(TOOL, &args(good.path()));
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let json: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&json["verified"], &json["bytes_read"]),
        (&true.into(), &SIZE.into())
    );
    assert_eq!(json["paths"][0]["source"], "127.0.0.1");

    let line = failure_of(TOOL, &args(bad.path()), 1);
    assert!(line.contains("wrong data at byte 5242880 "), "{line}");
}

#[test]
fn without_anything_to_compare_with_nothing_is_said_to_be_verified() {
    let target = target(None);
    let portal = target.portal(0).to_string();
    let args = [
        "--portal", &portal, "--target", TARGET, "--lun", "1", "--json",
    ];
    let output = run(
        TOOL,
        &[&args[..], &["--offset", "1m", "--length", "2m"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let json: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(json["verified"], Value::Null);
    assert_eq!(json["bytes_read"], 2 << 20);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_status_2() {
    let url = "iscsi://10.0.0.1/iqn.2026-01.example:disk/0";
    for args in [
        &["--no-such-option"][..],
        &["--url", "http://10.0.0.1/"],
        &["--url", url, "--portal", "10.0.0.1", "--target", TARGET],
        &["--portal", "10.0.0.1"],
        &["--target", TARGET],
        &["--portal", "10.0.0.1", "--target", "disk"],
        &["--url", url, "--runtime", "async-std"],
        &["--url", url, "--queue-depth", "0"],
        &["--url", url, "--block-size", "0"],
        &["--url", url, "--block-size", "4g", "--queue-depth", "2"],
        &["--url", url, "--chap-user", "me"],
        &["--url", url, "--header-digest", "md5"],
        &["--url", url, "--nic", "10.0.0.300"],
        &["--nic", "eth0"],
    ] {
        failure_of(TOOL, args, 2);
    }
}

#[test]
fn a_secret_is_never_shown() {
    let secret = iscsi_testkit::canary::OURS;
    for args in [
        ["--url", &format!("iscsi://me%{secret}@10.0.0.1/disk/0")],
        ["--url", &format!("iscsi://me%{secret}/@10.0.0.1/disk/0")],
    ] {
        let line = failure_of(TOOL, &args, 2);
        assert!(!line.contains(secret), "{line}");
    }
    let target = target(Some(("me", iscsi_testkit::canary::THEIRS)));
    let file = TempFile::new("secret", secret.as_bytes());
    let url = url(&target, "0");
    let args = [
        "--url",
        &url,
        "--chap-user",
        "me",
        "--chap-secret-file",
        file.path(),
    ];
    let line = failure_of(TOOL, &args, 1);
    assert!(line.contains("secret") && !line.contains(secret), "{line}");
}

#[test]
fn chap_takes_the_secret_from_a_file_or_a_url() {
    let secret = iscsi_testkit::canary::OURS;
    let target = target(Some(("me", secret)));
    let file = TempFile::new("chap", format!("{secret}\n").as_bytes());
    let plain = url(&target, "0");
    let output = run(
        TOOL,
        &[
            "--url",
            &plain,
            "--chap-user",
            "me",
            "--chap-secret-file",
            file.path(),
        ],
    );
    assert_eq!(output.status.code(), Some(0));
    let with_secret = plain.replace("iscsi://", &format!("iscsi://me%{secret}@"));
    let output = run(TOOL, &["--url", &with_secret]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn digests_come_from_an_option_or_from_the_url() {
    let required = DigestPolicy::Require;
    let config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE));
    let strict = TcpTarget::start(config.clone().with_digests(required, required)).unwrap();
    let never = DigestPolicy::Never;
    let lax = TcpTarget::start(config.with_digests(never, never)).unwrap();
    let (strict_url, lax_url) = (url(&strict, "0"), url(&lax, "0"));
    // By default the target decides.
    for url in [&strict_url, &lax_url] {
        assert_eq!(run(TOOL, &["--url", url]).status.code(), Some(0), "{url}");
    }
    failure_of(TOOL, &["--url", &lax_url, "--header-digest", "crc32c"], 1);
    failure_of(
        TOOL,
        &["--url", &format!("{lax_url}?data_digest=crc32c")],
        1,
    );
}

#[test]
fn what_goes_wrong_with_a_target_is_one_line_that_says_what_to_do() {
    let target = target(None);
    let portal = target.portal(0).to_string();
    let (lun0, lun1) = (url(&target, "0"), url(&target, "1"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = format!("iscsi://{closed}/{TARGET}/0");
    let no_lun = url(&target, "7");
    let no_target = format!("iscsi://{portal}/iqn.2026-01.example:other/0");
    let missing = "/nonexistent/secret";
    for (args, says) in [
        (&["--url", &*refused][..], "nothing listens"),
        (
            &["--url", &no_target],
            "discovery lists the names that the portal has",
        ),
        (&["--url", &no_lun], "check the LUN"),
        (
            &["--url", &lun0, "--url", &lun1],
            "check the target's LUN mapping",
        ),
        (&["--url", &lun0, "--nic", "no-such-nic"], "local interface"),
        (
            &["--url", &lun0, "--length", "1000"],
            "use multiples of 512",
        ),
        (
            &["--url", &lun0, "--block-size", "1000"],
            "use multiples of 512",
        ),
        (&["--url", &lun0, "--offset", "8m"], "give less than"),
        (&["--url", &lun0, "--length", "9m"], "give that as --length"),
        (&["--url", &lun0, "--verify-file", missing], "--verify-file"),
        (
            &[
                "--url",
                &lun0,
                "--chap-user",
                "me",
                "--chap-secret-file",
                missing,
            ],
            "--chap-secret-file",
        ),
    ] {
        let line = failure_of(TOOL, args, 1);
        assert!(line.contains(says), "{args:?}: {line}");
    }
    assert_eq!(target.core().violations(), []);
}

#[test]
fn a_capture_is_written_where_it_is_asked_for() {
    let target = target(None);
    let url = url(&target, "0");
    let file = TempFile::new("capture", b"");
    let args = ["--url", &url, "--pcap", file.path(), "--pcap-headers-only"];
    let output = run(TOOL, &args);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().last().unwrap();
    let bytes = fs::read(file.path()).unwrap();
    let said = format!("connections in {} bytes", bytes.len());
    assert!(
        line.starts_with("capture: ") && line.ends_with(&said),
        "{line}"
    );
    assert!(bytes.starts_with(&0x0a0d_0d0a_u32.to_le_bytes()));
    let at = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(at(b"SessionType=Normal") && at(TARGET.as_bytes()));
    assert!((bytes.len() as u64) < SIZE / 10);

    let args = ["--url", &url, "--pcap", "/no/such/directory/capture"];
    let line = failure_of(TOOL, &args, 1);
    assert!(line.contains("check --pcap"), "{line}");
}
