//! The case that users have: a host with two NICs in one subnet, a switch, a target with one portal.
//!
//! Each test lays the cables in network namespaces of its own and runs this very program in the
//! host's namespace, where [`host`] is the part that is left.

use std::{
    env, fs,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use iscsi_client::runtime::Runtime;
use mpio::{MultipathBuilder, MultipathDevice, core::PathSelector};

use crate::{
    acknowledged,
    harness::{
        Kind, Network, On, PORTAL, Peer, Place, Setup, block_on, connect, connect_some,
        connect_with, ip, progress, quick, under_load, until, usable,
    },
    links,
};

/// Which part runs in the host's namespace, and what it has to know: the part, the target's name,
/// the LUN, and the namespaces of the switch and of the target, with blanks between.
const PART: &str = "ISCSI_INTEROP_PART";

/// How the two NICs of the host are told apart.
#[derive(Clone, Copy)]
struct Sysctls {
    rp_filter: u8,
    arp_ignore: u8,
    arp_announce: u8,
}

/// What `docs/networking.md` tells users to set.
const AS_DOCUMENTED: Sysctls = Sysctls {
    rp_filter: 2,
    arp_ignore: 1,
    arp_announce: 2,
};

fn run(kind: Kind, part: &str, sysctls: Sysctls) {
    let Some(network) = Network::lay() else {
        return;
    };
    network.set("rp_filter", sysctls.rp_filter);
    network.set("arp_ignore", sysctls.arp_ignore);
    network.set("arp_announce", sysctls.arp_announce);
    let place = Place::Namespace {
        name: network.storage.clone(),
        portals: vec![PORTAL.parse().expect("an address")],
    };
    let setup = Setup {
        place,
        ..Setup::default()
    };
    let Some(peer) = Peer::start(kind, setup) else {
        return;
    };
    let output = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "ip",
            "netns",
            "exec",
            &network.host,
        ])
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", "namespaces::host", "--nocapture"])
        .env(
            PART,
            format!(
                "{part} {} {} {} {}",
                peer.target(),
                peer.lun(),
                network.switch,
                network.storage
            ),
        )
        .stdin(Stdio::null())
        .output()
        .expect("setpriv of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success() && said.contains(DONE),
        "in the host's namespace:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Printed by the part that has come to its end, so that a renamed test is not taken for a success.
const DONE: &str = "the part in the host's namespace is done";

/// What runs in the host's namespace. By itself, without being told which part, it does nothing.
#[test]
fn host() {
    let Ok(told) = env::var(PART) else { return };
    let words: Vec<_> = told.split(' ').collect();
    let [part, target, lun, switch, storage] = words[..] else {
        panic!("{PART}={told}")
    };
    let on = match part {
        "share" | "told" | "swallowed" => On::Tokio,
        _ => On::Smol,
    };
    block_on(on, |runtime| async move {
        let builder = MultipathBuilder::new(target.parse().expect("a name"))
            .portal(PORTAL.parse().expect("a portal"))
            .lun(lun.parse().expect("a LUN"))
            .bind("nic1".parse().expect("a device"))
            .bind("nic2".parse().expect("a device"));
        // Which path the default selector prefers depends on how busy the machine is: the queue of the
        // NIC that is quicker just then is the shorter one. Turns are taken evenly, and nothing is moved from
        // a NIC that only waits: for an answer to an ARP request, or for its share of a busy processor.
        let patience = Duration::from_secs(30);
        let turns = quick()
            .path_selector(PathSelector::RoundRobin)
            .suspicion(patience, 1, patience);
        match part {
            "told" | "told-smol" => return links::told(&runtime, on, builder, switch).await,
            "swallowed" | "swallowed-smol" => {
                acknowledged::swallowed(&runtime, builder, switch).await;
                return;
            }
            "moved" => {
                let target = (target, PORTAL);
                return links::moved(&runtime, on, target, (switch, storage)).await;
            }
            "seen" => return links::seen(&runtime, on, storage).await,
            "flooded" => return links::flooded(&runtime, on).await,
            _ => {}
        }
        let device = match part {
            "share" => connect_with(&runtime, builder, turns).await,
            "one-only" => connect_some(&runtime, builder, quick()).await,
            _ => connect(&runtime, builder).await,
        };
        match part {
            "share" => share(&runtime, &device, storage).await,
            "one-only" => one_only(&device),
            "lose-one" => lose_one(&runtime, &device, storage).await,
            "pull-nics" => {
                let down = |nic| format!("link set nic{nic} down");
                let up = |nic| format!("link set nic{nic} up");
                pull(&runtime, &device, down, up).await;
            }
            "pull-ports" => {
                let down = |port| format!("-n {switch} link set port{port} down");
                let up = |port| format!("-n {switch} link set port{port} up");
                pull(&runtime, &device, down, up).await;
            }
            _ => panic!("no such part: {part}"),
        }
        device.close().await;
    });
    println!("{DONE}");
}

/// What happens in any network after a while: the target has forgotten where our addresses are, and
/// asks; and we have forgotten where the target is, when something on this host sends from the
/// address of `nic2`, bound to nothing, which the routing table sends through `nic1`.
fn forget(storage: &str) {
    ip(&format!("-n {storage} neigh flush dev nic"));
    ip("neigh flush dev nic1");
    let socket = UdpSocket::bind("10.123.45.2:0").expect("an address of ours");
    let sent = socket.send_to(b"anything", PORTAL);
    sent.expect("a route");
}

/// Bytes that a NIC has carried, `tx` or `rx`.
fn carried(nic: u8, direction: &str) -> u64 {
    let file = format!("/sys/class/net/nic{nic}/statistics/{direction}_bytes");
    let text = fs::read_to_string(file).expect("a counter of the kernel");
    text.trim().parse().expect("a number")
}

fn counters() -> [u64; 4] {
    [
        carried(1, "tx"),
        carried(2, "tx"),
        carried(1, "rx"),
        carried(2, "rx"),
    ]
}

async fn share(runtime: &Arc<dyn Runtime>, device: &MultipathDevice, storage: &str) {
    let before = counters();
    under_load(runtime, device, |rounds| async move {
        // 64 KiB each way in every round.
        for goal in (100..=1000).step_by(100) {
            until(&**runtime, "the load goes on", || rounds.get() >= goal).await;
            forget(storage);
        }
    })
    .await;
    let after = counters();
    let bytes: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    let [sent, received] = [[bytes[0], bytes[1]], [bytes[2], bytes[3]]];
    println!("sent: {sent:?}, received: {received:?}");
    // Reads and writes take turns as well, so one NIC may carry more of the writes, and then the other one carries
    // more of the reads: the half is one of both together.
    for (direction, pair) in [("sent", sent), ("received", received)] {
        assert!(
            pair[0] + pair[1] > 60_000_000,
            "the load went over the network: {direction} {pair:?}"
        );
    }
    let carried = [sent[0] + received[0], sent[1] + received[1]];
    let percent = 100 * carried[0] / (carried[0] + carried[1]);
    assert!(
        (45..=55).contains(&percent),
        "{percent} % through nic1: sent {sent:?}, received {received:?}"
    );
}

/// The second path was not to be had; the first one serves.
fn one_only(device: &MultipathDevice) {
    let missing = device.topology().missing;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].0.starts_with("nic2"), "{missing:?}");
    assert_eq!(usable(device), 1);
}

/// A path goes though no cable was touched; the caller sees no error all the same.
async fn lose_one(runtime: &Arc<dyn Runtime>, device: &MultipathDevice, storage: &str) {
    under_load(runtime, device, |rounds| async move {
        let before = device.snapshot().counters.failovers;
        let mut next = 0;
        until(&**runtime, "a path is lost", || {
            if rounds.get() >= next {
                forget(storage);
                next = rounds.get() + 50;
            }
            device.snapshot().counters.failovers > before
        })
        .await;
    })
    .await;
}

async fn pull(
    runtime: &Arc<dyn Runtime>,
    device: &MultipathDevice,
    down: impl Fn(u8) -> String,
    up: impl Fn(u8) -> String,
) {
    under_load(runtime, device, |rounds| async move {
        for cable in [1, 2] {
            ip(&down(cable));
            until(&**runtime, "the path is down", || usable(device) == 1).await;
            progress(runtime, &rounds).await;
            let before = carried(cable, "tx");
            progress(runtime, &rounds).await;
            assert!(
                carried(cable, "tx") - before < 100_000,
                "the other one carries all"
            );
            ip(&up(cable));
            until(&**runtime, "the path is back", || usable(device) == 2).await;
            let before = carried(cable, "tx");
            until(&**runtime, "it carries its part again", || {
                carried(cable, "tx") - before > 500_000
            })
            .await;
        }
    })
    .await;
    assert!(device.snapshot().counters.failovers >= 2);
}

#[test]
fn each_nic_carries_half_of_the_bytes_to_tgtd() {
    run(Kind::Tgtd, "share", AS_DOCUMENTED);
}

#[test]
fn each_nic_carries_half_of_the_bytes_to_istgt() {
    run(Kind::Istgt, "share", AS_DOCUMENTED);
}

#[test]
fn a_nic_that_goes_down_costs_no_error_with_tgtd() {
    run(Kind::Tgtd, "pull-nics", AS_DOCUMENTED);
}

#[test]
fn a_pulled_cable_costs_no_error_with_tgtd() {
    run(Kind::Tgtd, "pull-ports", AS_DOCUMENTED);
}

#[test]
fn a_pulled_cable_costs_no_error_with_istgt() {
    run(Kind::Istgt, "pull-ports", AS_DOCUMENTED);
}

#[test]
fn a_lost_carrier_is_told_and_moves_all_io_at_once_with_tgtd() {
    run(Kind::Tgtd, "told", AS_DOCUMENTED);
}

#[test]
fn a_lost_carrier_is_told_under_smol_with_tgtd() {
    run(Kind::Tgtd, "told-smol", AS_DOCUMENTED);
}

#[test]
fn what_a_switch_swallows_is_known_to_be_lost_with_tgtd() {
    run(Kind::Tgtd, "swallowed", AS_DOCUMENTED);
}

#[test]
fn what_a_switch_swallows_is_known_to_be_lost_under_smol_with_tgtd() {
    run(Kind::Tgtd, "swallowed-smol", AS_DOCUMENTED);
}

#[test]
fn a_session_whose_address_moves_does_not_wait_for_the_carrier_of_before() {
    run(Kind::Tgtd, "moved", AS_DOCUMENTED);
}

#[test]
fn devices_that_go_and_come_back_are_known_by_their_names() {
    run(Kind::Tgtd, "seen", AS_DOCUMENTED);
}

#[test]
fn news_that_the_kernel_had_no_room_for_are_made_up_for() {
    run(Kind::Tgtd, "flooded", AS_DOCUMENTED);
}

/// Why `docs/networking.md` says what it says: each of these is one setting away from it.
#[test]
fn strict_reverse_path_filtering_keeps_the_second_nic_out() {
    let sysctls = Sysctls {
        rp_filter: 1,
        ..AS_DOCUMENTED
    };
    run(Kind::Tgtd, "one-only", sysctls);
}

#[test]
fn a_nic_that_answers_for_the_other_ones_address_takes_its_path_away() {
    let sysctls = Sysctls {
        arp_ignore: 0,
        ..AS_DOCUMENTED
    };
    run(Kind::Tgtd, "lose-one", sysctls);
}

#[test]
fn a_nic_that_asks_with_the_other_ones_address_takes_its_path_away() {
    let sysctls = Sysctls {
        arp_announce: 0,
        ..AS_DOCUMENTED
    };
    run(Kind::Tgtd, "lose-one", sysctls);
}
