//! SCSI Command: its header, its lengths, its padding (RFC 7143 sections 11.1 to 11.3).

use std::collections::BTreeSet;

use futures_util::future::join;
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::BlockDeviceExt,
    error::{ErrorKind, Outcome, Retry},
    logical_unit::LogicalUnit,
    session::{Payload, ScsiRequest},
};
use iscsi_proto::{
    pdu::{DataOut, Pdu, ScsiCommand, TaskAttribute},
    scsi::{Cdb, Lun},
    text::DigestOffer,
};
use iscsi_testkit::scripted::Say;

use super::talk::{
    bytes_of, expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet, say_good,
    start,
};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c55_fields_of_a_scsi_command;
    c55_final_says_that_no_unsolicited_data_follows;
    c56_expected_length_is_that_of_the_cdb;
    c57_a_long_cdb_goes_in_an_additional_header_segment;
    c58_padding_is_zero_and_not_counted;
}

/// Section 11.3: flags, attribute, LUN, expected length and CDB, by their bytes.
async fn c55_fields_of_a_scsi_command(world: &World) {
    let (mut peer, session) = logged_in(world, quiet(), &[]).await;
    let luns: [(u16, [u8; 4]); 6] = [
        (0, [0, 0, 0, 0]),
        (1, [0, 1, 0, 0]),
        (0xff, [0, 0xff, 0, 0]),
        (0x100, [0x41, 0, 0, 0]),
        (0x3fff, [0x7f, 0xff, 0, 0]),
        (0x4000, [0xd2, 0, 0x40, 0]),
    ];
    let attributes = [
        (TaskAttribute::Untagged, 0),
        (TaskAttribute::Simple, 1),
        (TaskAttribute::Ordered, 2),
        (TaskAttribute::HeadOfQueue, 3),
        (TaskAttribute::Aca, 4),
    ];
    // What it is, its flags, its expected length and how much of it goes along.
    let kinds = [
        (test_unit_ready as fn() -> ScsiRequest, 0x80, 0, 0),
        (|| read(7, 3), 0xc0, 1536, 0),
        (|| write(7, pattern(1536)), 0xa0, 1536, 1536),
    ];
    for (lun, lun_bytes) in luns {
        for (attribute, attribute_bits) in attributes {
            for (make, flags, expected, immediate) in kinds {
                let mut request = make();
                request.lun = Lun::new(lun);
                request.attribute = attribute;
                let cdb = request.cdb;
                let execute = start(&session, request);
                let frame = peer.hear().await.unwrap();
                let header = frame.bhs.as_bytes();
                assert_eq!(header[0], 0x01, "no immediate delivery");
                assert_eq!(header[1], flags | attribute_bits);
                assert_eq!(header[2..5], [0, 0, 0], "reserved, and no AHS");
                assert_eq!(frame.data.len(), immediate);
                assert_eq!(header[8..12], lun_bytes);
                assert_eq!(header[12..16], [0; 4]);
                assert_eq!(frame.field(20), expected);
                assert_eq!(header[32..48], cdb.bytes);
                let Ok(Pdu::ScsiCommand(command)) = frame.pdu() else {
                    panic!("{frame:?}");
                };
                match command.read {
                    true => {
                        let data = Say::last_data_in(&command, 0, 0);
                        peer.say(data, pattern(1536)).await.unwrap();
                    }
                    false => say_good(&mut peer, command.itt).await,
                }
                expect_good(execute, expected).await;
            }
        }
    }
}

/// Section 11.3.1: F is 0 exactly if unsolicited Data-Out follows, which ends with F set.
async fn c55_final_says_that_no_unsolicited_data_follows(world: &World) {
    for (number, (initial_r2t, immediate_data)) in
        [("Yes", "Yes"), ("Yes", "No"), ("No", "Yes"), ("No", "No")]
            .into_iter()
            .enumerate()
    {
        let world = world.case(number).await;
        let keys = [
            ("InitialR2T", initial_r2t),
            ("ImmediateData", immediate_data),
            ("FirstBurstLength", "1024"),
            ("MaxRecvDataSegmentLength", "512"),
        ];
        let (mut peer, session) = logged_in(&world, quiet(), &keys).await;
        for len in [512, 1024] {
            let execute = start(&session, write(0, pattern(len)));
            let command = hear_command(&mut peer).await;
            let immediate = if immediate_data == "Yes" { 512 } else { 0 };
            assert_eq!(command.data_segment_length, immediate);
            let unsolicited = len - immediate as usize;
            let follows = initial_r2t == "No" && unsolicited > 0;
            assert_eq!(command.is_final, !follows, "{command}");
            let pdus = if follows { unsolicited / 512 } else { 0 };
            for at in 1..=pdus {
                let (data, _) = peer.hear_pdu::<DataOut>().await.unwrap();
                assert_eq!(data.is_final, at == pdus, "{data}");
            }
            fence(&session, &mut peer).await;
            if !follows && unsolicited > 0 {
                let r2t = Say::r2t(&command, 1, 0, immediate, unsolicited as u32);
                peer.say(r2t, []).await.unwrap();
                for _ in 0..unsolicited / 512 {
                    peer.hear_pdu::<DataOut>().await.unwrap();
                }
            }
            say_good(&mut peer, command.itt).await;
            expect_good(execute, len as u32).await;
        }
    }
}

/// How many bytes a CDB asks for (SPC-4, SBC-3), where a block has 512.
fn length_of(cdb: &[u8; 16]) -> u32 {
    let two = |at: usize| u32::from(u16::from_be_bytes([cdb[at], cdb[at + 1]]));
    let four = |at: usize| u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]);
    match cdb[0] {
        // TEST UNIT READY, SYNCHRONIZE CACHE.
        0x00 | 0x35 | 0x91 => 0,
        // REQUEST SENSE, MODE SENSE (6).
        0x03 | 0x1a => cdb[4].into(),
        0x12 => two(3),
        0x25 => 8,
        0x28 | 0x2a => two(7) * 512,
        // MODE SENSE (10), PERSISTENT RESERVE IN.
        0x5a | 0x5e => two(7),
        0x88 | 0x8a => four(10) * 512,
        // READ CAPACITY (16) and its like.
        0x9e => four(10),
        // REPORT LUNS, REPORT TARGET PORT GROUPS and its like.
        0xa0 | 0xa3 => four(6),
        other => panic!("no command that was to be expected: {other:#04x}"),
    }
}

/// Section 11.3.4: the expected length is what the CDB asks for, in the direction that it has.
async fn c56_expected_length_is_that_of_the_cdb(world: &World) {
    let core = world.core();
    let mut seen = BTreeSet::new();
    let script = async {
        let mut peer = world.accept_before(&core).await;
        peer.relay_until(|said, frame| {
            if let (false, Ok(Pdu::ScsiCommand(command))) = (said, frame.pdu()) {
                let length = length_of(&command.cdb);
                assert_eq!(command.expected_data_transfer_length, length, "{command}");
                let opcode = command.cdb[0];
                let writes = matches!(opcode, 0x2a | 0x8a);
                assert_eq!(command.write, writes, "{command}");
                assert_eq!(command.read, length > 0 && !writes, "{command}");
                seen.insert(opcode);
            }
            false
        })
        .await
        .unwrap_err();
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::ZERO).await.unwrap();
        for len in [512, 4096, 131_072] {
            let bytes = pattern(len);
            unit.write_at(512, &bytes).await.unwrap();
            assert_eq!(unit.read_bytes(512, len).await.unwrap(), bytes);
        }
    };
    join(script, client).await;
    assert_eq!(core.violations(), []);
    for opcode in [0x12, 0x9e, 0x28, 0x2a] {
        let wider = opcode + 0x60;
        assert!(seen.contains(&opcode) || seen.contains(&wider), "{seen:x?}");
    }
}

/// Section 11.2.2.3: what of a CDB goes beyond 16 bytes is in an additional header segment, whose length counts
/// the reserved byte and not the padding. What fits no such segment is refused here.
async fn c57_a_long_cdb_goes_in_an_additional_header_segment(world: &World) {
    for (number, digest) in ["None", "CRC32C"].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.offer = options.offer.with_header_digest(DigestOffer::PreferCrc32c);
        let keys = [("HeaderDigest", digest)];
        let (mut peer, session) = logged_in(&world, options, &keys).await;
        for len in [17, 18, 19, 20, 32, 259, 260] {
            let mut cdb = pattern(len);
            cdb[0] = 0x7f;
            let request = read(0, 1).with_extended_cdb(cdb.clone());
            let execute = start(&session, request);
            let frame = peer.hear().await.unwrap();
            let Ok(Pdu::ScsiCommand(command)) = frame.pdu() else {
                panic!("{frame:?}");
            };
            let beyond = len - 16;
            let ahs_len = 4 + beyond.next_multiple_of(4);
            assert_eq!(usize::from(command.total_ahs_length) * 4, ahs_len);
            assert_eq!(command.cdb, cdb[..16]);
            let mut expected = ((beyond + 1) as u16).to_be_bytes().to_vec();
            expected.extend([1, 0]);
            expected.extend(&cdb[16..]);
            expected.resize(ahs_len, 0);
            assert_eq!(frame.ahs, expected);
            let data = Say::last_data_in(&command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
            expect_good(execute, 512).await;
        }
        for len in [0, 1, 16, 261, 1000] {
            let request = test_unit_ready().with_extended_cdb(pattern(len));
            let error = expect_error(start(&session, request)).await;
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert_eq!(error.outcome(), Outcome::NotExecuted);
            assert_eq!(error.retry(), Retry::Never);
        }
        fence(&session, &mut peer).await;
    }
}

/// Section 11.1: segments are padded with zeros to whole words, which DataSegmentLength does not count; and the
/// padding of the target's is not taken for data. (A peer takes other padding for no PDU.)
async fn c58_padding_is_zero_and_not_counted(world: &World) {
    for (number, digest) in ["None", "CRC32C"].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        options.offer = options
            .offer
            .with_data_digest(DigestOffer::PreferCrc32c)
            .with_header_digest(DigestOffer::PreferCrc32c);
        let keys = [("DataDigest", digest), ("HeaderDigest", digest)];
        let (mut peer, session) = logged_in(&world, options, &keys).await;
        for len in [1, 2, 3, 4, 5, 7, 8, 511, 513] {
            let bytes = pattern(len);
            let payload = Payload::Out(WriteBuf::from(bytes.clone()));
            let write_buffer = Cdb::from_bytes([0x3b; 16]);
            let execute = start(&session, ScsiRequest::new(Lun::ZERO, write_buffer, payload));
            let (command, data) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            assert_eq!(command.expected_data_transfer_length as usize, len);
            assert_eq!(command.data_segment_length as usize, len);
            assert_eq!(data, bytes);
            say_good(&mut peer, command.itt).await;
            expect_good(execute, len as u32).await;

            let payload = Payload::In(ReadBuf::zeroed(len));
            let inquiry = Cdb::inquiry(len as u16);
            let execute = start(&session, ScsiRequest::new(Lun::ZERO, inquiry, payload));
            let command = hear_command(&mut peer).await;
            let data = Say::last_data_in(&command, 0, 0);
            peer.say(data, bytes.clone()).await.unwrap();
            let payload = expect_good(execute, len as u32).await;
            assert_eq!(bytes_of(&payload), bytes);
        }
    }
}
