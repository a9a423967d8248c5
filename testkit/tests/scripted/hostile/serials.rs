//! StatSN, ExpCmdSN and task tags that cannot be (RFC 7143 sections 4.2.2 and 11.2.1.8).

use iscsi_proto::{
    error::PeerMisbehaved,
    pdu::{AsyncEvent, ScsiCommand},
    scsi::ScsiStatus,
    serial::StatSn,
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::scene::Scene;
use crate::{
    conformance::talk::{
        bytes_of, expect_good, fence, hear_command, pattern, quiet, say_good, start,
    },
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h63_stat_sn_skips_a_status;
    h64_stat_sn_goes_back;
    h64_the_same_response_twice;
    h68_serials_and_tags_wrap;
    h69_exp_cmd_sn_past_the_last_command;
}

/// Says a status of this kind.
async fn say_status(peer: &mut Peer, read: &ScsiCommand, carrier: &str) {
    match carrier {
        "response" => say_good(peer, read.itt).await,
        "data" => {
            let data = Say::last_data_in(read, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
        }
        _ => {
            let message = Say::asynchronous(AsyncEvent::VendorSpecific, [0; 3]);
            peer.say(message, []).await.unwrap();
        }
    }
}

async fn wrong_stat_sn(world: &World, number: usize, shift: u32, carrier: &str) {
    let world = world.case(number).await;
    let requests = [read(0, 1), test_unit_ready()];
    let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
    let expected = scene.peer.stat_sn();
    let found = expected.plus(shift);
    scene.peer.set_stat_sn(found);
    let command = scene.commands[0];
    say_status(&mut scene.peer, &command, carrier).await;
    let case = format!("{carrier}, StatSN {shift:#x} further");
    let error = PeerMisbehaved::StatSn {
        expected: expected.0,
        found: found.0,
    };
    scene.expect_broken(&world, &case).await.was(error, &case);
}

const CARRIERS: [&str; 3] = ["response", "data", "message"];

/// Sections 4.2.2.2 and 7.1.4.2: a status is missing, and at ErrorRecoveryLevel 0 nobody can ask for it again.
async fn h63_stat_sn_skips_a_status(world: &World) {
    let cases = [1, 2, 100, 0x7fff_ffff]
        .into_iter()
        .flat_map(|shift| CARRIERS.map(|carrier| (shift, carrier)));
    for (number, (shift, carrier)) in cases.enumerate() {
        wrong_stat_sn(world, number, shift, carrier).await;
    }
}

/// Section 4.2.2.2: numbers only grow. One that was, or that is half of the circle away, is no status of this
/// connection.
async fn h64_stat_sn_goes_back(world: &World) {
    let shifts = [u32::MAX, u32::MAX - 1, 0x8000_0000, 0x8000_0001];
    let cases = shifts
        .into_iter()
        .flat_map(|shift| CARRIERS.map(|carrier| (shift, carrier)));
    for (number, (shift, carrier)) in cases.enumerate() {
        wrong_stat_sn(world, number, shift, carrier).await;
    }
}

/// A response that is said twice ends its command once. At ErrorRecoveryLevel 0 nobody has asked for it, so the
/// connection is not to be trusted any more.
async fn h64_the_same_response_twice(world: &World) {
    let mut scene = Scene::new(world, quiet(), &[], [test_unit_ready(), read(0, 1)]).await;
    let peer = &mut scene.peer;
    let mut answer = Frame::new(
        Say::response(scene.commands[0].itt, ScsiStatus::Good, 0),
        [],
    );
    peer.number(&mut answer);
    peer.say_as_it_is(&answer).await.unwrap();
    expect_good(scene.executes.remove(0), 0).await;
    peer.say_as_it_is(&answer).await.unwrap();
    let next = peer.stat_sn().0;
    let error = PeerMisbehaved::StatSn {
        expected: next,
        found: next - 1,
    };
    scene
        .expect_broken(world, "twice")
        .await
        .was(error, "twice");
}

/// Sections 4.2.2.2 and 11.2.1.8: StatSN counts on from 2^32 - 1 to 0, and the tag 0xffffffff is never used (which
/// the judge of every connection looks at).
async fn h68_serials_and_tags_wrap(world: &World) {
    let firsts = [0xffff_ffe0, 0x7fff_ffe0];
    for (number, first) in firsts.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.core.first_generation = 0xf_fffe;
        let script = async {
            let mut peer = world.accept().await;
            peer.set_stat_sn(StatSn(first));
            peer.log_in(&[]).await.unwrap();
            peer
        };
        let initiator = world.initiator();
        let to = world.to_with(options);
        let (mut peer, session) =
            futures_util::future::join(script, initiator.connect_spawned(&to)).await;
        let session = session.unwrap();
        for _ in 0..8 {
            let all: Vec<_> = (0..16).map(|_| start(&session, read(0, 1))).collect();
            for _ in 0..all.len() {
                let command = hear_command(&mut peer).await;
                let data = Say::last_data_in(&command, 0, 0);
                peer.say(data, pattern(512)).await.unwrap();
            }
            for execute in all {
                assert_eq!(bytes_of(&expect_good(execute, 512).await), pattern(512));
            }
            let ping = fence(&session, &mut peer).await;
            assert_eq!(ping.exp_stat_sn.next(), peer.stat_sn());
        }
        assert!(peer.stat_sn().0.wrapping_sub(first) > 128);
        assert_eq!(session.logins(), 1);
    }
}

/// Section 4.2.2.1: ExpCmdSN acknowledges what was never sent.
async fn h69_exp_cmd_sn_past_the_last_command(world: &World) {
    for (number, shift) in [1, 2, 1000, 0x7fff_fffe].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut scene = Scene::new(&world, quiet(), &[], [read(0, 1), test_unit_ready()]).await;
        let mut news = Frame::new(Say::nop_in(), []);
        scene.peer.number(&mut news);
        let exp_cmd_sn = scene.peer.exp_cmd_sn().plus(shift);
        news.set_field(28, exp_cmd_sn.0);
        news.set_field(32, exp_cmd_sn.plus(31).0);
        scene.peer.say_as_it_is(&news).await.unwrap();
        let case = format!("{shift} too far");
        let breach = scene.expect_broken(&world, &case).await;
        breach.was(PeerMisbehaved::ExpCmdSn, &case);
    }
}
