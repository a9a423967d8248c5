//! The tools against targets that are of no use: an error in one line, in time, and in no more memory than ever.

#[expect(dead_code, reason = "it looks at the tools while they run")]
#[path = "common/mod.rs"]
mod common;

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use common::{TARGET, target, tool, url};
use iscsi_testkit::crude::{CrudeTarget, From, Manner};

const DISCOVER: &str = "discover";
const READ: &str = "dual_nic_read";

/// For a connection, for a login, for an answer, and without any path.
const TIMEOUT: &str = "1";

/// What all of these together may take, with time to spare for a busy machine; less than the least of the defaults
/// that a target could sit out (15 s for a login).
const DEADLINE: Duration = Duration::from_secs(14);

/// Ours is about 8 MiB, most of it code. The buffers of these reads are 64 KiB.
const PEAK_KIB: u64 = 32 << 10;

/// How much more than with a target that is good.
const GROWTH_KIB: u64 = 6 << 10;

/// How a tool ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stderr: String,
    /// The greatest resident set that was seen, or 0 where the platform does not tell.
    peak_kib: u64,
}

/// Runs a tool, and looks at its memory meanwhile.
fn watch(name: &str, args: &[&str]) -> Ended {
    let mut child = tool(name)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        // Nobody waits any more where the tool had to be ended.
        let _late = tell.send(text);
    });
    let look = Duration::from_millis(5);
    let mut peak_kib = 0;
    let mut left = DEADLINE;
    let stderr = loop {
        peak_kib = peak_kib.max(peak(&child));
        match told.recv_timeout(look) {
            Ok(text) => break text,
            Err(RecvTimeoutError::Disconnected) => panic!("{name}: its errors are no text"),
            Err(RecvTimeoutError::Timeout) => left = left.saturating_sub(look),
        }
        if left.is_zero() {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} {args:?} goes on after {DEADLINE:?}");
        }
    };
    reader.join().unwrap();
    Ended {
        code: child.wait().unwrap().code(),
        stderr,
        peak_kib,
    }
}

/// The kernel's own high-water mark.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn args<'a>(name: &str, portal: &'a str, url: &'a str, runtime: &'a str) -> Vec<&'a str> {
    let mut args = vec!["--timeout", TIMEOUT, "--runtime", runtime];
    match name {
        DISCOVER => args.extend(["--portal", portal]),
        _ => args.extend(["--url", url, "--block-size", "64k", "--queue-depth", "1"]),
    }
    args
}

/// What it takes where all is well.
fn good(name: &str, runtime: &str) -> u64 {
    let target = target(None);
    let (portal, url) = (target.portal(0).to_string(), url(&target, "0"));
    let ended = watch(name, &args(name, &portal, &url, runtime));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.peak_kib
}

/// Both tools, against a target that is so from the first login request on, or from the first request after a login
/// that went well. `says` is what each is told: the typed error, as it is shown.
fn judge(manner: Manner, says: [(From, &[&str]); 2]) {
    thread::scope(|scope| {
        for (from, says) in says {
            for (name, runtime) in [(DISCOVER, "tokio"), (READ, "smol")] {
                scope.spawn(move || one(name, runtime, manner, from, says));
            }
        }
    });
}

fn one(name: &str, runtime: &str, manner: Manner, from: From, says: &[&str]) {
    let useless = CrudeTarget::start(manner, from).unwrap();
    let portal = useless.address().to_string();
    let url = format!("iscsi://{portal}/{TARGET}/0");
    let ended = watch(name, &args(name, &portal, &url, runtime));
    let what = format!("{name}, {manner:?} from {from:?}: {ended:?}");
    assert_eq!(ended.code, Some(1), "{what}");
    let mut lines = ended.stderr.lines();
    let (line, more) = (lines.next().unwrap_or_default(), lines.next());
    assert_eq!(more, None, "{what}");
    assert!(says.iter().any(|says| line.contains(says)), "{what}");
    assert!(line.contains(&portal), "{what}");
    assert!(line.chars().all(|letter| !letter.is_control()), "{what}");
    if from == From::Session {
        assert!(useless.logins() > 0, "{what}");
    }
    if manner != Manner::Silence {
        assert!(useless.sent() > 0, "{what}");
    }
    let good = good(name, runtime);
    println!("{good} KiB with a good target; {what}");
    assert_eq!(good == 0, ended.peak_kib == 0);
    assert!(ended.peak_kib <= PEAK_KIB, "{what}");
    assert!(ended.peak_kib <= good + GROWTH_KIB, "{good} KiB; {what}");
}

/// It does not matter which of the many things is wrong with it first.
#[test]
fn random_bytes_are_a_protocol_error() {
    for seed in 1..=4 {
        let says = &[
            "opcode",
            "data segment of",
            "additional header",
            "header byte",
            "phase",
        ][..];
        judge(
            Manner::Noise(seed),
            [(From::Login, says), (From::Session, says)],
        );
    }
}

#[test]
fn who_never_answers_is_given_up() {
    let login = &["login not finished"][..];
    let later = &["text exchange not finished", "not answered"][..];
    judge(
        Manner::Silence,
        [(From::Login, login), (From::Session, later)],
    );
}

#[test]
fn a_byte_per_second_is_no_answer() {
    let manner = Manner::Trickle(Duration::from_secs(1));
    let login = &["login not finished"][..];
    let later = &[
        "PDU incomplete",
        "text exchange not finished",
        "not answered",
    ][..];
    judge(manner, [(From::Login, login), (From::Session, later)]);
}

/// Those that want an answer and those that want none, read or not.
#[test]
fn a_flood_of_pings_is_no_answer() {
    for wanted in [true, false] {
        for reads in [true, false] {
            let login = &["opcode", "phase"][..];
            let later = &["text exchange not finished", "not answered", "flood"][..];
            let manner = Manner::Pings { wanted, reads };
            judge(manner, [(From::Login, login), (From::Session, later)]);
        }
    }
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    for timeout in ["0", "0.01", "-1", "soon"] {
        let args = ["--timeout", timeout, "--portal", "127.0.0.1"];
        let ended = watch(DISCOVER, &args);
        assert_eq!(ended.code, Some(2), "{timeout}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}
