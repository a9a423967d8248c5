//! Persistent reservations with targets of others.

use std::{future::Future, sync::Arc};

use iscsi_client::{
    device::{BlockDeviceExt, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::SessionOptions,
};
use iscsi_proto::scsi::{ReservationKey, ReservationType, TransportId};

use mpio::{MultipathBuilder, core::Registration};

use crate::harness::{
    Cable, Kind, On, Peer, Setup, block_on, connect, lun, open, sleep, until, usable,
};

each_peer!(
    a_nexus_registers_and_reserves,
    a_device_registers_all_its_paths,
);

const ONE: ReservationKey = ReservationKey(0x1111);
const TWO: ReservationKey = ReservationKey(0x2222);
const NONE: ReservationKey = ReservationKey::NONE;
const WRITERS: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;

/// Two initiators, a portal each.
fn with_two<F: Future<Output = ()>>(
    kind: Kind,
    test: impl Fn(LogicalUnit, LogicalUnit) -> F + Copy,
) {
    for on in [On::Tokio, On::Smol] {
        let Some(peer) = Peer::start(kind, Setup::default()) else {
            return;
        };
        block_on(on, |runtime: Arc<dyn Runtime>| {
            let peer = &peer;
            async move {
                let options = SessionOptions::default;
                let (first, one) = open(&runtime, peer, 0, options()).await;
                let (second, two) = open(&runtime, peer, 1, options()).await;
                test(one, two).await;
                first.close().await;
                second.close().await;
            }
        });
    }
}

async fn keys(unit: &LogicalUnit) -> Vec<u64> {
    let keys = unit.reservation_keys(None).await.expect("READ KEYS");
    let mut keys: Vec<_> = keys.keys.into_iter().map(|key| key.0).collect();
    keys.sort_unstable();
    keys
}

async fn write(unit: &LogicalUnit) -> Result<(), Error> {
    let block = bytes::Bytes::from(vec![1_u8; 512]);
    let options = WriteOptions::default();
    unit.write(0, block.into(), options).await.result
}

#[track_caller]
fn conflict(result: Result<(), Error>) {
    let error = result.expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::ReservationConflict, "{error}");
}

fn a_nexus_registers_and_reserves(kind: Kind) {
    with_two(kind, async |one, two| {
        assert_eq!(keys(&one).await, []);
        conflict(one.reserve(ONE, WRITERS, None).await);
        one.register(NONE, ONE, None).await.expect("REGISTER");
        conflict(one.register(TWO, ONE, None).await);
        assert_eq!(keys(&two).await, [ONE.0]);
        one.reserve(ONE, WRITERS, None).await.expect("RESERVE");
        let held = two.reservation(None).await.expect("READ RESERVATION").held;
        assert_eq!(held, Some((ONE, WRITERS)));
        write(&one).await.expect("the holder");
        conflict(write(&two).await);
        two.read_bytes(0, 512).await.expect("anybody reads");
        two.register_and_ignore_existing_key(TWO, None)
            .await
            .expect("REGISTER AND IGNORE EXISTING KEY");
        write(&two).await.expect("a registrant");
        conflict(two.reserve(TWO, WRITERS, None).await);
        match one.registrations(None).await {
            Ok(status) => {
                let mut found = status.registrations.iter();
                let found = found.find(|found| found.key == ONE).expect("its own");
                let isid = one.session().isid();
                let name = one.session().initiator_name().as_str().into();
                match &found.transport_id {
                    // Text where the standard wants a header and text.
                    TransportId::Other(_) => assert_eq!(kind, Kind::Istgt),
                    id => assert_eq!(*id, TransportId::Port(name, isid)),
                }
                assert_eq!(found.holds, Some(WRITERS));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        }
        let capabilities = one.reservation_capabilities(None).await;
        println!("{kind:?}: {capabilities:?}");
        one.release(ONE, WRITERS, None).await.expect("RELEASE");
        let held = one.reservation(None).await.expect("READ RESERVATION").held;
        assert_eq!(held, None);
        two.register(TWO, NONE, None).await.expect("unregisters");
        one.clear_reservations(ONE, None).await.expect("CLEAR");
        assert_eq!(keys(&one).await, []);
    });
}

#[test]
fn a_nexus_is_preempted_with_tgtd() {
    with_two(Kind::Tgtd, async |one, two| {
        one.register(NONE, ONE, None).await.expect("REGISTER");
        two.register(NONE, TWO, None).await.expect("REGISTER");
        // Without a reservation it takes away the registration, and nothing else.
        two.preempt(TWO, ONE, WRITERS, None).await.expect("PREEMPT");
        assert_eq!(keys(&two).await, [TWO.0]);
        assert_eq!(two.reservation(None).await.expect("none").held, None);
        conflict(two.preempt(TWO, ONE, WRITERS, None).await);
        one.register(NONE, ONE, None).await.expect("REGISTER again");
        one.reserve(ONE, WRITERS, None).await.expect("RESERVE");
        // With one it takes that too.
        two.preempt(TWO, ONE, WRITERS, None).await.expect("PREEMPT");
        let held = two.reservation(None).await.expect("READ RESERVATION").held;
        assert_eq!(held, Some((TWO, WRITERS)));
        conflict(write(&one).await);
        write(&two).await.expect("the holder");
    });
}

/// It says so, and so is not believed to have done it.
#[test]
fn tgtd_refuses_preempt_and_abort() {
    with_two(Kind::Tgtd, async |one, two| {
        one.register(NONE, ONE, None).await.expect("REGISTER");
        two.register(NONE, TWO, None).await.expect("REGISTER");
        let order = two.preempt_and_abort(TWO, ONE, WRITERS, None).await;
        let error = order.expect_err("it does not know it");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(keys(&two).await, [ONE.0, TWO.0]);
    });
}

/// Why GOOD alone proves nothing to a multipath device, which asks for the keys as well.
#[test]
fn istgt_ends_preempt_and_abort_in_good_and_unregisters_the_wrong_nexus() {
    with_two(Kind::Istgt, async |one, two| {
        one.register(NONE, ONE, None).await.expect("REGISTER");
        two.register(NONE, TWO, None).await.expect("REGISTER");
        let order = two.preempt_and_abort(TWO, ONE, WRITERS, None).await;
        order.expect("it says that it is done");
        assert_eq!(keys(&two).await, [ONE.0]);
    });
}

/// A path goes and comes back: it is registered before it is used, as a nexus that a target forgets with its session too.
fn a_device_registers_all_its_paths(kind: Kind) {
    let Some(peer) = Peer::start(kind, Setup::default()) else {
        return;
    };
    block_on(On::Tokio, |runtime: Arc<dyn Runtime>| {
        let peer = &peer;
        async move {
            let cables: Vec<_> = peer.portals().iter().map(|p| Cable::to(*p)).collect();
            let builder = MultipathBuilder::new(peer.target().parse().expect("a name"));
            let builder = cables
                .iter()
                .fold(builder.lun(lun(peer)), |builder, cable| {
                    builder.portal(cable.address().to_string().parse().expect("a portal"))
                });
            let device = connect(&runtime, builder).await;
            let (session, other) = open(&runtime, peer, 0, SessionOptions::default()).await;
            let result = device.register(ONE).await.expect("REGISTER");
            assert!(result.is_complete(), "{result}");
            assert_eq!(keys(&other).await, [ONE.0, ONE.0]);
            device.reserve(WRITERS).await.expect("RESERVE");
            device.reserve(WRITERS).await.expect("RESERVE again");
            let write = async || {
                for _ in 0..4 {
                    let block = bytes::Bytes::from(vec![1_u8; 512]);
                    device
                        .write_bytes(0, block)
                        .await
                        .expect("it is registered");
                }
            };
            write().await;
            conflict(self::write(&other).await);
            for cable in &cables {
                cable.cut();
                until(&*runtime, "the path is down", || usable(&device) == 1).await;
                write().await;
                cable.heal();
                until(&*runtime, "the path is back", || usable(&device) == 2).await;
                write().await;
            }
            device.release(WRITERS).await.expect("RELEASE");
            let held = device.reservation().await.expect("READ RESERVATION").held;
            assert_eq!(held, None);
            if kind == Kind::Tgtd {
                other.register(NONE, TWO, None).await.expect("REGISTER");
                other
                    .preempt(TWO, ONE, WRITERS, None)
                    .await
                    .expect("PREEMPT");
                until(&*runtime, "it is noticed", || {
                    device.snapshot().registration == Registration::Lost
                })
                .await;
                sleep(&*runtime, std::time::Duration::from_secs(2)).await;
                assert_eq!(keys(&other).await, [TWO.0], "nothing is registered again");
            }
            device.unregister().await.expect("unregisters");
            device.close().await;
            session.close().await;
        }
    });
}
