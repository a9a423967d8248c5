//! Finding and running a tool.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// No tool here takes more than seconds, on a busy machine some more.
const SECONDS: &str = "300";

/// A program that is installed.
#[derive(Clone, Debug)]
pub(crate) struct Tool(PathBuf);

impl Tool {
    /// `None`, said on stderr, where `program` is not installed; the test is to return then.
    ///
    /// Panics with `ISCSI_INTEROP=require`.
    pub(crate) fn find(program: &str, package: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut files = env::split_paths(&path).map(|directory| directory.join(program));
        let file = files.find(|file| Path::is_file(file));
        if file.is_none() {
            skip(&format!(
                "{program} is not installed: apt-get install {package}"
            ));
        }
        file.map(Self)
    }

    pub(crate) fn libiscsi(program: &str) -> Option<Self> {
        Self::find(program, "libiscsi-bin")
    }

    /// A tool of QEMU, if its iSCSI driver is there: it is in a package of its own, which is loaded
    /// only where its version is the tool's.
    pub(crate) fn qemu(program: &str) -> Option<Self> {
        let tool = Self::find(program, "qemu-utils qemu-block-extra")?;
        let image = Self::find("qemu-img", "qemu-utils qemu-block-extra")?;
        // Nobody listens on port 1: the driver says so, and QEMU without it knows no such protocol.
        let probe = image.run(&["info", "iscsi://127.0.0.1:1/iqn.2026-01.example:none/0"]);
        let said = String::from_utf8_lossy(&probe.stderr);
        if said.contains("Failed to connect") {
            return Some(tool);
        }
        skip(&format!(
            "{program} has no iSCSI driver: install qemu-utils and qemu-block-extra of one version; \
             it says: {said}"
        ));
        None
    }

    /// Runs it to its end, which is forced after some minutes.
    ///
    /// With SIGPIPE ignored: libiscsi dies of it where the target closes a connection first, which it
    /// does with whoever breaks a rule. (The standard library resets it in a child, hence the shell.)
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "trap '' PIPE; exec timeout --kill-after=5 \"$@\"",
                "sh",
                SECONDS,
            ])
            .arg(&self.0)
            .args(args);
        // So that the messages are those that the tests know.
        command.env("LC_ALL", "C").env_remove("LIBISCSI_DEBUG");
        let output = command.output().expect("the shell runs");
        assert_ne!(output.status.code(), Some(124), "{self:?} {args:?} hangs");
        output
    }

    /// Its standard output; it must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{self:?} {args:?}: {out}{err}");
        out
    }

    /// What it prints; it must fail.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            !output.status.success(),
            "{self:?} {args:?} succeeds: {said}"
        );
        said
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        env::var_os("ISCSI_INTEROP").is_none_or(|value| value != "require"),
        "{test} cannot run, and ISCSI_INTEROP=require says that it must: {reason}"
    );
    // Not `eprintln!`, which the test harness shows for failed tests only.
    let line =
        format!("\n*** SKIPPED {test}: {reason} (ISCSI_INTEROP=require makes this a failure)\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr can be written to");
}
