//! DataSN of Data-In (RFC 7143 section 11.7.5).

use iscsi_proto::error::PeerMisbehaved;
use iscsi_testkit::scripted::Say;

use super::scene::Scene;
use crate::{
    conformance::talk::{bytes_of, pattern, quiet},
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h75_data_sn_gap_or_repeat;
}

/// DataSN starts at 0 for each command and counts: a gap in it, or a number for the second time, is the end of the
/// connection, and what came with it is not in the command's memory.
async fn h75_data_sn_gap_or_repeat(world: &World) {
    let cases = [
        (0, 1),
        (0, 2),
        (0, u32::MAX),
        (0, 0x8000_0000),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 1),
        (2, 3),
    ];
    for (number, (expected, found)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 4), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        let (peer, command) = (&mut scene.peer, scene.commands[0]);
        let before = expected as usize * 512;
        for data_sn in 0..expected {
            let at = data_sn as usize * 512;
            let data = Say::data_in(&command, data_sn, at as u32);
            let bytes = &pattern(before)[at..][..512];
            peer.say(data, bytes).await.unwrap();
        }
        let data = Say::data_in(&command, found, before as u32);
        peer.say(data, vec![0xee; 512]).await.unwrap();
        let case = format!("DataSN {found} where {expected} was to come");
        let breach = scene.expect_broken(&world, &case).await;
        let breach = breach.was(PeerMisbehaved::DataSn { expected, found }, &case);
        let bytes = bytes_of(&breach.payloads[0]);
        assert_eq!(bytes[..before], pattern(before), "{case}");
        assert!(bytes[before..].iter().all(|byte| *byte == 0), "{case}");
    }
}
