//! Asymmetric access as a logical unit tells it and takes orders for it.

use iscsi_client::{
    error::{ErrorKind, Outcome},
    logical_unit::LogicalUnit,
};
use iscsi_proto::scsi::{AccessState, Lun, target_port_groups::AccessStatus};
use iscsi_testkit::target::{AluaConfig, Answer, LunConfig, PortState};

use crate::support::{SIZE, World};

fn alua(change: impl FnOnce(&mut AluaConfig)) -> World {
    let mut alua = AluaConfig::default();
    change(&mut alua);
    World::new(|config| config.with_lun(LunConfig::new(0, SIZE)).with_alua(alua))
}

#[test]
fn groups_are_told_with_and_without_the_extended_header() {
    for extended_header in [true, false] {
        let world = alua(|alua| {
            alua.extended_header = extended_header;
            (alua.transition_time, alua.preferred) = (30, Some(2));
            alua.states = vec![(2, PortState::NonOptimized)];
        });
        world.run(async {
            let unit = world.open().await;
            assert_eq!(unit.identification().target_port_group(), Some(1));
            assert_eq!(unit.identification().relative_target_port(), Some(1));
            for _ in 0..2 {
                let before = world.core().counters(0).commands;
                let groups = unit.target_port_groups(None).await.unwrap();
                let time = extended_header.then_some(30);
                assert_eq!(groups.implicit_transition_time, time);
                let states: Vec<_> = groups.groups.iter().map(|g| (g.group, g.state)).collect();
                let expected = [
                    (1, AccessState::ActiveOptimized),
                    (2, AccessState::ActiveNonOptimized),
                ];
                assert_eq!(states, expected);
                assert!(groups.group(2).unwrap().preferred);
                assert_eq!(groups.group(2).unwrap().ports, [2]);
                assert_eq!(groups.groups.len(), 2);
                let sent = world.core().counters(0).commands - before;
                assert!(sent <= 2, "{sent}");
            }
            let before = world.core().counters(0).commands;
            unit.target_port_groups(None).await.unwrap();
            let sent = world.core().counters(0).commands - before;
            assert_eq!(sent, 1, "the refusal is remembered");
        });
    }
}

#[test]
fn a_long_list_is_asked_for_again_and_a_lie_about_its_length_is_bounded() {
    let world = alua(|_| ());
    world.run(async {
        let unit = world.open().await;
        let group = |number: u16| {
            let [high, low] = number.to_be_bytes();
            [0, 0xdf, high, low, 0, 0, 0, 0]
        };
        let list: Vec<u8> = (0..400).flat_map(group).collect();
        let mut data = (list.len() as u32).to_be_bytes().to_vec();
        data.extend(&list);
        world.core().answer(0, &[0xa3], Answer::Data(data), 2);
        let groups = unit.target_port_groups(None).await.unwrap();
        assert_eq!((groups.groups.len(), groups.truncated), (400, false));
        let mut lie = u32::MAX.to_be_bytes().to_vec();
        lie.extend(group(1));
        world.core().answer(0, &[0xa3], Answer::Data(lie), u32::MAX);
        let groups = unit.target_port_groups(None).await.unwrap();
        assert_eq!((groups.groups.len(), groups.truncated), (1, true));
        world
            .core()
            .answer(0, &[0xa3], Answer::Data(vec![0, 0]), u32::MAX);
        let error = unit.target_port_groups(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    });
}

#[test]
fn states_are_set_and_only_other_nexuses_are_told() {
    let world = alua(|_| ());
    world.run(async {
        let unit = world.open().await;
        let other = {
            let session = world.session(1).await;
            LogicalUnit::open(session, Lun::ZERO).await.unwrap()
        };
        let seen = other.events(0).len() as u64;
        let order = [
            (1, AccessState::ActiveNonOptimized),
            (2, AccessState::Standby),
        ];
        unit.set_target_port_groups(&order, None).await.unwrap();
        let groups = unit.target_port_groups(None).await.unwrap();
        for (number, state) in order {
            let group = groups.group(number).unwrap();
            assert_eq!(
                (group.state, group.status),
                (state, AccessStatus::SetByCommand)
            );
        }
        assert_eq!(unit.events(0).len(), 1, "its own power on");
        let error = other.test_unit_ready(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady);
        assert_eq!(other.events(seen).len(), 1);
        // In standby the states can still be asked for, and set.
        other.target_port_groups(None).await.unwrap();
        let back = [(2, AccessState::ActiveOptimized)];
        other.set_target_port_groups(&back, None).await.unwrap();
        other.test_unit_ready(None).await.unwrap();
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_is_sent() {
    let world = alua(|alua| alua.explicit = false);
    world.run(async {
        let unit = world.open().await;
        let before = world.core().counters(0).commands;
        let bad: [Vec<(u16, AccessState)>; 3] = [
            vec![],
            vec![(1, AccessState::Transitioning)],
            vec![(1, AccessState::Standby); 1025],
        ];
        for groups in bad {
            let error = unit
                .set_target_port_groups(&groups, None)
                .await
                .unwrap_err();
            let found = (error.kind(), error.outcome());
            assert_eq!(found, (ErrorKind::Protocol, Outcome::NotExecuted));
        }
        let good = [(1, AccessState::Standby)];
        let error = unit.set_target_port_groups(&good, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "implicit only");
        assert_eq!(world.core().counters(0).commands, before);
    });
    let world = World::with_disk();
    world.run(async {
        let unit = world.open().await;
        let before = world.core().counters(0).commands;
        let error = unit.target_port_groups(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(world.core().counters(0).commands, before);
    });
}
