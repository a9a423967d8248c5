//! Data-In (RFC 7143 section 11.7).

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{pdu::DataIn, scsi::ScsiStatus};
use iscsi_testkit::scripted::{End, Frame, Say};

use super::talk::{
    bytes_of, expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet, say_good,
    start,
};
use crate::support::{World, read, rows};

rows! {
    c35_data_sn_is_counted_for_each_command;
    c39_status_in_data_in_or_in_a_response;
    c39_a_status_that_data_in_must_not_carry;
    c40_acknowledge_asks_for_what_this_level_has_not;
    c42_data_in_as_long_as_we_declared_and_no_longer;
}

/// Section 4.2.2.4: DataSN starts at 0 for each command, and two commands' Data-In may alternate. Every gap and
/// repetition is told from that (its consequences: `c70`).
async fn c35_data_sn_is_counted_for_each_command(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for _ in 0..2 {
        let first = start(&session, read(0, 8));
        let second = start(&session, read(8, 8));
        let commands = [hear_command(&mut peer).await, hear_command(&mut peer).await];
        let bytes = pattern(8192);
        for data_sn in 0..8 {
            for (command, base) in commands.iter().zip([0, 4096]) {
                let offset = data_sn * 512;
                let data = match data_sn {
                    7 => Say::last_data_in(command, data_sn, offset),
                    _ => Say::data_in(command, data_sn, offset),
                };
                let from = base + offset as usize;
                peer.say(data, &bytes[from..from + 512]).await.unwrap();
            }
        }
        assert_eq!(bytes_of(&expect_good(first, 4096).await), &bytes[..4096]);
        assert_eq!(bytes_of(&expect_good(second, 4096).await), &bytes[4096..]);
    }
}

/// Section 11.7.3: the status may come with the last Data-In, or in a response of its own; with CHECK CONDITION it
/// has to. F without S ends a sequence and no command.
async fn c39_status_in_data_in_or_in_a_response(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (in_data, status) in [
        (true, ScsiStatus::Good),
        (true, ScsiStatus::ConditionMet),
        (true, ScsiStatus::Busy),
        (false, ScsiStatus::Good),
        (false, ScsiStatus::Busy),
    ] {
        let before = peer.stat_sn();
        let execute = start(&session, read(0, 4));
        let command = hear_command(&mut peer).await;
        let mut data = Say::data_in(&command, 0, 0);
        data.is_final = true;
        peer.say(data, pattern(1024)).await.unwrap();
        // Not acknowledged, since it is no status.
        assert_eq!(fence(&session, &mut peer).await.exp_stat_sn, before);
        let mut data = Say::data_in(&command, 1, 1024);
        data.is_final = true;
        data.status = in_data.then_some(status);
        peer.say(data, &pattern(2048)[1024..]).await.unwrap();
        if !in_data {
            let answer = Say::response(command.itt, status, 2);
            peer.say(answer, []).await.unwrap();
        }
        let executed = execute.await;
        let response = executed.result.unwrap();
        assert_eq!((response.status, response.transferred), (status, 2048));
        assert_eq!(bytes_of(&executed.payload), pattern(2048));
        let after = fence(&session, &mut peer).await;
        assert_eq!(after.exp_stat_sn, before.plus(2));
    }
}

/// Section 11.7.3: S comes with F only; and CHECK CONDITION, whose sense data Data-In has no room for, does not
/// come with it at all. Neither is taken for an answer: the connection ends, and the outcome is unknown.
async fn c39_a_status_that_data_in_must_not_carry(world: &World) {
    let cases = [
        (false, ScsiStatus::Good),
        (false, ScsiStatus::Busy),
        (true, ScsiStatus::CheckCondition),
    ];
    for (number, (is_final, status)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let execute = start(&session, read(0, 1));
        let command = hear_command(&mut peer).await;
        let mut data = Say::last_data_in(&command, 0, 0);
        data.is_final = is_final;
        data.status = Some(status);
        peer.say(data, pattern(512)).await.unwrap();
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{status}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{status}");
        let end = peer.hear().await.unwrap_err();
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}

/// Section 11.7.2: A asks for a SNACK, and may be set at ErrorRecoveryLevel 1 and more only. At level 0 it is a
/// protocol error, and no SNACK is sent.
async fn c40_acknowledge_asks_for_what_this_level_has_not(world: &World) {
    let sequences: [fn(&mut DataIn); 3] = [
        |data| data.acknowledge = true,
        |data| (data.acknowledge, data.is_final) = (true, true),
        |data| {
            (data.acknowledge, data.is_final) = (true, true);
            data.status = Some(ScsiStatus::Good);
        },
    ];
    for (number, spoil) in sequences.into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, quiet(), &[]).await;
        let execute = start(&session, read(0, 1));
        let command = hear_command(&mut peer).await;
        let mut data = Say::data_in(&command, 0, 0);
        spoil(&mut data);
        peer.say(data, pattern(512)).await.unwrap();
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.outcome(), Outcome::Unknown);
        let end = peer.hear().await.unwrap_err();
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    }
}

/// Section 11.7 and 13.12: a data segment as long as our MaxRecvDataSegmentLength is taken, and one byte more is a
/// format error that ends the connection before any of it was placed.
async fn c42_data_in_as_long_as_we_declared_and_no_longer(world: &World) {
    let lengths = [512, 516, 8192, 262_144];
    for (number, length) in lengths.into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        let offer = options.offer.with_max_recv_data_segment_length(length);
        options.offer = offer.unwrap();
        let (mut peer, session) = logged_in(&world, options, &[]).await;
        let blocks = length / 512 + 1;
        let execute = start(&session, read(0, blocks));
        let command = hear_command(&mut peer).await;
        let bytes = pattern(blocks as usize * 512);
        let (longest, rest) = bytes.split_at(length as usize);
        let data = Say::data_in(&command, 0, 0);
        peer.say(data, longest).await.unwrap();
        let data = Say::data_in(&command, 1, length);
        peer.say(data, rest).await.unwrap();
        say_good(&mut peer, command.itt).await;
        let payload = expect_good(execute, blocks * 512).await;
        assert_eq!(bytes_of(&payload), bytes);

        let execute = start(&session, read(0, blocks));
        let command = hear_command(&mut peer).await;
        let data = Say::data_in(&command, 0, 0);
        let too_long = Frame::new(data, &bytes[..=length as usize]);
        // The initiator may have reset the connection before all of it was sent.
        let _sent = peer.say_as_it_is(&too_long).await;
        let executed = execute.await;
        let error = executed.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(bytes_of(&executed.payload).iter().all(|byte| *byte == 0));
    }
}
