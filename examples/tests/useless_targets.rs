//! The tools against targets that are of no use: an error in one line, an end, and memory that does not grow.

#[expect(dead_code, reason = "it looks at the tools while they run")]
#[path = "common/mod.rs"]
mod common;

use std::{
    io::Read,
    process::Stdio,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use common::{TARGET, target, tool, url};
use iscsi_examples::usage;
use iscsi_testkit::crude::{CrudeTarget, From, Manner};

const DISCOVER: &str = "discover";
const READ: &str = "dual_nic_read";

/// For a connection, for a login, for an answer, and without any path.
const TIMEOUT: &str = "1";

/// Whoever goes on after that goes on for ever, on a machine however busy.
const FOR_EVER: Duration = Duration::from_secs(180);

/// Ours is about 8 MiB, most of it code. The buffers of these reads are 64 KiB; a flood that was kept would be
/// hundreds of MiB.
const PEAK_KIB: u64 = 32 << 10;

/// How a tool ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stderr: String,
    /// The greatest resident set of all tools that have ended so far, or 0 where the platform does not tell.
    peak_kib: u64,
}

/// Runs a tool to its end.
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
    let stderr = match told.recv_timeout(FOR_EVER) {
        Ok(text) => text,
        Err(RecvTimeoutError::Disconnected) => panic!("{name}: its errors are no text"),
        Err(RecvTimeoutError::Timeout) => {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} {args:?} goes on after {FOR_EVER:?}");
        }
    };
    reader.join().unwrap();
    Ended {
        code: child.wait().unwrap().code(),
        stderr,
        peak_kib: peak_of_tools(),
    }
}

/// The kernel's own high-water mark of the children that were waited for: it knows of those too that ended at once,
/// and does not fall again.
#[cfg(target_os = "linux")]
fn peak_of_tools() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    u64::try_from(children.max_rss()).unwrap()
}

#[cfg(not(target_os = "linux"))]
fn peak_of_tools() -> u64 {
    0
}

fn args<'a>(name: &str, portal: &'a str, url: &'a str, runtime: &'a str) -> Vec<&'a str> {
    let mut args = vec!["--timeout", TIMEOUT, "--runtime", runtime];
    match name {
        DISCOVER => args.extend(["--portal", portal]),
        _ => args.extend(["--url", url, "--block-size", "64k", "--queue-depth", "1"]),
    }
    args
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
    println!("{what}");
    // Until it is another program a child counts as big as its parent.
    let ours = usage::peak_memory_kib();
    assert!(ended.peak_kib <= PEAK_KIB.max(ours), "{ours} KiB; {what}");
}

/// The same arguments are right where all is well.
#[test]
fn a_good_target_is_read_in_the_same_way() {
    let target = target(None);
    let (portal, url) = (target.portal(0).to_string(), url(&target, "0"));
    for (name, runtime) in [(DISCOVER, "tokio"), (READ, "smol")] {
        let ended = watch(name, &args(name, &portal, &url, runtime));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.peak_kib > 1024, cfg!(target_os = "linux"));
    }
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
