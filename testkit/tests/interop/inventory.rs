//! From portals to disks: what is there, and what comes and goes while sessions are open.

use std::{fs, net::SocketAddr};

use iscsi_client::device::BlockDeviceExt;
use mpio::inventory::{Inventory, InventoryBuilder};

use crate::harness::{Kind, On, Peer, Setup, block_on, initiator, until};

each_peer!(two_local_ends_and_two_portals_are_four_paths_to_one_disk);

/// Both portals are asked, since tgtd tells only of the one that is; from two addresses of the loopback.
fn builder(portals: &[SocketAddr]) -> InventoryBuilder {
    let builder = Inventory::builder()
        .bind("127.0.0.1".parse().expect("an address"))
        .bind("127.0.0.9".parse().expect("an address"));
    portals.iter().fold(builder, |builder, portal| {
        builder.discover(portal.to_string().parse().expect("a portal"))
    })
}

fn paths(inventory: &Inventory) -> Vec<usize> {
    let devices = inventory.devices();
    let paths = devices.iter().map(|d| d.snapshot().paths().count());
    paths.collect()
}

fn two_local_ends_and_two_portals_are_four_paths_to_one_disk(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    for on in [On::Tokio, On::Smol] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let initiator = initiator(&runtime);
                let builder = builder(peer.portals());
                let inventory = builder.open_spawned(&initiator).expect("somebody to ask");
                inventory.scanned().await;
                assert_eq!(paths(&inventory), [4], "{}", inventory.snapshot());
                let disk = &inventory.devices()[0];
                assert_eq!(disk.info().size, Setup::default().size);
                disk.write_at(4096, &[7; 4096]).await.expect("written");
                let block = disk.read_bytes(4096, 4096).await.expect("read");
                assert!(block.iter().all(|byte| *byte == 7));
                inventory.close().await;
                assert!(initiator.sessions().is_empty());
            }
        });
    }
}

#[test]
fn tgtd_gets_another_disk_and_another_target_and_loses_them() {
    let Some(peer) = Peer::start(Kind::Tgtd, Setup::default()) else {
        return;
    };
    let tgtd = peer.tgtd();
    let file = peer.backing().with_extension("second");
    let made = fs::File::create(&file).and_then(|file| file.set_len(1 << 20));
    made.expect("a backing file");
    let unit = |op: &str, target: u8| {
        let new = match op {
            "new" => format!(" --bstype rdwr -b {}", file.display()),
            _ => String::new(),
        };
        tgtd.admin(&format!(
            "--op {op} --mode logicalunit --tid {target} --lun 2{new}"
        ));
    };
    block_on(On::Tokio, |runtime| {
        let peer = &peer;
        async move {
            let builder = builder(peer.portals()).rescan_interval(None);
            let inventory = builder.open_spawned(&initiator(&runtime));
            let inventory = inventory.expect("somebody to ask");
            inventory.scanned().await;
            assert_eq!(paths(&inventory), [4]);
            unit("new", 1);
            inventory.rescan().await;
            assert_eq!(paths(&inventory), [4, 4], "{}", inventory.snapshot());
            tgtd.admin(&format!(
                "--op new --mode target --tid 2 -T {}-second",
                peer.target()
            ));
            tgtd.admin("--op bind --mode target --tid 2 -I ALL");
            unit("new", 2);
            inventory.rescan().await;
            assert_eq!(paths(&inventory), [4, 4, 4], "{}", inventory.snapshot());
            unit("delete", 1);
            inventory.rescan().await;
            let mut left = paths(&inventory);
            left.sort_unstable();
            until(&*runtime, "the paths are gone", || {
                left = paths(&inventory);
                left.sort_unstable();
                left == [0, 4, 4]
            })
            .await;
            inventory.close().await;
        }
    });
}
