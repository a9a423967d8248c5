//! Sense data that lies about itself (RFC 7143 section 11.4.7; SPC-4, sense data).

use iscsi_proto::{
    DecodeError,
    pdu::{DataIn, ScsiResponse},
    scsi::{AdditionalSenseCode, ScsiStatus, SenseKey},
};
use iscsi_testkit::scripted::{Frame, Say};

use super::scene::Scene;
use crate::{
    conformance::talk::{fence, hear_command, logged_in, pattern, quiet, start},
    support::{World, read, rows, test_unit_ready},
};

rows! {
    h92_sense_data_that_is_none;
    h92_sense_data_that_is_not_all_there;
    h92_sense_data_without_an_end;
    h92_sense_data_with_a_status_that_has_none;
    h92_sense_data_past_the_longest_segment;
}

/// A data segment: SenseLength, and what follows it.
pub(super) fn segment(length: u16, sense: &[u8]) -> Vec<u8> {
    let mut segment = length.to_be_bytes().to_vec();
    segment.extend(sense);
    segment
}

/// Fixed format with this ADDITIONAL SENSE LENGTH: ILLEGAL REQUEST, 24h/01h.
pub(super) fn fixed(additional: u8) -> [u8; 18] {
    let mut sense = [0; 18];
    (sense[0], sense[2], sense[7]) = (0x70, 0x05, additional);
    (sense[12], sense[13]) = (0x24, 0x01);
    sense
}

/// Descriptor format with this ADDITIONAL SENSE LENGTH and these descriptors: the same.
fn descriptor(additional: u8, descriptors: &[u8]) -> Vec<u8> {
    let mut sense = vec![0x72, 0x05, 0x24, 0x01, 0, 0, 0, additional];
    sense.extend(descriptors);
    sense
}

/// Data segments in which there is no sense data, whatever they announce.
pub(super) fn none() -> Vec<Vec<u8>> {
    let mut none = vec![
        vec![],
        vec![0],
        vec![0xff],
        segment(0, &[]),
        segment(0, &fixed(10)),
        segment(1, &[]),
        segment(18, &[]),
        segment(u16::MAX, &[]),
        segment(1, &fixed(10)),
        segment(2, &fixed(10)),
        segment(18, &[0x70]),
        segment(18, &[0x70, 0]),
        segment(1, &descriptor(0, &[])),
    ];
    // Response codes of no format, or of a vendor's.
    for code in [0x00, 0x01, 0x6f, 0x74, 0x7e, 0x7f, 0x80, 0xff] {
        let mut sense = fixed(10);
        sense[0] = code;
        none.push(segment(18, &sense));
    }
    none
}

/// What can be read of a data segment, and whether it is said that something is missing.
type Readable = (Vec<u8>, SenseKey, AdditionalSenseCode, bool);

/// Data segments whose lengths are not those of what is there.
pub(super) fn lying() -> Vec<Readable> {
    const KEY: SenseKey = SenseKey::IllegalRequest;
    const CODE: AdditionalSenseCode = AdditionalSenseCode(0x24, 0x01);
    const NO_CODE: AdditionalSenseCode = AdditionalSenseCode(0, 0);
    let mut long = fixed(244).to_vec();
    long.resize(300, 0xee);
    vec![
        (segment(18, &fixed(10)), KEY, CODE, false),
        // SenseLength is more, or less, than there is.
        (segment(19, &fixed(10)), KEY, CODE, true),
        (segment(u16::MAX, &fixed(10)), KEY, CODE, true),
        (segment(14, &fixed(10)), KEY, CODE, true),
        (
            segment(13, &fixed(10)),
            KEY,
            AdditionalSenseCode(0x24, 0),
            true,
        ),
        (segment(3, &fixed(10)), KEY, NO_CODE, true),
        // ADDITIONAL SENSE LENGTH is.
        (segment(18, &fixed(11)), KEY, CODE, true),
        (segment(18, &fixed(255)), KEY, CODE, true),
        (segment(18, &fixed(0)), KEY, NO_CODE, false),
        (
            segment(18, &fixed(5)),
            KEY,
            AdditionalSenseCode(0x24, 0),
            false,
        ),
        (segment(8, &descriptor(255, &[])), KEY, CODE, true),
        (segment(2, &descriptor(0, &[])), KEY, NO_CODE, true),
        // Descriptors are: without a length, longer than the rest, of nobody's type; or cut.
        (segment(12, &descriptor(4, &[0; 4])), KEY, CODE, false),
        (
            segment(12, &descriptor(4, &[0, 255, 0x80, 0])),
            KEY,
            CODE,
            false,
        ),
        (
            segment(12, &descriptor(4, &[0xff, 0, 0xff, 0])),
            KEY,
            CODE,
            false,
        ),
        (segment(9, &descriptor(1, &[0])), KEY, CODE, false),
        (
            segment(14, &descriptor(12, &[0, 10, 0x80, 0, 1, 2])),
            KEY,
            CODE,
            true,
        ),
        // More than sense data may have.
        (segment(252, &long[..252]), KEY, CODE, false),
        (segment(253, &long[..253]), KEY, CODE, true),
        (segment(300, &long), KEY, CODE, true),
    ]
}

/// A CHECK CONDITION whose sense data cannot be read ends its command, which was executed for all that is known, with
/// that status and without sense data; and nothing else.
async fn h92_sense_data_that_is_none(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for bytes in none() {
        for request in [test_unit_ready(), read(0, 2)] {
            let other = start(&session, test_unit_ready());
            let other_command = hear_command(&mut peer).await;
            let execute = start(&session, request);
            let command = hear_command(&mut peer).await;
            if command.read {
                let data = Say::data_in(&command, 0, 0);
                peer.say(data, pattern(512)).await.unwrap();
            }
            let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
            peer.say(answer, bytes.clone()).await.unwrap();
            let response = execute.await.result.unwrap();
            assert_eq!(response.status, ScsiStatus::CheckCondition, "{bytes:x?}");
            assert_eq!(response.sense, None, "{bytes:x?}");
            let came = if command.read { 512 } else { 0 };
            assert_eq!(response.transferred, came, "{bytes:x?}");
            let answer = Say::response(other_command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
            assert_eq!(other.await.result.unwrap().status, ScsiStatus::Good);
            fence(&session, &mut peer).await;
        }
    }
    assert_eq!(session.logins(), 1);
}

/// Of sense data that is not what its lengths say the caller gets what there is, at most the 252 bytes that the
/// standard allows, and is told that something is missing.
async fn h92_sense_data_that_is_not_all_there(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    for (bytes, key, code, truncated) in lying() {
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
        peer.say(answer, bytes.clone()).await.unwrap();
        let response = execute.await.result.unwrap();
        assert_eq!(response.status, ScsiStatus::CheckCondition, "{bytes:x?}");
        let sense = response.sense.unwrap_or_else(|| panic!("{bytes:x?}"));
        assert_eq!((sense.key(), sense.code()), (key, code), "{bytes:x?}");
        assert_eq!(sense.is_truncated(), truncated, "{bytes:x?}");
        let said = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let there = said.min(bytes.len() - 2).min(252);
        assert_eq!(sense.as_bytes(), &bytes[2..][..there], "{bytes:x?}");
        fence(&session, &mut peer).await;
    }
    assert_eq!(session.logins(), 1);
}

/// As much as a segment takes, for every command: 252 bytes of it are kept.
async fn h92_sense_data_without_an_end(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let mut sense = fixed(244).to_vec();
    sense.resize(262_142, 0xee);
    for length in [252, 253, 4096, u16::MAX] {
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
        peer.say(answer, segment(length, &sense)).await.unwrap();
        let sense = execute.await.result.unwrap().sense.unwrap();
        assert_eq!(sense.as_bytes().len(), 252, "{length}");
        assert_eq!(sense.is_truncated(), length > 252, "{length}");
        fence(&session, &mut peer).await;
    }
    assert_eq!(session.logins(), 1);
}

/// Section 11.4.7: other statuses come without sense data. What they bring counts for nothing: GOOD is none the less
/// good, and BUSY is not what sense data makes of it.
async fn h92_sense_data_with_a_status_that_has_none(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let mut segments = none();
    segments.extend(lying().into_iter().map(|(bytes, ..)| bytes));
    for bytes in segments {
        for status in [ScsiStatus::Good, ScsiStatus::Busy, ScsiStatus::TaskAborted] {
            let execute = start(&session, test_unit_ready());
            let command = hear_command(&mut peer).await;
            let answer: ScsiResponse = Say::response(command.itt, status, 0);
            peer.say(answer, bytes.clone()).await.unwrap();
            let response = execute.await.result.unwrap();
            assert_eq!(
                (response.status, response.sense),
                (status, None),
                "{bytes:x?}"
            );
        }
    }
    // In Data-In there is no room for sense data: what comes with it is the command's.
    let execute = start(&session, read(0, 1));
    let command = hear_command(&mut peer).await;
    let data: DataIn = Say::last_data_in(&command, 0, 0);
    let mut bytes = segment(18, &fixed(10));
    bytes.resize(512, 0);
    peer.say(data, bytes.clone()).await.unwrap();
    let executed = execute.await;
    assert_eq!(executed.result.unwrap().sense, None);
    fence(&session, &mut peer).await;
    assert_eq!(session.logins(), 1);
}

/// Section 13.12: sense data may be no longer than a data segment.
async fn h92_sense_data_past_the_longest_segment(world: &World) {
    for (number, length) in [262_145, 0xff_ffff].into_iter().enumerate() {
        let world = world.case(number).await;
        let requests = [read(0, 1), test_unit_ready()];
        let mut scene = Scene::beside_another(&world, quiet(), &[], requests).await;
        let answer = Say::response(scene.commands[0].itt, ScsiStatus::CheckCondition, 0);
        let mut frame = Frame::new(answer, segment(u16::MAX, &fixed(255)));
        scene.peer.number(&mut frame);
        frame.set_length(length);
        scene.peer.say_as_it_is(&frame).await.unwrap();
        let case = format!("{length} bytes");
        let breach = scene.expect_broken(&world, &case).await;
        let limit = 262_144;
        breach.was(DecodeError::DataSegmentTooLong { length, limit }, &case);
    }
}
