//! What the kernel tells of carriers, and what comes of it; parts that run in the host's namespace of
//! [`namespaces`](crate::namespaces).

use std::{
    fs,
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use iscsi_client::{
    initiator::{Initiator, SessionTarget},
    links::{LinkDriver, LinkError, LinkMonitor},
    runtime::Runtime,
    session::SessionState,
};
use mpio::{
    MultipathBuilder, MultipathDevice,
    core::{Config, Event, SuspectCause},
};

use crate::harness::{On, TempDir, ip, progress, sleep, under_load, until, usable};

fn watch(on: On, runtime: &Arc<dyn Runtime>) -> LinkMonitor {
    let watched: Result<(LinkMonitor, LinkDriver), LinkError> = match on {
        On::Tokio => LinkMonitor::tokio(),
        On::Smol => LinkMonitor::smol(),
    };
    let (links, driver) = watched.expect("a monitor");
    runtime.spawn(Box::pin(async move {
        let error = driver.await;
        panic!("the monitor has ended: {error:?}");
    }));
    links
}

/// One whose sessions are told of carriers.
fn initiator(on: On, runtime: &Arc<dyn Runtime>, who: &str) -> Initiator {
    let name = format!("iqn.2026-01.example.initiator:{who}");
    Initiator::builder(name.parse().expect("a name"), Arc::clone(runtime))
        .links(watch(on, runtime))
        .build()
}

/// Pulls each cable under load. Silence is not looked for, so only the kernel can have told.
pub(crate) async fn told(
    runtime: &Arc<dyn Runtime>,
    on: On,
    builder: MultipathBuilder,
    switch: &str,
) {
    let initiator = initiator(on, runtime, "told");
    let never = Duration::from_secs(60);
    let config = Config::builder()
        .suspicion(never, 1, never)
        .quiet_time(Some(Duration::from_secs(1)))
        .build();
    let builder = builder.config(config.expect("within the ranges"));
    let device = builder.connect_spawned(&initiator).await;
    let device = device.unwrap_or_else(|error| panic!("{error}"));
    until(&**runtime, "both paths are up", || usable(&device) == 2).await;
    let disturbed = &device;
    under_load(runtime, disturbed, |rounds| async move {
        for cable in [1, 2] {
            pull(runtime, disturbed, |to| {
                ip(&format!("-n {switch} link set port{cable} {to}"));
            })
            .await;
            progress(runtime, &rounds).await;
        }
        for cable in [1, 2] {
            pull(runtime, disturbed, |to| {
                ip(&format!("link set nic{cable} {to}"));
            })
            .await;
            progress(runtime, &rounds).await;
        }
    })
    .await;
    device.close().await;
}

async fn pull(runtime: &Arc<dyn Runtime>, device: &MultipathDevice, cable: impl Fn(&str)) {
    // The kernel tells of a second loss within a second of the first one late.
    sleep(&**runtime, Duration::from_millis(1100)).await;
    let mut events = device.events();
    let began = runtime.now();
    cable("down");
    let cause = SuspectCause::LinkDown;
    loop {
        let event = events.next().await.expect("it is open").event;
        if matches!(event, Event::Suspect { cause: why, .. } if why == cause) {
            break;
        }
    }
    let took = runtime.now() - began;
    println!("told after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    until(&**runtime, "the other one carries all", || {
        usable(device) == 1
    })
    .await;
    sleep(&**runtime, Duration::from_secs(3)).await;
    let healed = runtime.now();
    cable("up");
    until(&**runtime, "the path is back", || usable(device) == 2).await;
    let took = runtime.now() - healed;
    println!("back after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// The address of a session moves to the other NIC while its own has no carrier: it does not wait for that one.
pub(crate) async fn moved(
    runtime: &Arc<dyn Runtime>,
    on: On,
    (target, portal): (&str, &str),
    (switch, storage): (&str, &str),
) {
    let initiator = initiator(on, runtime, "moved");
    let to = SessionTarget::new(
        target.parse().expect("a name"),
        portal.parse().expect("a portal"),
    );
    let to = to.with_bind("10.123.45.2".parse().expect("an address"));
    let session = initiator.connect_spawned(&to).await.expect("logged in");
    ip(&format!("-n {switch} link set port2 down"));
    until(&**runtime, "nic2 has no carrier", || {
        !session.status().has_carrier
    })
    .await;
    session.reconnect();
    let waits_until = || match session.state() {
        SessionState::Down { next_attempt, .. } => next_attempt,
        _ => None,
    };
    until(&**runtime, "it waits for a carrier", || {
        waits_until().is_some()
    })
    .await;
    let waits_until = waits_until().expect("nothing has changed");
    ip("address del 10.123.45.2/24 dev nic2");
    ip("address add 10.123.45.2/24 dev nic1");
    ip(&format!("-n {storage} neigh flush dev nic"));
    session.wait_up().await.expect("logged in again");
    assert!(runtime.now() < waits_until, "it has waited");
    assert!(session.status().has_carrier);
    session.close().await;
}

/// Devices come and go; and more is told than the kernel keeps for somebody who does not listen.
pub(crate) async fn seen(runtime: &Arc<dyn Runtime>, on: On, storage: &str) {
    let links = watch(on, runtime);
    let becomes = async |what: &str, device: &str, wanted: Option<bool>| {
        let what = format!("{what}: {device} {wanted:?}");
        until(&**runtime, &what, || links.has_carrier(device) == wanted).await;
    };
    let index = |device: &str| {
        let all = links.links().into_iter();
        all.filter(|link| &*link.name == device)
            .map(|link| link.index)
            .next()
    };
    becomes("listed", "nic1", Some(true)).await;
    let first = index("nic2").expect("it is there");
    ip("link set nic2 down");
    becomes("set down", "nic2", Some(false)).await;
    ip("link set nic2 name other");
    becomes("renamed", "nic2", None).await;
    becomes("renamed", "other", Some(false)).await;
    ip("link set other name nic2");
    ip("link set nic2 up");
    becomes("set up", "nic2", Some(true)).await;
    ip(&format!("link set nic2 netns {storage}"));
    becomes("moved away", "nic2", None).await;
    // Its number is taken meanwhile, so that it gets another one.
    ip(&format!("link add name taken index {first} type bridge"));
    let here = process::id();
    ip(&format!("-n {storage} link set nic2 netns {here}"));
    ip("link set nic2 up");
    becomes("moved back", "nic2", Some(true)).await;
    assert_ne!(index("nic2"), Some(first));
}

/// Makes and deletes so many devices while nobody listens that something is lost.
pub(crate) async fn flooded(runtime: &Arc<dyn Runtime>, on: On) {
    let links = watch(on, runtime);
    until(&**runtime, "listed", || {
        links.has_carrier("nic1") == Some(true)
    })
    .await;
    let dir = TempDir::new();
    let mut batch = String::new();
    for number in 0..400 {
        batch += &format!("link add bridge{number} type bridge\n");
    }
    for number in 0..390 {
        batch += &format!("link del bridge{number}\n");
    }
    batch += "link set nic1 down\n";
    let file = dir.join("batch");
    fs::write(&file, batch).expect("a file");
    // This thread is the one that would listen.
    let done = Command::new("ip").arg("-batch").arg(&file).status();
    assert!(done.expect("ip").success());
    until(&**runtime, "nic1 is down", || {
        links.has_carrier("nic1") == Some(false)
    })
    .await;
    until(&**runtime, "what is there is known", || {
        let all = links.links().into_iter();
        let bridges = all.filter(|link| link.name.starts_with("bridge"));
        bridges.count() == 10
    })
    .await;
}
