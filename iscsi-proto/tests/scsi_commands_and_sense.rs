//! CDBs and sense data, byte for byte as the standards draw them, in both directions.

use iscsi_proto::scsi::sense::SenseFormat;
use iscsi_proto::scsi::{AdditionalSenseCode, Cdb, Command, SenseData, SenseKey};

fn padded(command: &[u8]) -> Cdb {
    let mut bytes = [0; 16];
    bytes[..command.len()].copy_from_slice(command);
    Cdb::from_bytes(bytes)
}

fn check(cdb: Cdb, bytes: &[u8], command: Command, text: &str) {
    assert_eq!(cdb.as_bytes(), bytes, "{text}");
    assert_eq!(Cdb::from_bytes(cdb.bytes), cdb);
    assert_eq!(Command::decode(&cdb), command);
    assert_eq!(cdb.to_string(), text);
}

#[test]
fn commands_about_the_device_have_the_bytes_of_spc_4_and_decode_to_themselves() {
    check(
        Cdb::test_unit_ready(),
        &[0; 6],
        Command::TestUnitReady,
        "TEST UNIT READY",
    );
    check(
        Cdb::inquiry(0x0124),
        &[0x12, 0, 0, 1, 0x24, 0],
        Command::Inquiry {
            evpd: false,
            page: 0,
            allocation_length: 0x124,
        },
        "INQUIRY",
    );
    check(
        Cdb::inquiry_vpd(0x83, 252),
        &[0x12, 1, 0x83, 0, 252, 0],
        Command::Inquiry {
            evpd: true,
            page: 0x83,
            allocation_length: 252,
        },
        "INQUIRY page 0x83",
    );
    check(
        Cdb::report_luns(0x0102_0304),
        &[0xa0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0],
        Command::ReportLuns {
            select: 0,
            allocation_length: 0x0102_0304,
        },
        "REPORT LUNS",
    );
    check(
        Cdb::read_capacity10(),
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Command::ReadCapacity10,
        "READ CAPACITY(10)",
    );
    check(
        Cdb::read_capacity16(),
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        Command::ReadCapacity16 {
            allocation_length: 32,
        },
        "READ CAPACITY(16)",
    );
    check(
        padded(&[0x5e, 1]),
        &[0x5e, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        Command::Other(0x5e),
        "PERSISTENT RESERVE IN, READ RESERVATION",
    );
    check(
        padded(&[0xa2]),
        &[0xa2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Command::Other(0xa2),
        "command 0xa2",
    );
    // Another service action of the same opcode is not READ CAPACITY (16).
    assert_eq!(
        Command::decode(&padded(&[0x9e, 0x12])),
        Command::Other(0x9e)
    );
}

#[test]
fn commands_about_blocks_have_the_bytes_of_sbc_3_and_decode_to_themselves() {
    check(
        Cdb::read10(0x0102_0304, 0x0506, false),
        &[0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0],
        Command::Read {
            lba: 0x0102_0304,
            blocks: 0x506,
            fua: false,
        },
        "READ(10) LBA 16909060 blocks 1286",
    );
    check(
        padded(&[0xa8, 0, 0, 0, 1, 0, 0, 1, 0, 0]),
        &[0xa8, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0],
        Command::Read {
            lba: 256,
            blocks: 65536,
            fua: false,
        },
        "READ(12) LBA 256 blocks 65536",
    );
    check(
        Cdb::read16(0x0102_0304_0506_0708, 0x090a_0b0c, true),
        &[0x88, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0],
        Command::Read {
            lba: 0x0102_0304_0506_0708,
            blocks: 0x090a_0b0c,
            fua: true,
        },
        "READ(16) LBA 72623859790382856 blocks 151653132 FUA",
    );
    check(
        Cdb::write10(7, 8, true),
        &[0x2a, 8, 0, 0, 0, 7, 0, 0, 8, 0],
        Command::Write {
            lba: 7,
            blocks: 8,
            fua: true,
        },
        "WRITE(10) LBA 7 blocks 8 FUA",
    );
    check(
        padded(&[0xaa, 8, 0, 0, 0, 7, 0, 0, 0, 8]),
        &[0xaa, 8, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0],
        Command::Write {
            lba: 7,
            blocks: 8,
            fua: true,
        },
        "WRITE(12) LBA 7 blocks 8 FUA",
    );
    check(
        Cdb::write16(7, 8, false),
        &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0],
        Command::Write {
            lba: 7,
            blocks: 8,
            fua: false,
        },
        "WRITE(16) LBA 7 blocks 8",
    );
    check(
        Cdb::synchronize_cache10(1, 2),
        &[0x35, 0, 0, 0, 0, 1, 0, 0, 2, 0],
        Command::SynchronizeCache {
            lba: 1,
            blocks: 2,
            immediate: false,
        },
        "SYNCHRONIZE CACHE(10) LBA 1 blocks 2",
    );
    check(
        Cdb::synchronize_cache16(1, 2),
        &[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0],
        Command::SynchronizeCache {
            lba: 1,
            blocks: 2,
            immediate: false,
        },
        "SYNCHRONIZE CACHE(16) LBA 1 blocks 2",
    );
}

#[test]
fn a_six_byte_transfer_of_zero_blocks_means_256_and_a_ten_byte_one_means_none() {
    let expected = Command::Read {
        lba: 0x1f_ffff,
        blocks: 256,
        fua: false,
    };
    assert_eq!(
        Command::decode(&padded(&[0x08, 0xff, 0xff, 0xff, 0, 0])),
        expected
    );
    let expected = Command::Write {
        lba: 5,
        blocks: 3,
        fua: false,
    };
    assert_eq!(Command::decode(&padded(&[0x0a, 0, 0, 5, 3, 0])), expected);
    let expected = Command::Read {
        lba: 9,
        blocks: 0,
        fua: false,
    };
    assert_eq!(Command::decode(&Cdb::read10(9, 0, false)), expected);
}

#[test]
fn sixteen_byte_commands_are_used_only_beyond_the_reach_of_ten() {
    assert_eq!(Cdb::read(u64::from(u32::MAX), 65535, false).len, 10);
    assert_eq!(Cdb::read(1 << 32, 1, false).len, 16);
    assert_eq!(Cdb::write(0, 65536, false).len, 16);
    assert_eq!(Cdb::write(0, 65535, true), Cdb::write10(0, 65535, true));
}

#[test]
fn fixed_sense_data_is_18_bytes_and_carries_a_32_bit_lba() {
    let code = AdditionalSenseCode::UNRECOVERED_READ_ERROR;
    let sense = SenseData::fixed(SenseKey::MediumError, code).with_information(0x0102_0304);
    let bytes = [0xf0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
    assert_eq!(sense.as_bytes(), bytes);
    assert_eq!(SenseData::parse(&bytes), Ok(sense.clone()));
    assert_eq!(sense.information(), Some(0x0102_0304));
    assert_eq!(sense.format(), SenseFormat::Fixed);
    let text = "MEDIUM ERROR, 11/00 UNRECOVERED READ ERROR, information 16909060";
    assert_eq!(sense.to_string(), text);
}

#[test]
fn an_lba_beyond_32_bits_takes_the_descriptor_format() {
    let code = AdditionalSenseCode::UNRECOVERED_READ_ERROR;
    let sense = SenseData::fixed(SenseKey::MediumError, code).with_information(1 << 32);
    let bytes = [
        0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0,
    ];
    assert_eq!(sense.as_bytes(), bytes);
    assert_eq!(SenseData::parse(&bytes), Ok(sense));
}

#[test]
fn deferred_sense_and_descriptors_before_the_information_are_understood() {
    // A sense key specific descriptor (type 2) comes first.
    let bytes = [
        &[0x73, 6, 0x29, 7, 0, 0, 0, 20][..],
        &[2, 6, 0, 0, 0x80, 0, 0, 0],
        &[0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 9],
    ]
    .concat();
    let sense = SenseData::parse(&bytes).unwrap();
    assert!(sense.is_deferred() && !sense.is_truncated());
    assert_eq!(sense.key(), SenseKey::UnitAttention);
    assert_eq!(sense.code(), AdditionalSenseCode::I_T_NEXUS_LOSS_OCCURRED);
    assert_eq!(sense.information(), Some(9));
    let made = SenseData::fixed(sense.key(), sense.code()).into_deferred();
    assert_eq!(made.as_bytes()[..3], [0x71, 0, 6]);
    assert!(SenseData::parse(made.as_bytes()).unwrap().is_deferred());
}

#[test]
fn information_without_the_valid_bit_is_not_reported() {
    let mut bytes = [0x70, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
    assert_eq!(SenseData::parse(&bytes).unwrap().information(), None);
    bytes[0] = 0xf0;
    assert_eq!(
        SenseData::parse(&bytes).unwrap().information(),
        Some(0x0102_0304)
    );
}

#[test]
fn every_sense_key_survives_the_round_trip() {
    for key in 0..=0x0f {
        assert_eq!(SenseKey::from_byte(key).to_byte(), key);
    }
}

#[test]
fn the_sense_segment_starts_with_its_length() {
    let code = AdditionalSenseCode::TARGET_PORT_IN_STANDBY_STATE;
    let sense = SenseData::fixed(SenseKey::NotReady, code);
    let mut segment = sense.to_data_segment();
    assert_eq!(segment.len(), 20);
    assert_eq!(segment[..3], [0, 18, 0x70]);
    // Response data may follow the sense data.
    segment.extend_from_slice(&[1, 2, 3]);
    assert_eq!(SenseData::parse_data_segment(&segment), Ok(Some(sense)));
}

#[test]
fn request_sense_asks_for_either_format() {
    assert_eq!(
        Cdb::request_sense(false, 252).as_bytes(),
        [0x03, 0, 0, 0, 252, 0]
    );
    assert_eq!(Cdb::request_sense(true, 18).bytes[1], 0x01);
    assert_eq!(Cdb::request_sense(true, 18).to_string(), "REQUEST SENSE");
}

#[test]
fn progress_and_field_pointers_are_read_from_both_formats() {
    let mut fixed = SenseData::fixed(SenseKey::NotReady, AdditionalSenseCode::BECOMING_READY)
        .as_bytes()
        .to_vec();
    assert_eq!(SenseData::parse(&fixed).unwrap().progress(), None);
    fixed[15..18].copy_from_slice(&[0x80, 0x40, 0]);
    let sense = SenseData::parse(&fixed).unwrap();
    assert_eq!(
        (sense.progress(), sense.field_pointer()),
        (Some(0x4000), None)
    );
    fixed[7] = 9; // ADDITIONAL SENSE LENGTH ends before the last byte of it
    assert_eq!(SenseData::parse(&fixed).unwrap().progress(), None);

    let illegal = [0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xcb, 0, 2, 0];
    let sense = SenseData::parse(&illegal).unwrap();
    let pointer = sense.field_pointer().unwrap();
    assert_eq!((pointer.in_cdb, pointer.byte), (true, 2));
    assert_eq!((pointer.bit, sense.progress()), (Some(3), None));
    let another = [0x72, 0, 0, 0, 0, 0, 0, 8, 0x0a, 6, 2, 4, 1, 0, 0x12, 0x34];
    assert_eq!(SenseData::parse(&another).unwrap().progress(), Some(0x1234));
    let short = [0x72, 5, 0x24, 0, 0, 0, 0, 7, 2, 5, 0, 0, 0xcb, 0, 2];
    assert_eq!(SenseData::parse(&short).unwrap().field_pointer(), None);
}
