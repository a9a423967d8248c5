//! Two paths to a peer: a portal goes, or the whole target, and the caller sees no error.

use std::{net::SocketAddr, time::Duration};

use mpio::MultipathBuilder;

use crate::harness::{
    Cable, Kind, On, Peer, Setup, WORKERS, block_on, connect, lun, progress, sleep, under_load,
    until, usable,
};

each_peer!(
    one_portal_goes_and_comes_back,
    the_target_is_killed_and_restarted,
);

fn builder(peer: &Peer, portals: &[SocketAddr]) -> MultipathBuilder {
    let builder = MultipathBuilder::new(peer.target().parse().expect("a name")).lun(lun(peer));
    portals.iter().fold(builder, |builder, portal| {
        builder.portal(portal.to_string().parse().expect("a portal"))
    })
}

fn one_portal_goes_and_comes_back(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    for on in [On::Tokio, On::Smol] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let cables: Vec<_> = peer.portals().iter().map(|p| Cable::to(*p)).collect();
                let portals: Vec<_> = cables.iter().map(Cable::address).collect();
                let device = connect(&runtime, builder(peer, &portals)).await;
                under_load(&runtime, &device, |rounds| {
                    let (runtime, device, cables) = (&runtime, &device, &cables);
                    async move {
                        for cable in cables {
                            cable.cut();
                            until(&**runtime, "the path is down", || usable(device) == 1).await;
                            progress(runtime, &rounds).await;
                            cable.heal();
                            until(&**runtime, "the path is back", || usable(device) == 2).await;
                        }
                    }
                })
                .await;
                assert!(device.snapshot().counters.failovers >= 2);
                device.close().await;
            }
        });
    }
}

fn the_target_is_killed_and_restarted(kind: Kind) {
    let Some(mut peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    block_on(On::Tokio, |runtime| {
        let peer = &mut peer;
        async move {
            let portals = peer.portals().to_vec();
            let device = connect(&runtime, builder(peer, &portals)).await;
            under_load(&runtime, &device, |rounds| {
                let (runtime, device) = (&runtime, &device);
                async move {
                    peer.kill();
                    until(&**runtime, "both paths are down", || usable(device) == 0).await;
                    until(&**runtime, "the load waits", || {
                        let snapshot = device.snapshot();
                        let in_flight: u32 = snapshot.paths().map(|path| path.in_flight).sum();
                        in_flight == 0 && snapshot.unfinished as u64 == WORKERS
                    })
                    .await;
                    let before = rounds.get();
                    sleep(&**runtime, Duration::from_millis(300)).await;
                    assert_eq!(rounds.get(), before, "nothing is served by a dead target");
                    peer.restart();
                    until(&**runtime, "both paths are back", || usable(device) == 2).await;
                }
            })
            .await;
            device.close().await;
        }
    });
}

/// tgtd stops listening on a portal; its connections, which it would keep, are deleted as well. Those
/// of the other portal go with them, so for a moment there is no path at all.
#[test]
fn tgtd_takes_a_portal_away_and_gives_it_back() {
    let Some(peer) = Peer::start(Kind::Tgtd, Setup::default()) else {
        return;
    };
    let (tgtd, portal) = (peer.tgtd(), peer.portals()[1]);
    block_on(On::Smol, |runtime| {
        let peer = &peer;
        async move {
            let device = connect(&runtime, builder(peer, peer.portals())).await;
            under_load(&runtime, &device, |rounds| {
                let (runtime, device) = (&runtime, &device);
                async move {
                    tgtd.admin(&format!(
                        "--op delete --mode portal --param portal={portal}"
                    ));
                    let connections = tgtd.connections();
                    assert_eq!(connections.len(), 2, "one for each path");
                    for (sid, cid) in connections {
                        tgtd.admin(&format!(
                            "--op delete --mode conn --tid 1 --sid {sid} --cid {cid}"
                        ));
                    }
                    until(&**runtime, "both went", || {
                        device.snapshot().counters.failovers >= 1
                    })
                    .await;
                    until(&**runtime, "one is back", || usable(device) == 1).await;
                    progress(runtime, &rounds).await;
                    assert_eq!(usable(device), 1);
                    tgtd.admin(&format!("--op new --mode portal --param portal={portal}"));
                    until(&**runtime, "both are back", || usable(device) == 2).await;
                }
            })
            .await;
            device.close().await;
        }
    });
}
