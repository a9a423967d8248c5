//! The example as its user runs it: what it prints, and what it says of bad input.

use std::process::{Command, Output};

use iscsi_testkit::target::{ChapConfig, LunConfig, TargetConfig, TcpTarget};

const TARGET: &str = "iqn.2026-11.org.example.iscsi-mpio:tested";

/// Runs `cargo run --example dual_nic_read`, which cargo has built along with this test.
fn run(args: &[&str]) -> Output {
    let exe = std::env::current_exe().expect("this test's path");
    let profile = exe
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/profile");
    Command::new(profile.join("examples").join("dual_nic_read"))
        .args(args)
        .output()
        .expect("cargo builds the examples with the tests")
}

/// The one line on standard error, and the exit status.
fn refusal(args: &[&str]) -> (String, Option<i32>) {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    (stderr, output.status.code())
}

fn config() -> TargetConfig {
    TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, 8 << 20))
}

#[test]
fn the_demonstration_loses_a_path_and_the_caller_notices_nothing() {
    for runtime in ["tokio", "smol"] {
        let output = run(&["--json", "--size", "512m", "--runtime", runtime]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let line = stdout.lines().last().expect("a line of JSON");
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(report["errors"], 0);
        assert_eq!(report["verified"], true);
        assert_eq!(report["bytes_read"], 512 << 20);
        assert_eq!(report["device"]["size_bytes"], 512 << 20);
        assert_eq!(report["device"]["block_size"], 512);
        assert!(report["failovers"].as_u64().unwrap() >= 1, "{line}");
        let paths = report["paths"].as_array().unwrap();
        assert_eq!(paths.len(), 2);
        for path in paths {
            assert!(path["bytes"].as_u64().unwrap() > 0, "{line}");
            assert!(path["portal"].is_string() && path["source"].is_string());
        }
    }
}

#[test]
fn bad_input_gets_one_line_that_says_what_to_do() {
    let open = TcpTarget::start(config()).unwrap();
    let chap = ChapConfig::new("somebody", b"a secret of enough bytes");
    let target = TcpTarget::start(config().with_chap(chap)).unwrap();
    let portal = target.portal(0).to_string();
    let secret = std::env::temp_dir().join(format!("dual-nic-secret-{}", std::process::id()));
    std::fs::write(&secret, "a wrong secret, but long enough\n").unwrap();
    let secret_file = secret.to_str().unwrap();
    let wrong_name = format!(
        "iscsi://{}/iqn.2026-11.org.example:nobody/0",
        open.portal(0)
    );
    let url = format!("iscsi://{portal}/{TARGET}/0");
    let chap = ["--chap-user", "somebody", "--chap-secret-file", secret_file];

    let (line, status) = refusal(&["--url", &wrong_name]);
    assert!(line.contains("not found") && status == Some(1), "{line}");
    let (line, status) = refusal(&[&["--url", &url][..], &chap[..]].concat());
    assert!(
        line.contains("authentication") && status == Some(1),
        "{line}"
    );
    assert!(!line.contains("wrong secret"), "{line}");
    let (line, status) = refusal(&["--url", &url]);
    assert!(status == Some(1), "{line}");

    std::fs::write(&secret, "a secret of enough bytes\n").unwrap();
    let missing = format!("iscsi://{portal}/{TARGET}/7");
    let (line, status) = refusal(&[&["--url", &missing][..], &chap[..]].concat());
    assert!(line.contains("LUN") && status == Some(1), "{line}");
    let misaligned = [&["--url", &url, "--length", "1000"][..], &chap[..]].concat();
    let (line, status) = refusal(&misaligned);
    assert!(line.contains("multiple") && status == Some(2), "{line}");
    let good = run(&[&["--url", &url, "--json"][..], &chap[..]].concat());
    assert!(good.status.success());

    drop(target);
    let (line, status) = refusal(&[&["--url", &url][..], &chap[..]].concat());
    assert!(line.contains("refused") && status == Some(1), "{line}");
    std::fs::remove_file(&secret).unwrap();

    for args in [
        &["--url", "http://nowhere/"][..],
        &["--nonsense"],
        &["--portal", "127.0.0.1"],
        &["--chap-user", "somebody"],
    ] {
        let (line, status) = refusal(args);
        assert_eq!(status, Some(2), "{line}");
    }
}
