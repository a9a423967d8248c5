//! istgt.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use super::{
    daemon::{Daemon, Place, free_port},
    peer::{Auth, Setup, TARGET_USER, USER},
    temp::TempDir,
};

/// An istgt with one target, which has its disk at LUN 0.
#[derive(Debug)]
pub(super) struct Istgt {
    daemon: Option<Daemon>,
    pub(super) portals: Vec<SocketAddr>,
    directory: PathBuf,
    place: Place,
}

impl Istgt {
    pub(super) fn start(dir: &TempDir, target: &str, setup: &Setup) -> Self {
        let portals = match &setup.place {
            Place::Here => vec![free_port([127, 0, 0, 1]), free_port([127, 0, 0, 2])],
            Place::Namespace { portals, .. } => portals.clone(),
        };
        let [name, secret] = USER;
        let [target_name, target_secret] = TARGET_USER;
        let accounts = dir.join("auth.conf");
        let groups = format!(
            "[AuthGroup1]\n  Auth \"{name}\" \"{secret}\"\n[AuthGroup2]\n  Auth \"{name}\" \
             \"{secret}\" \"{target_name}\" \"{target_secret}\"\n"
        );
        fs::write(&accounts, groups).expect("a file");
        fs::set_permissions(&accounts, Permissions::from_mode(0o600)).expect("a file of ours");
        let text = configuration(dir, target, setup, &portals);
        fs::write(dir.join("istgt.conf"), text).expect("a file");
        let mut istgt = Self {
            daemon: None,
            portals,
            directory: dir.path().to_owned(),
            place: setup.place.clone(),
        };
        istgt.run();
        istgt
    }

    /// Starts the process.
    pub(super) fn run(&mut self) {
        let config = self.directory.join("istgt.conf");
        // It waits for the old pid file to go.
        drop(fs::remove_file(self.directory.join("istgt.pid")));
        let arguments = [OsStr::new("-D"), OsStr::new("-c"), config.as_os_str()];
        let log = self.directory.join("istgt.log");
        let mut daemon = Daemon::start(&self.place, "istgt", &arguments, &[], log);
        daemon.wait_for(&self.place, &self.portals);
        self.daemon = Some(daemon);
    }

    pub(super) fn kill(&mut self) {
        self.daemon = None;
    }
}

fn configuration(dir: &TempDir, target: &str, setup: &Setup, portals: &[SocketAddr]) -> String {
    // It takes no other value for InitialR2T than Yes, whatever the setup says.
    let limits = setup.limits;
    let yes = |on| if on { "Yes" } else { "No" };
    let portals: String = (1..)
        .zip(portals)
        .map(|(n, p)| format!("  Portal DA{n} {p}\n"))
        .collect();
    let (method, group) = match setup.auth {
        Auth::None => ("None", "None"),
        Auth::OneWay => ("CHAP", "AuthGroup1"),
        Auth::Mutual => ("CHAP Mutual", "AuthGroup2"),
    };
    let digests = match setup.digests {
        (false, false) => "Auto",
        (true, false) => "Header",
        (false, true) => "Data",
        (true, true) => "Header Data",
    };
    let discovery = if setup.discovery_chap {
        "  DiscoveryAuthMethod CHAP\n  DiscoveryAuthGroup AuthGroup1\n"
    } else {
        "  DiscoveryAuthMethod None\n"
    };
    let initiator = setup.only.as_deref().unwrap_or("ALL");
    // The controller's portal cannot be left out; nothing here talks to it.
    let control = free_port([127, 0, 0, 1]);
    let path = dir.path().display();
    format!(
        r#"[Global]
  NodeBase "iqn.2026-01.example.peer"
  PidFile {path}/istgt.pid
  AuthFile {path}/auth.conf
  MediaDirectory {path}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
{discovery}  MaxSessions 16
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 0
  DefaultTime2Retain 0
  FirstBurstLength {first_burst}
  MaxBurstLength {max_burst}
  MaxRecvDataSegmentLength {segment}
  InitialR2T Yes
  ImmediateData {immediate_data}
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  Portal UC1 {control}
  Netmask 127.0.0.1
[PortalGroup1]
{portals}[InitiatorGroup1]
  InitiatorName "{initiator}"
  Netmask ALL
[LogicalUnit1]
  TargetName {target}
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod {method}
  AuthGroup {group}
  UseDigest {digests}
  UnitType Disk
  UnitInquiry "FILE" "istgt" "0" "10000001"
  QueueDepth 64
  BlockLength {block}
  LUN0 Storage {path}/lun.img {size}MB
"#,
        first_burst = limits.first_burst,
        max_burst = limits.max_burst,
        segment = limits.segment,
        immediate_data = yes(limits.immediate_data),
        block = setup.block,
        size = setup.size >> 20,
    )
}
