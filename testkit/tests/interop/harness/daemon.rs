//! A daemon that lives no longer than the test.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::need;

/// Where a daemon runs.
#[derive(Clone, Debug, Default)]
pub(crate) enum Place {
    /// Beside the test, on the loopback.
    #[default]
    Here,
    /// In a network namespace, on these addresses.
    Namespace {
        name: String,
        portals: Vec<SocketAddr>,
    },
}

impl Place {
    fn command(&self, program: &str) -> Command {
        let path = need::find(program).expect("asked for before");
        // If the test is killed, the kernel ends the daemon. `Drop` is for every other end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Self::Namespace { name, .. } = self {
            command.args(["ip", "netns", "exec", name]);
        }
        command.arg(path);
        command
    }
}

/// A little time for somebody else; only between two looks at something that has no event to await.
#[expect(
    clippy::disallowed_methods,
    reason = "another process gets ready, and there is no runtime here"
)]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// How often something is looked at before it is given up: 20 seconds' worth of pauses.
const PATIENCE: u32 = 2000;

/// A loopback port that nobody listens on. Below the range that the kernel takes for outgoing
/// connections, so that no connection of another test sits on it; and each process begins elsewhere.
pub(super) fn free_port(address: [u8; 4]) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (process::id().wrapping_mul(97) + step) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("below 2^16");
        let address = SocketAddr::from((address, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// A running daemon and its log.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(super) fn start(
        place: &Place,
        program: &str,
        arguments: &[&OsStr],
        environment: &[(&str, &OsStr)],
        log: PathBuf,
    ) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let out = file.expect("a log file");
        let err = out.try_clone().expect("a second handle");
        let child = place
            .command(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("setpriv of util-linux starts the daemon");
        Self { child, log }
    }

    /// Waits until all of `portals` accept connections. Those in a namespace cannot be reached from
    /// here; the kernel says whether somebody listens there.
    pub(super) fn wait_for(&mut self, place: &Place, portals: &[SocketAddr]) {
        for portal in portals {
            self.poll("accept connections", || match place {
                Place::Here => TcpStream::connect_timeout(portal, Duration::from_secs(1)).is_ok(),
                Place::Namespace { name, .. } => {
                    let listening = ["netns", "exec", name, "ss", "-Hltn"];
                    let sockets = Command::new("ip").args(listening).output();
                    let sockets = sockets.map(|output| output.stdout).unwrap_or_default();
                    String::from_utf8_lossy(&sockets).contains(&portal.to_string())
                }
            });
        }
    }

    /// Looks at `ready` until it is; panics with the log if the daemon dies or time is over.
    pub(super) fn poll(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        for _ in 0..PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                panic!("the daemon ended ({status}):\n{}", self.log());
            }
            if ready() {
                return;
            }
            pause();
        }
        panic!("the daemon does not {what}:\n{}", self.log());
    }

    /// Sends SIGKILL and waits for the end.
    pub(super) fn kill(&mut self) {
        // An error means that it is dead already.
        drop(self.child.kill());
        self.child.wait().expect("a child of ours");
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the peer\n{}---", self.log());
        }
    }
}

/// Runs a tool to its end and returns what it said.
///
/// Panics with all of it if it fails.
pub(crate) fn run_tool(command: &mut Command) -> String {
    let output: Output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
