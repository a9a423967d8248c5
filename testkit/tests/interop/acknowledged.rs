//! What the kernel says of the bytes of a silent path: a switch that swallows them, and a target that is stopped.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use iscsi_client::{device::BlockDeviceExt, runtime::Runtime};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, Delivery, Event, PathSelector},
};

use crate::harness::{
    Kind, On, Peer, Setup, block_on, connect, connect_with, ip, lun, progress, quick, under_load,
    until, usable,
};

async fn delivery(device: &MultipathDevice, cause: impl FnOnce()) -> Delivery {
    let mut events = device.events();
    cause();
    loop {
        let event = events.next().await.expect("it is open").event;
        if let Event::Delivery { delivery, .. } = event {
            return delivery;
        }
    }
}

/// The part in the host's namespace of [`namespaces`](crate::namespaces): the NICs keep their carriers, and the switch
/// forwards nothing from one of them.
pub(crate) async fn swallowed(runtime: &Arc<dyn Runtime>, builder: MultipathBuilder, switch: &str) {
    let turns: Config = quick()
        .path_selector(PathSelector::RoundRobin)
        .build()
        .expect("within the ranges");
    let device = connect_with(runtime, builder, turns.to_builder()).await;
    let disturbed = &device;
    under_load(runtime, disturbed, |rounds| async move {
        for cable in [1, 2] {
            let cut = || drop(ip(&format!("-n {switch} link set port{cable} nomaster")));
            let said = delivery(disturbed, cut).await;
            assert_eq!(said, Delivery::Unacknowledged, "nic{cable}");
            progress(runtime, &rounds).await;
            assert_eq!(usable(disturbed), 1);
            ip(&format!("-n {switch} link set port{cable} master switch"));
            until(&**runtime, "the path is back", || usable(disturbed) == 2).await;
        }
    })
    .await;
    device.close().await;
}

/// A process that does nothing has a kernel that does: no session is lost.
#[test]
fn a_target_that_is_stopped_acknowledges_and_keeps_its_sessions() {
    let Some(mut peer) = Peer::start(Kind::Tgtd, Setup::default()) else {
        return;
    };
    for on in [On::Tokio, On::Smol] {
        block_on(on, |runtime| {
            let peer = &mut peer;
            async move {
                let builder = MultipathBuilder::new(peer.target().parse().expect("a name"));
                let portals = peer.portals().to_vec();
                let builder = portals
                    .into_iter()
                    .fold(builder.lun(lun(peer)), |builder, portal| {
                        builder.portal(portal.to_string().parse().expect("a portal"))
                    });
                let device = connect(&runtime, builder).await;
                let read = |at: u64| device.read_bytes(at << 12, 4096);
                join_all((0..8).map(read)).await;
                peer.freeze();
                let mut reads = Box::pin(join_all((0..8).map(read)));
                assert!(reads.as_mut().now_or_never().is_none());
                assert_eq!(delivery(&device, || ()).await, Delivery::Acknowledged);
                // Longer than it would have had with a witness.
                crate::harness::sleep(&*runtime, Duration::from_millis(1000)).await;
                peer.thaw();
                for done in reads.await {
                    done.expect("answered at last");
                }
                until(&*runtime, "both are back", || usable(&device) == 2).await;
                let downs = device.snapshot();
                let downs: u64 = downs.paths().map(|path| path.counters.downs).sum();
                assert_eq!(downs, 0);
                device.close().await;
            }
        });
    }
}
