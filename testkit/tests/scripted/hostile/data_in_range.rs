//! Data-In that does not fit its command's memory (RFC 7143 section 11.7).

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{error::PeerMisbehaved, pdu::Residual, scsi::ScsiStatus};
use iscsi_testkit::scripted::Say;

use super::scene::Scene;
use crate::{
    conformance::talk::{
        bytes_of, expect_error, fence, hear_command, logged_in, pattern, quiet, start,
    },
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h70_data_in_past_the_buffer;
    h71_data_in_offset_that_wraps;
    h72_the_same_range_twice;
    h73_good_with_data_missing;
    h80_residuals_that_lie;
}

/// Data-In of a read of 1024 bytes, after `before` bytes that were right: the connection ends, and nothing of it is
/// in the command's memory.
async fn does_not_fit(world: &World, number: usize, before: usize, offset: u32, len: usize) {
    let world = world.case(number).await;
    let requests = [read(0, 2), test_unit_ready()];
    let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
    let (peer, command) = (&mut scene.peer, scene.commands[0]);
    let mut data_sn = 0;
    if before > 0 {
        let data = Say::data_in(&command, 0, 0);
        peer.say(data, pattern(before)).await.unwrap();
        data_sn = 1;
    }
    let data = Say::data_in(&command, data_sn, offset);
    // The initiator may have reset the connection before all of it was sent.
    let _sent = peer.say(data, vec![0xee; len]).await;
    let case = format!("{len} bytes at {offset:#x} after {before}");
    let error = PeerMisbehaved::DataInRange {
        offset,
        length: len as u32,
    };
    let breach = scene.expect_broken(&world, &case).await.was(error, &case);
    let bytes = bytes_of(&breach.payloads[0]);
    assert_eq!(bytes[..before], pattern(before), "{case}");
    assert!(bytes[before..].iter().all(|byte| *byte == 0), "{case}");
}

/// Section 11.7.4: the data may not exceed the expected length.
async fn h70_data_in_past_the_buffer(world: &World) {
    let cases = [
        (0, 0, 1025),
        (0, 0, 65_536),
        (512, 512, 513),
        (512, 512, 4096),
        (1024, 1024, 1),
        (1024, 1024, 4096),
        (0, 1024, 4),
        (0, 1_000_000, 512),
    ];
    for (number, (before, offset, len)) in cases.into_iter().enumerate() {
        does_not_fit(world, number, before, offset, len).await;
    }
}

/// The same with a sum that is small in 32 bits.
async fn h71_data_in_offset_that_wraps(world: &World) {
    let cases = [
        (0, 0xffff_ff00, 0x200),
        (0, u32::MAX, 1),
        (0, u32::MAX, 2),
        (512, 0xffff_fe00, 0x400),
        (512, 0x8000_0000, 512),
    ];
    for (number, (before, offset, len)) in cases.into_iter().enumerate() {
        does_not_fit(world, number, before, offset, len).await;
    }
}

/// Section 13.18: with DataPDUInOrder=Yes every offset but the next one overlaps or leaves a hole.
async fn h72_the_same_range_twice(world: &World) {
    let cases = [
        (512, 0, 512),
        (512, 508, 512),
        (512, 511, 1),
        (512, 516, 508),
        (512, 513, 1),
        (1024, 0, 1024),
        (0, 512, 512),
        (0, 1, 4),
    ];
    for (number, (before, offset, len)) in cases.into_iter().enumerate() {
        does_not_fit(world, number, before, offset, len).await;
    }
}

/// Section 11.4.5: GOOD without a residual claims all of the data. If it is not there the command fails, alone.
async fn h73_good_with_data_missing(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (sent, in_data) in [
        (0, false),
        (1, false),
        (512, false),
        (1023, false),
        (4, true),
        (1023, true),
    ] {
        let execute = start(&session, read(0, 2));
        let command = hear_command(&mut peer).await;
        if sent > 0 {
            let data = match in_data {
                true => Say::last_data_in(&command, 0, 0),
                false => Say::data_in(&command, 0, 0),
            };
            peer.say(data, pattern(sent)).await.unwrap();
        }
        if !in_data {
            let answer = Say::response(command.itt, ScsiStatus::Good, 1);
            peer.say(answer, []).await.unwrap();
        }
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{sent}");
        assert_eq!(error.outcome(), Outcome::Executed, "{sent}");
        fence(&session, &mut peer).await;
    }
    assert_eq!(session.logins(), 1);
}

/// Section 11.4.5: a residual that is more than was asked for, or that claims data that did not come, fails its
/// command; one that claims less than came counts. (Both flags at once: `c61_overflow_and_underflow_at_once`.)
async fn h80_residuals_that_lie(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (sent, residual, told) in [
        (0, Residual::Underflow(1025), None),
        (1024, Residual::Underflow(1025), None),
        (1024, Residual::Underflow(u32::MAX), None),
        (512, Residual::Underflow(256), None),
        (0, Residual::Overflow(1), None),
        (512, Residual::Overflow(u32::MAX), None),
        (1024, Residual::Underflow(1024), Some(0)),
        (1024, Residual::Overflow(1), Some(1024)),
    ] {
        let execute = start(&session, read(0, 2));
        let command = hear_command(&mut peer).await;
        if sent > 0 {
            let data = Say::data_in(&command, 0, 0);
            peer.say(data, pattern(sent)).await.unwrap();
        }
        let mut answer = Say::response(command.itt, ScsiStatus::Good, 1);
        answer.residual = residual;
        peer.say(answer, []).await.unwrap();
        match (told, execute.await.result) {
            (Some(told), result) => assert_eq!(result.unwrap().transferred, told, "{residual}"),
            (None, result) => {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Protocol, "{residual}");
                assert_eq!(error.outcome(), Outcome::Executed, "{residual}");
            }
        }
        fence(&session, &mut peer).await;
    }
}
