//! A unit that is resized while the device is in use.

use std::{net::SocketAddr, time::Duration};

use iscsi_client::{
    device::{BlockDevice, BlockDeviceExt},
    error::ErrorKind,
    initiator::SessionTarget,
    logical_unit::LogicalUnit,
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::target::{LunConfig, SimTarget, TargetConfig};
use mpio::{
    DeviceEvent, EventReader, MultipathDevice, ResizeError,
    core::{AutoResize, Config, Event, PathAttributes},
};

use crate::support::{LUN_SIZE, World, paths};

fn device(world: &World, policy: AutoResize) -> MultipathDevice {
    let interval = Duration::from_secs(1);
    let config = Config::builder()
        .auto_resize(policy)
        .polling_interval(interval, interval);
    world.open_ready(config.build().unwrap())
}

/// Until the device says so.
async fn told(events: &mut EventReader<LogicalUnit>, wanted: Event) {
    loop {
        let event: DeviceEvent = events.next().await.expect("the device is open");
        let is_about_size = matches!(
            event.event,
            Event::Resized { .. } | Event::SizeNotTaken { .. } | Event::SizeAgreed { .. }
        );
        if is_about_size {
            assert_eq!(event.event, wanted);
            return;
        }
    }
}

#[test]
fn a_device_grows_by_itself_and_shrinks_when_it_is_asked_to() {
    let world = World::new(1);
    let device = device(&world, Config::default().auto_resize());
    let mut events = device.events();
    world.sim.block_on(async {
        let (large, small) = (2 * LUN_SIZE, LUN_SIZE / 2);
        world.target.core().resize(0, large);
        let grown = Event::Resized {
            from: LUN_SIZE,
            to: large,
        };
        told(&mut events, grown).await;
        device.read_bytes(large - 4096, 4096).await.unwrap();

        world.target.core().resize(0, small);
        let kept = Event::SizeNotTaken {
            size: large,
            told: small,
        };
        told(&mut events, kept).await;
        assert_eq!(device.info().size, large);
        let topology = device.topology();
        assert_eq!(topology.size_not_taken, Some(small));
        let text = topology.to_string();
        assert!(text.contains("warning: all paths tell size=512M"), "{text}");
        // What is still there works; what is not is no fault of any path.
        device.read_bytes(small - 4096, 4096).await.unwrap();
        let error = device.read_bytes(large - 4096, 4096).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::OutOfRange { .. }),
            "{error}"
        );
        assert_eq!(paths(&device).iter().filter(|p| p.is_usable()).count(), 2);

        let seen = device.info().generation;
        assert_eq!(device.resize().await.unwrap().size, small);
        let shrunk = Event::Resized {
            from: large,
            to: small,
        };
        told(&mut events, shrunk).await;
        let info = BlockDevice::info_changed(&device, seen).await.unwrap();
        assert_eq!(info.size, small);
        assert_eq!(device.topology().size_not_taken, None);
    });
    world.end(device);
}

/// It was made smaller by mistake, and made as large as it was again.
#[test]
fn a_size_that_was_not_taken_and_is_taken_back_leaves_nothing_behind() {
    let world = World::new(2);
    let device = device(&world, AutoResize::GrowOnly);
    let mut events = device.events();
    world.sim.block_on(async {
        for told_size in [LUN_SIZE / 2, LUN_SIZE / 4] {
            world.target.core().resize(0, told_size);
            let kept = Event::SizeNotTaken {
                size: LUN_SIZE,
                told: told_size,
            };
            told(&mut events, kept).await;
        }
        world.target.core().resize(0, LUN_SIZE);
        told(&mut events, Event::SizeAgreed { size: LUN_SIZE }).await;
        assert_eq!(device.topology().size_not_taken, None);
        device.read_bytes(LUN_SIZE - 4096, 4096).await.unwrap();
    });
    world.end(device);
}

#[test]
fn a_device_that_never_resizes_itself_grows_when_it_is_asked_to() {
    let world = World::new(3);
    let device = device(&world, AutoResize::Never);
    let mut events = device.events();
    world.sim.block_on(async {
        world.target.core().resize(0, 2 * LUN_SIZE);
        let kept = Event::SizeNotTaken {
            size: LUN_SIZE,
            told: 2 * LUN_SIZE,
        };
        told(&mut events, kept).await;
        let error = device.read_bytes(LUN_SIZE, 4096).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::OutOfRange { .. }),
            "{error}"
        );
        device.resize().await.unwrap();
        device.read_bytes(LUN_SIZE, 4096).await.unwrap();
    });
    world.end(device);
}

/// It may be the last time for long that anything is heard of the size.
#[test]
fn a_size_that_was_not_taken_is_taken_when_the_settings_change() {
    let world = World::new(8);
    let device = device(&world, AutoResize::Never);
    let mut events = device.events();
    world.sim.block_on(async {
        world.target.core().resize(0, 2 * LUN_SIZE);
        let kept = Event::SizeNotTaken {
            size: LUN_SIZE,
            told: 2 * LUN_SIZE,
        };
        told(&mut events, kept).await;
        let settings = device
            .config()
            .to_builder()
            .auto_resize(AutoResize::GrowOnly);
        device.reconfigure(settings.build().unwrap());
        assert_eq!(device.info().size, 2 * LUN_SIZE);
    });
    world.end(device);
}

/// Nobody has to wait for a check, or do any I/O, before.
#[test]
fn to_be_asked_to_resize_is_to_look_at_every_path() {
    let world = World::new(4);
    let hour = Duration::from_secs(3600);
    let config = Config::builder().polling_interval(hour, hour);
    let device = world.open_ready(config.build().unwrap());
    world.sim.block_on(async {
        world.target.core().resize(0, LUN_SIZE / 2);
        assert_eq!(device.resize().await.unwrap().size, LUN_SIZE / 2);
        // And again, with nothing new.
        assert_eq!(device.resize().await.unwrap().size, LUN_SIZE / 2);
    });
    world.end(device);
}

/// A path in use that cannot be asked may well know another size; once it is out of use it does not count.
#[test]
fn a_path_that_does_not_answer_stands_in_the_way_until_it_is_lost() {
    let world = World::new(5);
    let device = device(&world, AutoResize::GrowOnly);
    world.sim.block_on(async {
        world.target.core().resize(0, LUN_SIZE / 2);
        world.sim.net().cut(World::link(1));
        let began = world.sim.elapsed();
        let result = device.resize().await;
        assert!(world.sim.elapsed() - began < Duration::from_secs(10));
        let is_lost = paths(&device).iter().any(|path| !path.is_usable());
        match result {
            Err(ResizeError::NotAsked { .. }) => {}
            Ok(_) if is_lost => {}
            other => panic!("{other:?}"),
        }
        while paths(&device).iter().all(|path| path.down.is_none()) {
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(device.resize().await.unwrap().size, LUN_SIZE / 2);
    });
    world.end(device);
}

/// One controller knows of it, and the other not yet.
#[test]
fn paths_that_disagree_leave_the_size_as_it_is() {
    let world = World::new(7);
    let device = device(&world, AutoResize::GrowShrink);
    let name = "iqn.2026-01.example:other";
    let address: SocketAddr = "10.0.1.2:3260".parse().unwrap();
    let config = TargetConfig::new(name)
        .with_portal(address, 3)
        .with_lun(LunConfig::new(0, LUN_SIZE).with_seed(1));
    let other = SimTarget::start(&world.sim.handle(), config).unwrap();
    let mut events = device.events();
    world.sim.block_on(async {
        let target = SessionTarget::new(name.parse().unwrap(), address.into())
            .with_bind("eth1".parse().unwrap());
        let session = world.initiator.session(&target).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        device.add_path(PathAttributes::new("other"), unit).unwrap();
        assert!(world.all_usable(&device).await);

        world.target.core().resize(0, 2 * LUN_SIZE);
        let error = device.resize().await.unwrap_err();
        let ResizeError::PathsDisagree { sizes } = &error else {
            panic!("{error}");
        };
        let mut sizes: Vec<_> = sizes.iter().map(|(_, size)| *size).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [LUN_SIZE, 2 * LUN_SIZE, 2 * LUN_SIZE]);
        assert!(
            error.to_string().contains(&format!("{} bytes", LUN_SIZE)),
            "{error}"
        );
        assert_eq!(device.info().size, LUN_SIZE);

        other.core().resize(0, 2 * LUN_SIZE);
        let grown = Event::Resized {
            from: LUN_SIZE,
            to: 2 * LUN_SIZE,
        };
        told(&mut events, grown).await;
    });
    world.end(device);
}

#[test]
fn without_a_path_or_after_the_end_there_is_no_new_size() {
    let world = World::new(6);
    let device = device(&world, AutoResize::GrowOnly);
    world.sim.block_on(async {
        for path in paths(&device) {
            device.remove_path(path.id).unwrap();
        }
        while !paths(&device).is_empty() {
            world.sim.sleep(Duration::from_millis(10)).await;
        }
        let error = device.resize().await.unwrap_err();
        assert!(matches!(error, ResizeError::NoPath), "{error}");
        device.close().await;
        let error = device.resize().await.unwrap_err();
        assert!(matches!(error, ResizeError::Closed), "{error}");
    });
    world.end(device);
}
