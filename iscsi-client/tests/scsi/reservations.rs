//! Persistent reservations: registering, reserving, preempting, and who is told what.

use std::time::Duration;

use iscsi_client::{
    device::{BlockDeviceExt, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    session::Session,
};
use iscsi_proto::scsi::{
    Lun, PersistentReserveOut, ReservationKey, ReservationType, ReserveAction, SenseKey,
    TransportId,
};
use iscsi_testkit::{
    sim::Link,
    target::{Answer, LunConfig, WriteHold},
};

use crate::support::{PORTALS, SIZE, World};

const ONE: ReservationKey = ReservationKey(0x1111);
const TWO: ReservationKey = ReservationKey(0x2222);
const NONE: ReservationKey = ReservationKey::NONE;
const WRITERS: ReservationType = ReservationType::WriteExclusiveRegistrantsOnly;
const OUT: u8 = 0x5f;

async fn two(world: &World) -> [LogicalUnit; 2] {
    let other = async {
        let session = world.session(1).await;
        LogicalUnit::open(session, Lun::ZERO).await.unwrap()
    };
    [world.open().await, other.await]
}

async fn keys(unit: &LogicalUnit) -> Vec<u64> {
    let keys = unit.reservation_keys(None).await.unwrap();
    assert!(!keys.truncated);
    keys.keys.into_iter().map(|key| key.0).collect()
}

async fn write(unit: &LogicalUnit) -> Result<(), Error> {
    let block = vec![1_u8; 512];
    unit.write(0, bytes::Bytes::from(block).into(), WriteOptions::default())
        .await
        .result
}

#[track_caller]
fn conflict(result: Result<(), Error>) {
    let error = result.expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::ReservationConflict, "{error}");
    assert_eq!(
        (error.outcome(), error.retry()),
        (Outcome::NotExecuted, Retry::Never)
    );
}

#[test]
fn a_nexus_registers_and_is_known_by_its_name() {
    let world = World::with_disk();
    world.run(async {
        let [one, two] = two(&world).await;
        assert_eq!(keys(&one).await, []);
        conflict(one.register(TWO, ONE, None).await);
        one.register(NONE, ONE, None).await.unwrap();
        two.register_and_ignore_existing_key(ONE, None)
            .await
            .unwrap();
        two.register_and_ignore_existing_key(TWO, None)
            .await
            .unwrap();
        assert_eq!(keys(&one).await, [ONE.0, TWO.0]);
        let status = two.registrations(None).await.unwrap();
        let port = |session: &Session| {
            TransportId::Port("iqn.2026-01.example:host".into(), session.isid())
        };
        let found: Vec<_> = status
            .registrations
            .iter()
            .map(|r| (r.key, r.relative_target_port, r.transport_id.clone()))
            .collect();
        assert_eq!(
            found,
            [(ONE, 1, port(one.session())), (TWO, 2, port(two.session()))]
        );
        one.register(ONE, NONE, None).await.unwrap();
        assert_eq!(keys(&two).await, [TWO.0]);
        let generation = two.reservation_keys(None).await.unwrap().generation;
        assert_eq!(generation, 4, "each that was done counts");
    });
}

#[test]
fn a_reservation_keeps_others_out_until_it_is_released() {
    let world = World::with_disk();
    world.run(async {
        let [one, two] = two(&world).await;
        assert_eq!(one.reservation(None).await.unwrap().held, None);
        conflict(one.reserve(ONE, WRITERS, None).await);
        one.register(NONE, ONE, None).await.unwrap();
        one.reserve(ONE, WRITERS, None).await.unwrap();
        one.reserve(ONE, WRITERS, None).await.unwrap();
        let held = two.reservation(None).await.unwrap().held;
        assert_eq!(held, Some((ONE, WRITERS)));
        conflict(write(&two).await);
        two.read_bytes(0, 512).await.unwrap();
        two.register(NONE, TWO, None).await.unwrap();
        write(&two).await.unwrap();
        conflict(two.reserve(TWO, WRITERS, None).await);
        let wrong = ReservationType::ExclusiveAccess;
        let error = one.release(ONE, wrong, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let seen = two.events(0).len() as u64;
        one.release(ONE, WRITERS, None).await.unwrap();
        assert_eq!(one.reservation(None).await.unwrap().held, None);
        // RESERVATIONS RELEASED, and the command that found it was repeated.
        two.test_unit_ready(None).await.unwrap();
        assert_eq!(two.events(seen).len(), 1);
        one.clear_reservations(ONE, None).await.unwrap();
        assert_eq!(keys(&two).await, []);
    });
}

#[test]
fn a_preempted_nexus_is_unregistered_and_told() {
    let world = World::with_disk();
    world.run(async {
        let [one, two] = two(&world).await;
        one.register(NONE, ONE, None).await.unwrap();
        one.reserve(ONE, WRITERS, None).await.unwrap();
        conflict(two.preempt(TWO, ONE, WRITERS, None).await);
        two.register(NONE, TWO, None).await.unwrap();
        let nobody = ReservationKey(9);
        conflict(two.preempt(TWO, nobody, WRITERS, None).await);
        two.preempt(TWO, ONE, WRITERS, None).await.unwrap();
        assert_eq!(keys(&two).await, [TWO.0]);
        let held = two.reservation(None).await.unwrap().held;
        assert_eq!(held, Some((TWO, WRITERS)));
        // The first write finds the unit attention, the second the reservation.
        let error = write(&one).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReservationConflict);
        let sense = error.sense().expect("REGISTRATIONS PREEMPTED");
        assert_eq!(sense.key(), SenseKey::UnitAttention);
        assert_eq!((sense.code().0, sense.code().1), (0x2a, 0x05));
        conflict(write(&one).await);
        // An order that finds one is repeated: it was not executed.
        one.register(NONE, ONE, None).await.unwrap();
        two.preempt(TWO, ONE, WRITERS, None).await.unwrap();
        one.register(NONE, ONE, None).await.unwrap();
        assert_eq!(keys(&one).await, [TWO.0, ONE.0]);
    });
}

#[test]
fn an_aborted_write_of_a_preempted_nexus_never_lands() {
    for abort in [true, false] {
        let world = World::with_disk();
        world.run(async {
            let [one, two] = two(&world).await;
            one.register(NONE, ONE, None).await.unwrap();
            two.register(NONE, TWO, None).await.unwrap();
            let time = Duration::from_secs(2);
            world.core().hold_writes(WriteHold::new(1000, time, time));
            let mut held = Box::pin(write(&one));
            let moment = Box::pin(world.sim.sleep(Duration::from_millis(100)));
            _ = futures_util::future::select(&mut held, moment).await;
            if abort {
                two.preempt_and_abort(TWO, ONE, WRITERS, None)
                    .await
                    .unwrap();
            } else {
                two.preempt(TWO, ONE, WRITERS, None).await.unwrap();
            }
            world.sim.sleep(2 * time).await;
            let mut block = [0; 512];
            world.core().peek(0, 0, &mut block);
            assert_eq!(block == [1; 512], !abort);
            assert_eq!(two.reservation(None).await.unwrap().held, None, "none was");
        });
    }
}

#[test]
fn an_order_whose_outcome_is_unknown_is_not_repeated_and_the_keys_tell() {
    let world = World::with_disk();
    world.run(async {
        let [one, two] = two(&world).await;
        let portal = Link::to(PORTALS[0].parse().unwrap());
        // It is carried out, and its answer is lost.
        world.core().answer(0, &[OUT], Answer::Unanswered, 1);
        let before = world.core().counters(0).commands;
        let loss = async {
            world.sim.sleep(Duration::from_millis(50)).await;
            world.sim.net().reset(portal);
        };
        let (order, ()) = futures_util::future::join(one.register(NONE, ONE, None), loss).await;
        let error = order.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(world.core().counters(0).commands, before + 1);
        assert_eq!(keys(&two).await, [ONE.0]);
        one.session().wait_up().await.unwrap();
        // A registration is the nexus's, so the new session has it.
        one.reserve(ONE, WRITERS, None).await.unwrap();
    });
}

#[test]
fn a_long_list_is_asked_for_again() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let list: Vec<u8> = (1..=400_u64).flat_map(u64::to_be_bytes).collect();
        let mut data = vec![0, 0, 0, 1];
        data.extend((list.len() as u32).to_be_bytes());
        data.extend(&list);
        world.core().answer(0, &[0x5e], Answer::Data(data), 2);
        assert_eq!(keys(&unit).await.len(), 400);
        let short = Answer::Data(vec![0; 7]);
        world.core().answer(0, &[0x5e], short, u32::MAX);
        let error = unit.reservation_keys(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    });
}

/// As older versions of LIO do: the length is that of what was sent, and nothing says that there is more.
#[test]
fn a_list_that_fills_its_room_is_asked_for_again() {
    let list = |keys: u32| {
        let mut data = vec![0, 0, 0, 1];
        data.extend_from_slice(&(keys * 8).to_be_bytes());
        (0..u64::from(keys)).for_each(|key| data.extend_from_slice(&key.to_be_bytes()));
        Answer::Data(data)
    };
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        world.core().answer(0, &[0x5e, 0x00], list(127), 1);
        world.core().answer(0, &[0x5e], list(300), 1);
        assert_eq!(keys(&unit).await.len(), 300);
        world.core().answer(0, &[0x5e], list(126), 1);
        assert_eq!(keys(&unit).await.len(), 126);
        // More than can be asked for.
        world.core().answer(0, &[0x5e], list(8190), 2);
        assert!(unit.reservation_keys(None).await.unwrap().truncated);
    });
}

#[test]
fn capabilities_are_told_and_options_that_are_not_there_refused() {
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let capabilities = unit.reservation_capabilities(None).await.unwrap();
        assert_eq!(capabilities.allows(WRITERS), Some(true));
        assert!(!capabilities.persist_through_power_loss_capable);
        let order = PersistentReserveOut {
            action: ReserveAction::Register,
            kind: None,
            key: NONE,
            action_key: ONE,
            persist_through_power_loss: true,
        };
        let error = unit.persistent_reserve_out(&order, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(keys(&unit).await, []);
    });
}

#[test]
fn another_unit_than_the_one_that_was_opened_gets_no_order() {
    let world = World::new(|config| config.with_lun(LunConfig::new(0, SIZE)));
    world.run(async {
        let session = world.session(0).await;
        let options = LogicalUnitOptions::default().fail_fast();
        let unit = LogicalUnit::open_with(session, Lun::ZERO, options);
        let unit = unit.await.unwrap();
        world.core().remap(0, [7; 16], "another");
        let error = unit.register(NONE, ONE, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongUnit, "{error}");
        assert_eq!(keys(&unit).await, []);
    });
}
