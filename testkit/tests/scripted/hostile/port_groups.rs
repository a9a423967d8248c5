//! Target port groups that lie (SPC-4 section 6.37).

use iscsi_client::{error::Error, logical_unit::LogicalUnit};
use iscsi_proto::{
    DecodeError,
    scsi::{AccessState, TargetPortGroups},
};
use iscsi_testkit::{scripted::Told, target::AluaConfig};

use super::disk::{Lies, cdb, lying, malformed, open};
use crate::support::{World, rows};

rows! {
    h112_port_groups_that_are_cut;
    h112_port_groups_that_claim_to_be_longer;
    h112_port_groups_that_make_no_sense;
}

const RTPG: &[u8] = cdb::REPORT_TARGET_PORT_GROUPS;
/// The longest list that is believed.
const MOST: u32 = 64 << 10;

fn core(world: &World) -> std::sync::Arc<iscsi_testkit::target::TargetCore> {
    world.core_with(|config| config.with_alua(AluaConfig::default()))
}

async fn ask(unit: &LogicalUnit) -> Result<TargetPortGroups, Error> {
    unit.target_port_groups(None).await
}

/// A list with the extended header, whose length is `length`.
fn list(length: u32, groups: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([0x10, 60, 0, 0]);
    bytes.extend(groups);
    bytes
}

/// A group in this state, with `count` ports of which `ports` are there.
fn group(number: u16, state: u8, count: u8, ports: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut bytes = vec![state, 0xff, high, low, 0, 2, 0, count];
    for port in 1..=ports {
        bytes.extend([0, 0]);
        bytes.extend(port.to_be_bytes());
    }
    bytes
}

/// The list ends at each of its bytes: groups that came whole count, and it is asked for twice at most.
async fn h112_port_groups_that_are_cut(world: &World) {
    let lies = Lies::default();
    lying(world, &core(world), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let groups = [group(1, 0x80, 1, 1), group(2, 0x02, 2, 2)];
        let whole = list(4 + 12 + 16, &groups.concat());
        for end in 0..=whole.len() {
            lies.data(RTPG, whole[..end].to_vec());
            lies.heard(&[]);
            let asked = ask(&unit).await;
            assert_eq!(
                lies.heard(RTPG).len(),
                1,
                "all of it would have fitted: {end}"
            );
            if end < 4 {
                let (length, needed) = (end as u32, 4);
                let error = DecodeError::Truncated { length, needed };
                assert_eq!(malformed(&asked.unwrap_err()), error);
                continue;
            }
            let asked = asked.unwrap();
            let count = usize::from(end >= 20) + usize::from(end >= 36);
            assert_eq!(asked.groups.len(), count, "{end}");
            assert_eq!(asked.truncated, end < whole.len(), "{end}");
            let time = (end >= 6).then_some(60);
            assert_eq!(asked.implicit_transition_time, time, "{end}");
            if count == 2 {
                assert_eq!(asked.groups[0].state, AccessState::ActiveOptimized);
                assert_eq!(asked.groups[1].state, AccessState::Standby);
                assert_eq!(asked.groups[1].ports, [1, 2]);
            }
        }
    })
    .await;
}

/// RETURN DATA LENGTH is more than there is, or grows whenever somebody asks: never more than 64 KiB are asked for,
/// and no more than four times.
async fn h112_port_groups_that_claim_to_be_longer(world: &World) {
    let lies = Lies::default();
    lying(world, &core(world), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        for length in [
            17,
            1020,
            1021,
            4096,
            MOST - 4,
            MOST,
            1 << 24,
            u32::MAX - 4,
            u32::MAX,
        ] {
            lies.data(RTPG, list(length, &group(1, 0, 1, 1)));
            lies.heard(&[]);
            let asked = ask(&unit).await.unwrap();
            assert_eq!((asked.groups.len(), asked.truncated), (1, true), "{length}");
            let heard = lies.heard(RTPG);
            assert!(heard.len() <= 2, "{length}: {}", heard.len());
            for cdb in heard {
                let length = u32::from_be_bytes([cdb[6], cdb[7], cdb[8], cdb[9]]);
                assert!(length <= MOST);
            }
        }
        for step in [1, 8, 4096] {
            lies.about(RTPG, move |command, _| {
                let asked = command.expected_data_transfer_length;
                Told::Data(list(asked - 4 + step, &group(1, 0, 1, 1)))
            });
            lies.heard(&[]);
            assert!(ask(&unit).await.unwrap().truncated);
            assert!(lies.heard(RTPG).len() <= 4, "{step}");
        }
        // One that says less than there is: what is behind its end is none of it.
        let two = [group(1, 0, 1, 1), group(2, 0, 1, 1)].concat();
        for (length, count) in [(0, 0), (4, 0), (11, 0), (16, 1), (27, 1), (28, 2)] {
            lies.data(RTPG, list(length, &two));
            assert_eq!(ask(&unit).await.unwrap().groups.len(), count, "{length}");
        }
    })
    .await;
}

/// No group, not the one of our port, states that no standard has, more ports than there are; and a header of a
/// format that no standard has is an error.
async fn h112_port_groups_that_make_no_sense(world: &World) {
    let lies = Lies::default();
    lying(world, &core(world), &lies, async |session| {
        let unit = open(&session).await.unwrap();
        let own = unit.identification().target_port_group().unwrap();
        lies.data(RTPG, list(4, &[]));
        let none = ask(&unit).await.unwrap();
        assert_eq!((none.groups.len(), none.truncated), (0, false));
        lies.data(RTPG, list(16, &group(own + 1, 0, 1, 1)));
        assert_eq!(ask(&unit).await.unwrap().group(own), None);
        for state in 0..16 {
            lies.data(RTPG, list(12, &group(own, state, 0, 0)));
            let groups = ask(&unit).await.unwrap();
            let found = groups.group(own).unwrap();
            assert_eq!(found.state.to_bits(), state);
            let is_known = matches!(state, 0..=4 | 14 | 15);
            let is_unknown = found.state == AccessState::Unknown(state);
            assert_eq!(is_known, !is_unknown);
            assert_eq!(
                found.state.is_active(),
                matches!(state, 0 | 1 | 4),
                "{state}"
            );
            assert!(found.ports.is_empty());
        }
        for (count, ports) in [(2, 1), (255, 0), (255, 254)] {
            let bytes = group(own, 0, count, ports);
            lies.data(RTPG, list(4 + bytes.len() as u32, &bytes));
            let groups = ask(&unit).await.unwrap();
            assert_eq!((groups.groups.len(), groups.truncated), (0, true));
        }
        let largest = group(own, 0, 255, 255);
        lies.data(RTPG, list(4 + largest.len() as u32, &largest));
        assert_eq!(ask(&unit).await.unwrap().groups[0].ports.len(), 255);
        for format in 2..8 {
            let mut bytes = list(16, &group(own, 0, 1, 1));
            bytes[4] = format << 4;
            lies.data(RTPG, bytes);
            let error = ask(&unit).await.unwrap_err();
            assert_eq!(
                malformed(&error),
                DecodeError::Scsi { offset: 4 },
                "{format}"
            );
        }
        // Refused whatever the header is: once with it, and from then on without.
        lies.told(RTPG, Told::Sense(5, 0x24, 0));
        for expected in [2, 1] {
            lies.heard(&[]);
            assert!(ask(&unit).await.is_err());
            assert_eq!(lies.heard(RTPG).len(), expected);
        }
    })
    .await;
}
