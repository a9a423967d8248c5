//! A spare takes over from a path whose connection the target ends: tgtd has logins wait for two seconds (Time2Wait).

use std::{sync::Arc, time::Duration};

use iscsi_client::runtime::Runtime;
use mpio::{
    MultipathBuilder, MultipathDevice, Spares,
    core::{Event, PathSnapshot, SpareState},
};

use crate::harness::{
    Kind, On, Peer, Setup, block_on, connect, lun, progress, under_load, until, usable,
};

/// DefaultTime2Wait, which tgtd declares.
const TIME_TO_WAIT: Duration = Duration::from_secs(2);

fn named(device: &MultipathDevice, name: &str) -> PathSnapshot {
    let snapshot = device.snapshot();
    snapshot.path_named(name).expect(name).clone()
}

#[test]
fn a_path_whose_connection_tgtd_ends_is_not_missed() {
    one_is_ended(Spares::Warm, 4);
}

#[test]
fn a_path_that_tgtd_has_wait_is_not_missed() {
    one_is_ended(Spares::OnDemand, 2);
}

/// With so many sessions as long as all is well.
fn one_is_ended(spares: Spares, sessions: usize) {
    let Some(peer) = Peer::start(Kind::Tgtd, Setup::default()) else {
        return;
    };
    for on in [On::Tokio, On::Smol] {
        block_on(on, |runtime| {
            let peer = &peer;
            async move {
                let target = peer.target().parse().expect("a name");
                let builder = MultipathBuilder::new(target).lun(lun(peer)).spares(spares);
                let builder = peer.portals().iter().fold(builder, |builder, portal| {
                    builder.portal(portal.to_string().parse().expect("a portal"))
                });
                let device = connect(&runtime, builder).await;
                until(&*runtime, "all are there", || usable(&device) == sessions).await;
                under_load(&runtime, &device, |rounds| {
                    let (runtime, device) = (&runtime, &device);
                    async move {
                        let snapshot = device.snapshot();
                        let mut names = snapshot.paths().map(|path| &path.name);
                        let name = names.find(|name| !name.ends_with(" spare"));
                        let name = Arc::clone(name.expect("two are none"));
                        end_connection(peer, device, (&name, sessions), &**runtime).await;
                        progress(runtime, &rounds).await;
                    }
                })
                .await;
                device.close().await;
            }
        });
    }
}

/// Has tgtd end the connection of a path, and sees that its spare carries I/O long before it may log in again.
async fn end_connection(
    peer: &Peer,
    device: &MultipathDevice,
    (name, sessions): (&str, usize),
    runtime: &dyn Runtime,
) {
    let spare = format!("{name} spare");
    let lost = named(device, name);
    let session = device.path(lost.id).expect("a path").session().clone();
    // tgtd calls its sessions by it, and sends it as its host has it in memory.
    let tsih = u32::from(u16::from_be(session.login().tsih.0));
    let mut events = device.events();
    let before = device.snapshot();
    let before = before.path_named(&spare).map(|spare| spare.counters);
    let before = before.unwrap_or_default();
    let tgtd = peer.tgtd();
    let connections = tgtd.connections();
    assert_eq!(connections.len(), sessions);
    let its = connections.iter().find(|(sid, _)| *sid == tsih);
    let (sid, cid) = its.unwrap_or_else(|| panic!("{tsih} is none of {connections:?}"));
    let begun = runtime.now();
    tgtd.admin(&format!(
        "--op delete --mode conn --tid 1 --sid {sid} --cid {cid}"
    ));
    loop {
        let event = events.next().await.expect("the device is open").event;
        if matches!(event, Event::SpareInUse { instead_of, .. } if instead_of == lost.id) {
            break;
        }
    }
    until(runtime, "the spare carries I/O", || {
        named(device, &spare).counters.ios >= before.ios + 20
    })
    .await;
    let took = runtime.now() - begun;
    assert!(took < TIME_TO_WAIT / 2, "{took:?}");
    assert!(!named(device, name).is_usable(), "it has to wait");
    until(runtime, "the path is back", || {
        named(device, name).is_usable()
    })
    .await;
    assert!(runtime.now() - begun >= TIME_TO_WAIT);
    assert_eq!(
        named(device, &spare).counters.takeovers,
        before.takeovers + 1
    );
    assert_eq!(named(device, &spare).spare, Some(SpareState::StandsBy));
}
