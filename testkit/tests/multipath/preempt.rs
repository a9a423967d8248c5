//! PREEMPT AND ABORT with a key per path, over real sessions with a target whose logins are no barrier.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join;
use iscsi_client::{
    device::BlockDeviceExt,
    initiator::{Initiator, SessionTarget},
    isid::SessionSlot,
    logical_unit::LogicalUnit,
    runtime::Runtime,
};
use iscsi_proto::scsi::{Lun, ReservationKey, ReservationType};
use iscsi_testkit::target::{Answer, Redirect, Reinstatement, WriteHold};
use mpio::{
    EventReader, MultipathDevice,
    core::{
        Config, ConfigBuilder, Event, FenceRung, FencedBy, KeyRefusal, PathAttributes,
        PathGroupingPolicy, PathKeys, PreemptAndAbort, RungStep, SkipReason, WriterMode,
    },
};

use crate::support::{TARGET, World, paths, portal, read, stamp};

const SECOND: Duration = Duration::from_secs(1);
const HELD: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_millis(200);
const FAMILY: u16 = 0x4d50;
/// PERSISTENT RESERVE OUT, PREEMPT AND ABORT.
const ORDER: [u8; 2] = [0x5f, 0x05];
/// PERSISTENT RESERVE IN, READ KEYS.
const READ_KEYS: [u8; 2] = [0x5e, 0x00];
const FOREIGN: ReservationKey = ReservationKey(0x1234);

fn config() -> ConfigBuilder {
    Config::builder()
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .quiet_time(Some(QUIET))
        .preempt_and_abort(Some(PreemptAndAbort {
            keys: PathKeys::new(FAMILY, 1).unwrap(),
            drain: DRAIN,
        }))
}

struct Story {
    world: World,
    /// Another host, which looks at the unit.
    other: LogicalUnit,
    device: MultipathDevice,
    reader: EventReader<LogicalUnit>,
}

impl Story {
    fn new(seed: u64, config: ConfigBuilder, foreign: Option<ReservationKey>) -> Self {
        let world = World::new(seed);
        world
            .target
            .core()
            .set_reinstatement(Reinstatement::Ignores);
        let other = world.sim.block_on(look(&world));
        if let Some(key) = foreign {
            let order = other.register(ReservationKey::NONE, key, None);
            world.sim.block_on(order).unwrap();
        }
        let device = world.open(config.build().unwrap());
        let mut reader = device.events();
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
        });
        while reader.try_next().is_some() {}
        Self {
            reader: device.events(),
            world,
            other,
            device,
        }
    }

    fn hold(&self, time: Duration) {
        let per_mille = if time.is_zero() { 0 } else { 1000 };
        let hold = WriteHold::new(per_mille, time, time);
        self.world.target.core().hold_writes(hold);
    }

    /// Writes block 0 through path 0, which is lost while the target has the write; and whether it stays
    /// away.
    async fn lose_a_write(&self, away: bool) {
        self.hold(HELD);
        let write = self.device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let loss = async {
            self.world.sim.sleep(Duration::from_millis(20)).await;
            self.hold(Duration::ZERO);
            let net = self.world.sim.net();
            if away {
                net.refuse(World::link(0));
            }
            net.reset(World::link(0));
        };
        join(write, loss).await.0.expect("repeated elsewhere");
    }

    /// Writes block 0 again, and says how long that took.
    async fn write_again(&self) -> Duration {
        let begin = self.world.sim.elapsed();
        let write = self.device.write_bytes(0, Bytes::from(stamp(1, 2)));
        write.await.expect("a path is there");
        self.world.sim.elapsed() - begin
    }

    /// That the second write stands, whatever the back end still does.
    async fn stands(&self) {
        self.world.sim.sleep(3 * HELD).await;
        assert!(read(&self.device, 0).await.unwrap() == stamp(1, 2));
    }

    async fn keys(&self) -> Vec<u64> {
        let keys = self.other.reservation_keys(None).await.unwrap().keys;
        keys.into_iter().map(|key| key.0).collect()
    }

    fn counted(&self) -> (u64, u64, u64) {
        let counters = self.device.snapshot().counters.fence;
        let of = counters.of(FenceRung::PreemptAndAbort);
        (of.done, of.failed, of.skipped)
    }

    fn events(&mut self) -> Vec<Event> {
        let reader = &mut self.reader;
        std::iter::from_fn(|| reader.try_next())
            .map(|event| event.event)
            .collect()
    }

    fn late(&self) -> u64 {
        self.world.target.core().late_writes()
    }
}

async fn look(world: &World) -> LogicalUnit {
    let name = "iqn.2026-01.example:other".parse().unwrap();
    let host = Initiator::builder(name, Arc::new(world.sim.handle())).build();
    let to = SessionTarget::new(TARGET.parse().unwrap(), portal(1).into());
    let session = host.connect_spawned(&to).await.unwrap();
    LogicalUnit::open(session, Lun::ZERO).await.unwrap()
}

fn by(device: &MultipathDevice, events: &[Event]) -> Option<FencedBy> {
    let lost = paths(device)[0].id;
    events.iter().find_map(|event| match *event {
        Event::FenceDone { path, by } if path == lost => Some(by),
        _ => None,
    })
}

fn skips(events: &[Event]) -> Vec<SkipReason> {
    let skip = |event: &Event| match *event {
        Event::FenceStep {
            rung: FenceRung::PreemptAndAbort,
            step: RungStep::Skipped(why),
            ..
        } => Some(why),
        _ => None,
    };
    events.iter().filter_map(skip).collect()
}

#[test]
fn a_ghost_is_killed_by_the_key_of_its_path() {
    for (seed, away) in [(1, true), (2, false)] {
        let mut story = Story::new(seed, config(), None);
        let sim = story.world.sim.handle();
        story.world.sim.block_on(async {
            let keys = story.keys().await;
            assert_eq!(keys.len(), 2);
            assert!(keys.iter().all(|key| key >> 32 == 0x4d50_0001), "{keys:x?}");
            story.lose_a_write(away).await;
            let took = story.write_again().await;
            assert!(took < SECOND, "away {away}: {took:?}");
            assert_eq!(story.late(), 0);
            story.stands().await;
            assert_eq!(story.late(), 0, "it never lands");
            let left = story.keys().await.len();
            assert_eq!(left, if away { 1 } else { 2 });
            story.world.sim.net().heal_all();
            assert!(story.world.all_usable(&story.device).await);
            let again = story.keys().await;
            assert_eq!(again.len(), 2);
            assert!(keys.iter().all(|key| again.contains(key)), "the same ones");
            sim.sleep(SECOND).await;
        });
        assert_eq!(story.counted(), (1, 0, 0));
        let events = story.events();
        assert_eq!(by(&story.device, &events), Some(FencedBy::Preempted));
        story.world.end(story.device);
    }
}

/// What others write there is not to be overwritten by the repetition: it waits for the order.
#[test]
fn with_several_writers_the_repetition_waits_for_the_order() {
    let story = Story::new(3, config().writer_mode(WriterMode::Shared), None);
    story.world.sim.block_on(async {
        let begin = story.world.sim.elapsed();
        story.lose_a_write(true).await;
        let took = story.world.sim.elapsed() - begin;
        assert!(took >= DRAIN && took < SECOND, "{took:?}");
        story.write_again().await;
        story.stands().await;
    });
    assert_eq!((story.counted(), story.late()), ((1, 0, 0), 0));
    story.world.end(story.device);
}

#[test]
fn a_target_that_refuses_has_proven_nothing() {
    let refusals = [
        Answer::Status(0x18),
        Answer::Sense(0x05, 0x24, 0x00),
        Answer::Sense(0x05, 0x26, 0x00),
        Answer::Sense(0x0b, 0x00, 0x00),
    ];
    for (seed, answer) in (4..).zip(refusals) {
        let mut story = Story::new(seed, config(), None);
        story.world.sim.block_on(async {
            let core = story.world.target.core();
            core.answer(0, &ORDER, answer.clone(), u32::MAX);
            story.lose_a_write(true).await;
            let took = story.write_again().await;
            assert!(took > QUIET - SECOND, "{answer:?}: {took:?}");
            assert_eq!(story.late(), 1, "it was right to wait");
            story.stands().await;
        });
        let (done, failed, _) = story.counted();
        assert!(done == 0 && failed >= 3, "{answer:?}: {failed}");
        let events = story.events();
        assert_eq!(by(&story.device, &events), Some(FencedBy::QuietTime));
        story.world.end(story.device);
    }
}

/// As istgt does: it says GOOD, and the key is still there.
#[test]
fn a_target_that_says_good_and_has_the_key_all_the_same_has_proven_nothing() {
    let mut story = Story::new(17, config(), None);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &ORDER, Answer::Status(0x00), u32::MAX);
        story.lose_a_write(true).await;
        let took = story.write_again().await;
        assert!(took > QUIET - SECOND, "{took:?}");
        assert_eq!(story.late(), 1, "it was right to wait");
        story.stands().await;
    });
    assert_eq!(story.counted().0, 0);
    let events = story.events();
    assert_eq!(by(&story.device, &events), Some(FencedBy::QuietTime));
    story.world.end(story.device);
}

/// Its answer is lost with the path that it was sent through: nobody knows, and so it is no proof.
#[test]
fn an_order_whose_outcome_is_unknown_is_no_proof() {
    let story = Story::new(8, config(), None);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &ORDER, Answer::Nothing, 1);
        story.lose_a_write(true).await;
        let loss = async {
            story.world.sim.sleep(2 * DRAIN).await;
            story.world.sim.net().reset(World::link(1));
        };
        let (took, ()) = join(story.write_again(), loss).await;
        assert!(took > SECOND, "{took:?}");
        story.stands().await;
    });
    let (done, failed, _) = story.counted();
    assert_eq!((done, failed), (1, 1), "the second try was the proof");
    assert_eq!(story.late(), 0);
    story.world.end(story.device);
}

#[test]
fn a_path_that_is_added_again_has_its_key_again() {
    let story = Story::new(9, config(), None);
    story.world.sim.block_on(async {
        let keys = story.keys().await;
        let lost = paths(&story.device)[0].id;
        story.device.remove_path(lost).unwrap();
        while story.device.path(lost).is_some() {
            story.world.sim.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(story.keys().await.len(), 1, "it was unregistered");
        let to = SessionTarget::new(TARGET.parse().unwrap(), portal(0).into())
            .with_bind("eth0".parse().unwrap())
            .with_slot(SessionSlot {
                bind: 0,
                portal: 0,
                number: 0,
            });
        let session = story.world.initiator.session(&to).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        let attributes = PathAttributes::new("again");
        story.device.add_path(attributes, unit).unwrap();
        assert!(story.world.all_usable(&story.device).await);
        let mut again = story.keys().await;
        again.sort_unstable();
        let mut before = keys;
        before.sort_unstable();
        assert_eq!(again, before);
    });
    story.world.end(story.device);
}

#[test]
fn where_somebody_else_is_registered_no_key_is_and_nothing_is_preempted() {
    let mut story = Story::new(10, config(), Some(FOREIGN));
    story.world.sim.block_on(async {
        assert_eq!(story.keys().await, [FOREIGN.0]);
        story.lose_a_write(true).await;
        let took = story.write_again().await;
        assert!(took > QUIET - SECOND, "{took:?}");
        story.stands().await;
        assert_eq!(story.keys().await, [FOREIGN.0]);
        // As soon as that is gone, the next login registers.
        let none = ReservationKey::NONE;
        story.other.register(FOREIGN, none, None).await.unwrap();
        story.world.sim.net().heal_all();
        assert!(story.world.all_usable(&story.device).await);
        assert_eq!(story.keys().await.len(), 1);
    });
    assert_eq!(story.counted(), (0, 0, 1));
    let events = story.events();
    assert_eq!(skips(&events), [SkipReason::NotRegistered]);
    story.world.end(story.device);
}

#[test]
fn a_reservation_of_others_keeps_the_device_out() {
    let world = World::new(11);
    let other = world.sim.block_on(look(&world));
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    let device = world.sim.block_on(async {
        let none = ReservationKey::NONE;
        other.register(none, FOREIGN, None).await.unwrap();
        let builder = world.builder(config().build().unwrap());
        let (device, driver) = builder.connect(&world.initiator).await.unwrap();
        let mut reader = device.events();
        world.sim.handle().spawn(Box::pin(driver));
        assert!(world.all_usable(&device).await);
        while reader.try_next().is_some() {}
        // A cluster reserves the unit, and lets nobody in but its own.
        other.reserve(FOREIGN, kind, None).await.unwrap();
        let held = device.write_bytes(0, Bytes::from(stamp(1, 1))).await;
        let error = held.expect_err("the reservation keeps us out, and no key of ours lets us in");
        let conflict = iscsi_client::error::ErrorKind::ReservationConflict;
        assert_eq!(error.kind(), conflict);
        assert_eq!(other.reservation_keys(None).await.unwrap().keys, [FOREIGN]);
        other.release(FOREIGN, kind, None).await.unwrap();
        device
    });
    world.end(device);
}

#[test]
fn others_that_have_come_since_are_left_alone() {
    let mut story = Story::new(12, config(), None);
    story.world.sim.block_on(async {
        story.lose_a_write(true).await;
        let none = ReservationKey::NONE;
        story.other.register(none, FOREIGN, None).await.unwrap();
        let took = story.write_again().await;
        assert!(took > QUIET - SECOND, "{took:?}");
        assert!(story.keys().await.contains(&FOREIGN.0));
        story.stands().await;
    });
    let (done, failed, skipped) = story.counted();
    assert!((done, failed) == (0, 0) && skipped > 0);
    let events = story.events();
    assert!(
        skips(&events)
            .iter()
            .all(|why| *why == SkipReason::OthersReserve)
    );
    story.world.end(story.device);
}

#[test]
fn a_device_that_is_closed_leaves_no_key() {
    let Story {
        world,
        other,
        device,
        ..
    } = Story::new(13, config(), None);
    world.end(device);
    world.sim.block_on(async {
        let keys = other.reservation_keys(None).await.unwrap().keys;
        assert_eq!(keys, []);
    });
}

/// Another nexus, with a key of its own: that of the old one stays behind, and the old writes have their time.
#[test]
fn a_login_that_another_portal_group_takes_has_another_key() {
    let mut story = Story::new(14, config(), None);
    story.world.sim.block_on(async {
        let before = story.keys().await;
        story.hold(HELD);
        let write = story.device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let loss = async {
            story.world.sim.sleep(Duration::from_millis(20)).await;
            story.hold(Duration::ZERO);
            let (to, permanent) = (portal(1).to_string(), false);
            let core = story.world.target.core();
            core.redirect_logins(0, Some(Redirect { to, permanent }));
            story.world.sim.net().reset(World::link(0));
        };
        join(write, loss).await.0.expect("repeated");
        assert!(story.world.all_usable(&story.device).await);
        let took = story.write_again().await;
        assert!(took > QUIET - SECOND, "{took:?}");
        assert_eq!(story.late(), 1, "it was right to wait");
        let after = story.keys().await;
        assert_eq!(after.len(), 3);
        assert!(before.iter().all(|key| after.contains(key)));
        story.stands().await;
        story.world.target.core().redirect_logins(0, None);
    });
    assert_eq!(story.counted().0, 0);
    let events = story.events();
    assert_eq!(skips(&events), [SkipReason::OtherNexus]);
    story.world.end(story.device);
}

#[test]
fn a_target_that_has_lost_its_registrations_gets_them_again() {
    let story = Story::new(15, config(), None);
    story.world.sim.block_on(async {
        let before = story.keys().await;
        story
            .world
            .target
            .core()
            .crash(iscsi_testkit::target::Crash::default());
        story.world.sim.sleep(SECOND).await;
        story.other.session().wait_up().await.unwrap();
        assert!(story.world.all_usable(&story.device).await);
        let mut after = story.keys().await;
        after.sort_unstable();
        let mut before = before;
        before.sort_unstable();
        assert_eq!(after, before);
    });
    story.world.end(story.device);
}

#[test]
fn why_a_path_has_no_key_is_an_event() {
    let why = KeyRefusal::OthersRegistered;
    let mut story = Story::new(16, config(), None);
    story.world.sim.block_on(async {
        let none = ReservationKey::NONE;
        story.other.register(none, FOREIGN, None).await.unwrap();
        story.world.sim.net().reset(World::link(0));
        let before = story.keys().await;
        story.world.sim.sleep(SECOND).await;
        assert!(story.world.all_usable(&story.device).await);
        let left = story.keys().await;
        assert_eq!(
            (before.len(), left.len()),
            (3, 2),
            "its own key is taken back"
        );
    });
    let path = paths(&story.device)[0].id;
    let refused = Event::KeyRefused { path, why };
    let events = story.events();
    let told = events.iter().filter(|event| **event == refused).count();
    assert_eq!(told, 1, "{events:?}");
    story.world.end(story.device);
}

/// Nobody has the key, and the target says GOOD all the same: nothing was aborted.
#[test]
fn a_target_that_says_good_to_an_unknown_key_has_proven_nothing() {
    let mut story = Story::new(18, config(), None);
    story.world.sim.block_on(async {
        let core = story.world.target.core();
        core.answer(0, &ORDER, Answer::Status(0x00), u32::MAX);
        story.lose_a_write(true).await;
        core.clear_registrations(0);
        let took = story.write_again().await;
        assert!(took > QUIET - SECOND, "{took:?}");
        assert_eq!(story.late(), 1, "it was right to wait");
        story.stands().await;
    });
    let (done, failed, _) = story.counted();
    assert!(done == 0 && failed > 0);
    let events = story.events();
    assert_eq!(by(&story.device, &events), Some(FencedBy::QuietTime));
    story.world.end(story.device);
}

/// There is no reservation that it could be about, so no caller hears of it; and the keys are there again.
#[test]
fn somebody_who_ends_all_registrations_is_no_error_and_they_are_made_again() {
    let story = Story::new(19, config(), None);
    story.world.sim.block_on(async {
        let before = story.keys().await.len();
        story.world.target.core().clear_registrations(0);
        assert_eq!(story.keys().await, []);
        let write = story.device.write_bytes(0, Bytes::from(stamp(1, 1)));
        write.await.expect("nothing is reserved");
        story.world.sim.sleep(SECOND).await;
        assert_eq!(story.keys().await.len(), before);
        // So the rung works for what is lost from now on.
        story.lose_a_write(true).await;
        let took = story.write_again().await;
        assert!(took < SECOND, "{took:?}");
        story.stands().await;
    });
    assert_eq!((story.counted().0, story.late()), (1, 0));
    story.world.end(story.device);
}

#[test]
fn a_unit_that_does_not_say_who_is_registered_is_used_without_a_key() {
    let answers = [
        (20, Answer::Sense(0x04, 0x44, 0x00)),
        (21, Answer::Sense(0x0b, 0x00, 0x00)),
    ];
    for (seed, answer) in answers {
        let why = KeyRefusal::Unknown;
        let mut story = Story::new(seed, config(), None);
        story.world.sim.block_on(async {
            let core = story.world.target.core();
            core.answer(0, &READ_KEYS, answer, u32::MAX);
            story.world.sim.net().reset(World::link(0));
            let begin = story.world.sim.elapsed();
            story.world.sim.sleep(SECOND / 10).await;
            assert!(story.world.all_usable(&story.device).await);
            let took = story.world.sim.elapsed() - begin;
            assert!(took < 10 * SECOND, "{took:?}");
        });
        let path = paths(&story.device)[0].id;
        let events = story.events();
        assert!(
            events.contains(&Event::KeyRefused { path, why }),
            "{events:?}"
        );
        story.world.end(story.device);
    }
}

/// A registration outlives the connection that it was made through, and would let our writes past.
#[test]
fn a_login_that_finds_a_reservation_takes_its_old_key_back() {
    let story = Story::new(22, config(), None);
    story.world.sim.block_on(async {
        let (none, kind) = (
            ReservationKey::NONE,
            ReservationType::WriteExclusiveRegistrantsOnly,
        );
        story.other.register(none, FOREIGN, None).await.unwrap();
        story.other.reserve(FOREIGN, kind, None).await.unwrap();
        assert_eq!(story.keys().await.len(), 3);
        for link in 0..2 {
            story.world.sim.net().reset(World::link(link));
        }
        story.world.sim.sleep(SECOND).await;
        assert!(story.world.all_usable(&story.device).await);
        assert_eq!(story.keys().await, [FOREIGN.0]);
        let kept_out = story.device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let conflict = iscsi_client::error::ErrorKind::ReservationConflict;
        assert_eq!(kept_out.await.expect_err("it stands").kind(), conflict);
    });
    story.world.end(story.device);
}
