//! Command windows that are wrong, shut, or too wide (RFC 7143 section 4.2.2.1).

use futures_util::future::join;
use iscsi_testkit::scripted::{Frame, Say};

use crate::{
    conformance::talk::{expect_good, fence, hear_command, quiet, say_good, start},
    support::{World, rows, test_unit_ready},
};

rows! {
    h65_a_window_that_ends_before_it_begins;
}

/// Section 4.2.2.1: if MaxCmdSN is less than ExpCmdSN - 1, both are ignored, even an ExpCmdSN that would be an error
/// by itself.
async fn h65_a_window_that_ends_before_it_begins(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.window = 1;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let initiator = world.initiator();
    let to = world.to_with(quiet());
    let (mut peer, session) = join(script, initiator.connect_spawned(&to)).await;
    let session = session.unwrap();
    let first = start(&session, test_unit_ready());
    let command = hear_command(&mut peer).await;
    peer.window = 0;
    say_good(&mut peer, command.itt).await;
    expect_good(first, 0).await;
    let second = start(&session, test_unit_ready());
    let next = peer.exp_cmd_sn();
    // ExpCmdSN and MaxCmdSN, both from the next CmdSN on.
    for (exp, max) in [
        (2, 0),
        (5, 3),
        (100, 50),
        (0, u32::MAX - 1),
        (0x7fff_fff0, 0x3000_0000),
        (0x3000_0000, 0),
    ] {
        let mut news = Frame::new(Say::nop_in(), []);
        peer.number(&mut news);
        news.set_field(28, next.plus(exp).0);
        news.set_field(32, next.plus(max).0);
        let bytes = news.to_bytes(peer.digests());
        peer.bytes(&bytes).await.unwrap();
        fence(&session, &mut peer).await;
    }
    peer.window = 1;
    peer.say(Say::nop_in(), []).await.unwrap();
    let command = hear_command(&mut peer).await;
    say_good(&mut peer, command.itt).await;
    expect_good(second, 0).await;
    assert_eq!(session.logins(), 1);
}
