//! Network namespaces: a host with two NICs, a switch, and a storage host, as the user has them.
//!
//! Nothing of it is in the namespace that the test itself runs in, not even an end of a cable.

use std::{
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{daemon::run_tool, need};

/// Runs `ip` with blank-separated arguments.
pub(crate) fn ip(arguments: &str) -> String {
    let program = need::find("ip").expect("asked for before");
    run_tool(Command::new(program).args(arguments.split(' ')))
}

/// Three namespaces; removed with all that is in them when this is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    /// Has `nic1` and `nic2`, both in 10.123.45.0/24.
    pub(crate) host: String,
    /// Has the bridge `switch` with the ports `port1`, `port2` and `port3`.
    pub(crate) switch: String,
    /// Has `nic`, with the one address that the target listens on.
    pub(crate) storage: String,
}

/// The storage host's address.
pub(crate) const PORTAL: &str = "10.123.45.10:3260";

impl Network {
    /// Lays the cables; `None` where that is not possible, which has been said then.
    pub(crate) fn lay() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !need::have(&["ip", "sysctl"]) {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |what| format!("interop-{}-{number}-{what}", process::id());
        let network = Self {
            host: name("host"),
            switch: name("switch"),
            storage: name("storage"),
        };
        let program = need::find("ip").expect("found above");
        let first = ["netns", "add", &network.host];
        let made = Command::new(program).args(first).output().expect("it runs");
        if !made.status.success() {
            let reason = String::from_utf8_lossy(&made.stderr);
            need::skip(&format!(
                "no network namespace can be made, which takes root: {}",
                reason.trim()
            ));
            return None;
        }
        network.build();
        Some(network)
    }

    fn build(&self) {
        let Self {
            host,
            switch,
            storage,
        } = self;
        ip(&format!("netns add {switch}"));
        ip(&format!("netns add {storage}"));
        ip(&format!("-n {switch} link add switch type bridge"));
        ip(&format!("-n {switch} link set switch up"));
        let cables = [
            (host, "nic1", "port1", "10.123.45.1/24"),
            (host, "nic2", "port2", "10.123.45.2/24"),
            (storage, "nic", "port3", "10.123.45.10/24"),
        ];
        for (place, nic, port, address) in cables {
            ip(&format!(
                "link add {nic} netns {place} type veth peer name {port} netns {switch}"
            ));
            ip(&format!("-n {switch} link set {port} master switch"));
            ip(&format!("-n {switch} link set {port} up"));
            ip(&format!("-n {place} address add {address} dev {nic}"));
            ip(&format!("-n {place} link set {nic} up"));
            ip(&format!("-n {place} link set lo up"));
        }
    }

    /// Sets a value of `net.ipv4.conf` for all devices of the host, those to come and each of these.
    pub(crate) fn set(&self, name: &str, value: u8) {
        for device in ["all", "default", "nic1", "nic2"] {
            let setting = format!("net.ipv4.conf.{device}.{name}={value}");
            let program = need::find("ip").expect("asked for before");
            run_tool(
                Command::new(program)
                    .args(["netns", "exec", &self.host])
                    .args(["sysctl", "-q", "-w", &setting]),
            );
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.host, &self.switch, &self.storage] {
            if let Some(program) = need::find("ip") {
                // One that could not be made is not there.
                drop(
                    Command::new(program)
                        .args(["netns", "delete", name])
                        .output(),
                );
            }
        }
    }
}
