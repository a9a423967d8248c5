//! Running the tools as their users do.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use iscsi_testkit::target::{ChapConfig, LunConfig, TargetConfig, TcpTarget};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const SIZE: u64 = 8 << 20;

/// Cargo builds examples together with the tests, one directory beside them.
pub(crate) fn tool(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(
        path.with_extension(std::env::consts::EXE_EXTENSION)
            .exists(),
        "{} is not built: `cargo test -p iscsi-examples` builds it",
        path.display()
    );
    Command::new(path)
}

/// What it says is shown, as what all tests get is: see `iscsi_testkit::canary`.
pub(crate) fn run(name: &str, args: &[&str]) -> Output {
    let output = tool(name).args(args).output().unwrap();
    for said in [&output.stdout, &output.stderr] {
        println!("{}", String::from_utf8_lossy(said));
    }
    output
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line that a failure prints, which is all that it prints.
pub(crate) fn failure_of(name: &str, args: &[&str], status: i32) -> String {
    let output = run(name, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    let [line] = lines[..] else {
        panic!("{args:?}: not one line of error: {text}");
    };
    assert!(text.ends_with(&format!("{line}\n")), "{args:?}: {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    line.to_owned()
}

/// A target with LUN 0 and 1 behind one portal.
pub(crate) fn target(chap: Option<(&str, &str)>) -> TcpTarget {
    let mut config = TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_lun(LunConfig::new(0, SIZE))
        .with_lun(LunConfig::new(1, SIZE));
    if let Some((user, secret)) = chap {
        config = config.with_chap(ChapConfig::new(user, secret.as_bytes()));
    }
    TcpTarget::start(config).unwrap()
}

pub(crate) fn url(target: &TcpTarget, lun: &str) -> String {
    format!("iscsi://{}/{TARGET}/{lun}", target.portal(0))
}
