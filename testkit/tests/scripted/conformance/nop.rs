//! NOP-Out and NOP-In (RFC 7143 sections 11.18 and 11.19).

use std::time::Duration;

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{InitiatorTaskTag, TargetTransferTag, pdu::NopOut, scsi::Lun};
use iscsi_testkit::scripted::{End, Say};

use super::talk::{
    expect_error, expect_good, fence, hear_command, logged_in, patience, pattern, quiet, say_good,
    start,
};
use crate::support::{World, read, rows, test_unit_ready};

rows! {
    c52_the_targets_ping_is_answered;
    c52_news_of_the_window_are_not_answered;
    c53_our_ping_has_a_tag_and_its_answer_is_compared;
    c54_an_acknowledgement_wants_no_answer;
}

/// Sections 11.18 and 11.19: the answer has the ping's tag, its LUN and its data, as much of that as the target
/// takes in one segment; the reserved task tag; and it is immediate, so that it takes no CmdSN.
async fn c52_the_targets_ping_is_answered(world: &World) {
    // Segments of up to 4096 bytes to the target, of up to 262144 from it.
    let keys = [("MaxRecvDataSegmentLength", "4096")];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    let lengths = [0, 1, 2, 3, 4, 5, 512, 4095, 4096, 4097, 262_144];
    let tags = [0, 1, 0x7fff_ffff, 0xffff_fffe];
    for ((len, ttt), lun) in lengths
        .into_iter()
        .zip(tags.into_iter().cycle())
        .zip([0, 5, 300].into_iter().cycle())
    {
        let mut ping = Say::ping(ttt);
        ping.lun = Lun::new(lun);
        let bytes = pattern(len);
        peer.say(ping, bytes.clone()).await.unwrap();
        let (answer, echo) = peer.hear_pdu::<NopOut>().await.unwrap();
        let expected = NopOut {
            immediate: true,
            lun: Lun::new(lun),
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag(ttt),
            cmd_sn: peer.exp_cmd_sn(),
            exp_stat_sn: peer.stat_sn(),
            data_segment_length: len.min(4096) as u32,
        };
        assert_eq!(answer, expected);
        assert_eq!(echo, bytes[..len.min(4096)]);
    }
    // The numbers of statuses have not moved.
    fence(&session, &mut peer).await;
}

/// Section 11.19.1: a NOP-In with the reserved target transfer tag wants no answer, and takes no StatSN.
async fn c52_news_of_the_window_are_not_answered(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let before = peer.stat_sn();
    for _ in 0..3 {
        peer.say(Say::nop_in(), []).await.unwrap();
        peer.say(Say::nop_in(), pattern(5)).await.unwrap();
    }
    assert_eq!(fence(&session, &mut peer).await.exp_stat_sn, before);
}

/// Section 11.18: our ping has a task tag of its own and the reserved target transfer tag. The answer is that task's
/// and carries the data that was sent; an answer to no ping of ours, or with other data, is a protocol error.
async fn c53_our_ping_has_a_tag_and_its_answer_is_compared(world: &World) {
    for (number, wrong) in ["nothing", "data", "tag", "a command's tag"]
        .into_iter()
        .enumerate()
    {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let reading = start(&session, read(0, 1));
        let command = hear_command(&mut peer).await;
        let ping = session.ping();
        let (heard, data) = peer.hear_pdu::<NopOut>().await.unwrap();
        let expected = NopOut {
            immediate: true,
            lun: Lun::ZERO,
            itt: heard.itt,
            ttt: TargetTransferTag::RESERVED,
            cmd_sn: command.cmd_sn.next(),
            exp_stat_sn: peer.stat_sn(),
            data_segment_length: 0,
        };
        assert_eq!((heard, data), (expected, Vec::new()));
        assert_ne!(heard.itt, InitiatorTaskTag::RESERVED);
        let (tag, data) = match wrong {
            "data" => (heard.itt, pattern(4)),
            "tag" => (InitiatorTaskTag(heard.itt.0 ^ (1 << 20)), Vec::new()),
            "a command's tag" => (command.itt, Vec::new()),
            _ => (heard.itt, Vec::new()),
        };
        peer.say(Say::pong(tag), data).await.unwrap();
        if wrong == "nothing" {
            ping.await.unwrap();
            let data = Say::last_data_in(&command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
            expect_good(reading, 512).await;
            continue;
        }
        let error = ping.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{wrong}");
        let error = expect_error(reading).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{wrong}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{wrong}");
        let end = peer.hear().await.unwrap_err();
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}

/// Section 11.18: a NOP-Out with both tags reserved carries ExpStatSN and nothing else. The target is not to answer,
/// and the session does not wait for that.
async fn c54_an_acknowledgement_wants_no_answer(world: &World) {
    let mut options = quiet();
    options.core.acknowledge_after = Some(patience(world, Duration::from_secs(2)));
    let (mut peer, session) = logged_in(world, options, &[]).await;
    for _ in 0..3 {
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 0).await;
        let (heard, data) = peer.hear_pdu::<NopOut>().await.unwrap();
        let expected = NopOut {
            immediate: true,
            lun: Lun::ZERO,
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag::RESERVED,
            cmd_sn: command.cmd_sn.next(),
            exp_stat_sn: peer.stat_sn(),
            data_segment_length: 0,
        };
        assert_eq!((heard, data), (expected, Vec::new()));
        // Longer than every answer is waited for.
        peer.sleep(patience(world, Duration::from_secs(60))).await;
        fence(&session, &mut peer).await;
        // Of which the answer is acknowledged likewise.
        let (heard, _) = peer.hear_pdu::<NopOut>().await.unwrap();
        assert_eq!(heard.itt, InitiatorTaskTag::RESERVED);
        assert_eq!(heard.exp_stat_sn, peer.stat_sn());
    }
    assert_eq!(session.logins(), 1);
}
