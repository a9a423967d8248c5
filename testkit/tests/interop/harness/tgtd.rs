//! tgtd, the Linux SCSI target framework.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    daemon::{Daemon, Place, free_port, run_tool},
    need,
    peer::{Auth, Limits, Setup, TARGET_USER, USER},
    temp::TempDir,
};

/// A tgtd with one target, which has its disk at LUN 1.
#[derive(Debug)]
pub(crate) struct Tgtd {
    daemon: Option<Daemon>,
    pub(super) portals: Vec<SocketAddr>,
    socket: PathBuf,
    directory: PathBuf,
    target: String,
    setup: Setup,
}

/// The control channel is a socket file of its own directory, so the number need not differ.
const CONTROL: &str = "1";

impl Tgtd {
    pub(super) fn start(dir: &TempDir, target: &str, setup: &Setup) -> Self {
        let portals = match &setup.place {
            Place::Here => vec![free_port([127, 0, 0, 1]), free_port([127, 0, 0, 2])],
            Place::Namespace { portals, .. } => portals.clone(),
        };
        let mut tgtd = Self {
            daemon: None,
            portals,
            socket: dir.join("ipc"),
            directory: dir.path().to_owned(),
            target: target.into(),
            setup: setup.clone(),
        };
        tgtd.run();
        tgtd
    }

    /// Starts the process and tells it what to serve.
    pub(super) fn run(&mut self) {
        let portals: Vec<_> = self.portals.iter().map(|p| format!("portal={p}")).collect();
        let portals = portals.join(",");
        let arguments = ["-f", "-C", CONTROL, "--iscsi", &portals].map(OsStr::new);
        let environment = [("TGT_IPC_SOCKET", self.socket.as_os_str())];
        let place = &self.setup.place;
        let log = self.directory.join("tgtd.log");
        let mut daemon = Daemon::start(place, "tgtd", &arguments, &environment, log);
        let show = ["--op", "show", "--mode", "sys"];
        daemon.poll("answer tgtadm", || {
            self.command(&show)
                .output()
                .is_ok_and(|output| output.status.success())
        });
        daemon.wait_for(place, &self.portals);
        self.daemon = Some(daemon);
        self.configure();
    }

    pub(super) fn kill(&mut self) {
        self.daemon = None;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(need::find("tgtadm").expect("asked for before"));
        command
            .env("TGT_IPC_SOCKET", &self.socket)
            .args(["-C", CONTROL, "--lld", "iscsi"])
            .args(arguments);
        command
    }

    /// Runs tgtadm with blank-separated arguments.
    pub(crate) fn admin(&self, arguments: &str) -> String {
        let arguments: Vec<_> = arguments.split(' ').collect();
        run_tool(&mut self.command(&arguments))
    }

    fn configure(&self) {
        let Self { target, setup, .. } = self;
        self.admin(&format!("--op new --mode target --tid 1 -T {target}"));
        let file = self.directory.join("lun.img");
        self.admin(&format!(
            "--op new --mode logicalunit --tid 1 --lun 1 --bstype rdwr -b {} --blocksize {}",
            Path::display(&file),
            setup.block
        ));
        for (key, value) in keys(setup) {
            self.admin(&format!(
                "--op update --mode target --tid 1 -n {key} -v {value}"
            ));
        }
        let accounts = match (setup.auth, setup.discovery_chap) {
            (Auth::None, false) => &[][..],
            (Auth::Mutual, _) => &[USER, TARGET_USER],
            _ => &[USER],
        };
        for [name, secret] in accounts {
            self.admin(&format!(
                "--op new --mode account --user {name} --password {secret}"
            ));
        }
        let bind = format!("--op bind --mode account --user {}", USER[0]);
        if setup.auth != Auth::None {
            self.admin(&format!("{bind} --tid 1"));
        }
        if setup.auth == Auth::Mutual {
            let [name, _] = TARGET_USER;
            self.admin(&format!(
                "--op bind --mode account --user {name} --tid 1 --outgoing"
            ));
        }
        if setup.discovery_chap {
            // Without a target it is the account for discovery.
            self.admin(&bind);
        }
        match &setup.only {
            Some(name) => self.admin(&format!("--op bind --mode target --tid 1 -Q {name}")),
            None => self.admin("--op bind --mode target --tid 1 -I ALL"),
        };
    }

    /// The sessions and connections of the target as `(sid, cid)`.
    pub(crate) fn connections(&self) -> Vec<(u32, u32)> {
        let shown = self.admin("--op show --mode conn --tid 1");
        let mut session = None;
        let mut found = Vec::new();
        for line in shown.lines() {
            let number = |text: &str| text.trim().parse::<u32>().ok();
            if let Some(sid) = line.trim().strip_prefix("Session:") {
                session = number(sid);
            } else if let Some(cid) = line.trim().strip_prefix("Connection:") {
                found.extend(session.zip(number(cid)));
            }
        }
        found
    }
}

fn keys(setup: &Setup) -> Vec<(&'static str, String)> {
    let Limits {
        segment,
        first_burst,
        max_burst,
        initial_r2t,
        immediate_data,
    } = setup.limits;
    let digest = |on| String::from(if on { "CRC32C" } else { "None" });
    let boolean = |on| String::from(if on { "Yes" } else { "No" });
    vec![
        ("MaxRecvDataSegmentLength", segment.to_string()),
        ("MaxXmitDataSegmentLength", segment.to_string()),
        ("MaxBurstLength", max_burst.to_string()),
        ("FirstBurstLength", first_burst.to_string()),
        ("InitialR2T", boolean(initial_r2t)),
        ("ImmediateData", boolean(immediate_data)),
        ("HeaderDigest", digest(setup.digests.0)),
        ("DataDigest", digest(setup.digests.1)),
    ]
}
