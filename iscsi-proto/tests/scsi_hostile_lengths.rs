//! Devices that lie about lengths and geometry. H92 and H108 to H111 are rows of the table of
//! hostile targets; every test names its row.

use iscsi_proto::DecodeError;
use iscsi_proto::scsi::vpd::{
    BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, LogicalBlockProvisioning,
    ProvisioningType, RotationRate, SupportedPages, UnitSerialNumber, needed_length,
};
use iscsi_proto::scsi::{
    AccessState, AdditionalSenseCode, Capacity, DiskModes, Lun, ReadCapacity10, ReadCapacity16,
    ReportLuns, SenseData, SenseKey, SetTargetPortGroups, StandardInquiry, TargetPortGroups,
};

const fn truncated(length: u32, needed: u32) -> DecodeError {
    DecodeError::Truncated { length, needed }
}

#[test]
fn h92_a_sense_segment_of_0_1_or_2_bytes_is_absent_or_malformed() {
    assert_eq!(SenseData::parse_data_segment(&[]), Ok(None));
    assert_eq!(SenseData::parse_data_segment(&[0]), Err(truncated(1, 2)));
    assert_eq!(SenseData::parse_data_segment(&[0, 0]), Ok(None));
    assert_eq!(
        SenseData::parse_data_segment(&[0, 18]),
        Err(truncated(0, 3))
    );
}

#[test]
fn h92_a_sense_length_past_the_segment_parses_what_is_there() {
    let code = AdditionalSenseCode::LOGICAL_UNIT_NOT_SUPPORTED;
    let mut segment = SenseData::fixed(SenseKey::IllegalRequest, code).to_data_segment();
    segment[0] = 0xff;
    let sense = SenseData::parse_data_segment(&segment).unwrap().unwrap();
    assert!(sense.is_truncated());
    assert_eq!(
        (sense.key(), sense.code()),
        (SenseKey::IllegalRequest, code)
    );
}

#[test]
fn h92_additional_sense_length_is_believed_downwards_only() {
    let code = AdditionalSenseCode::LOGICAL_UNIT_NOT_SUPPORTED;
    let mut bytes = SenseData::fixed(SenseKey::IllegalRequest, code)
        .as_bytes()
        .to_vec();
    bytes[7] = 244;
    let sense = SenseData::parse(&bytes).unwrap();
    assert!(sense.is_truncated());
    assert_eq!(sense.code(), code);
    // What lies behind the announced end is not sense data.
    bytes[7] = 4;
    let sense = SenseData::parse(&bytes).unwrap();
    assert_eq!(sense.code(), AdditionalSenseCode(0, 0));
    assert_eq!(sense.key(), SenseKey::IllegalRequest);
}

#[test]
fn h92_sense_descriptors_that_lie_end_the_search_and_nothing_else() {
    let code = AdditionalSenseCode::WRITE_ERROR;
    let honest = SenseData::descriptor(SenseKey::MediumError, code).with_information(5);
    for length in 0..=u8::MAX {
        let mut bytes = honest.as_bytes().to_vec();
        bytes[9] = length;
        let sense = SenseData::parse(&bytes).unwrap();
        assert_eq!(sense.code(), code);
        assert_eq!(sense.information(), (length >= 10).then_some(5));
    }
    // A chain of empty descriptors of another type.
    let chain = [&[0x72, 3, 0x0c, 0, 0, 0, 0, 244][..], &[1, 0].repeat(122)].concat();
    assert_eq!(SenseData::parse(&chain).unwrap().information(), None);
}

#[test]
fn h92_no_more_than_252_bytes_of_sense_are_kept() {
    let mut bytes = vec![0; 1000];
    (bytes[0], bytes[2], bytes[7]) = (0x70, 0x0b, 0xff);
    let sense = SenseData::parse(&bytes).unwrap();
    assert_eq!(sense.as_bytes().len(), 252);
    assert!(sense.is_truncated());
    assert_eq!(sense.to_data_segment().len(), 254);
}

#[test]
fn h92_the_device_itself_may_say_that_its_sense_data_did_not_fit() {
    let code = AdditionalSenseCode::WRITE_ERROR;
    let mut fixed = SenseData::fixed(SenseKey::MediumError, code)
        .as_bytes()
        .to_vec();
    fixed[2] |= 0x10;
    assert!(SenseData::parse(&fixed).unwrap().is_truncated());
    let mut descriptor = SenseData::descriptor(SenseKey::MediumError, code)
        .as_bytes()
        .to_vec();
    descriptor[4] |= 0x80;
    assert!(SenseData::parse(&descriptor).unwrap().is_truncated());
}

#[test]
fn h92_other_response_codes_are_malformed() {
    for response_code in [0x00, 0x6f, 0x74, 0x7f, 0xff] {
        let sense = SenseData::parse(&[response_code; 18]);
        assert_eq!(sense, Err(DecodeError::Scsi { offset: 0 }));
    }
}

#[test]
fn h108_inquiry_data_is_used_as_far_as_it_goes() {
    let full = *b"\x00\x00\x05\x02\xff\x10\x00\x02VENDOR  PRODUCT         0001";
    let parsed = StandardInquiry::parse(&full).unwrap();
    assert!(parsed.truncated, "additional length says 260 bytes");
    assert_eq!(parsed.product.to_string(), "PRODUCT");

    let parsed = StandardInquiry::parse(&full[..12]).unwrap();
    assert!(parsed.truncated);
    assert_eq!(parsed.vendor.to_string(), "VEND");
    assert_eq!(parsed.product.to_string(), "");
    assert_eq!(StandardInquiry::parse(&full[..4]), Err(truncated(4, 5)));
}

#[test]
fn h108_text_from_a_device_cannot_carry_control_characters_into_a_log() {
    let header = [0, 0, 5, 2, 0x1f, 0, 0, 0];
    let text = b"EVIL\n\x1b[mPRODUCT\xff        0001";
    let parsed = StandardInquiry::parse(&[&header[..], text].concat()).unwrap();
    assert_eq!(parsed.vendor.to_string(), r"EVIL\n\x1b[m");
    assert_eq!(parsed.product.to_string(), r"PRODUCT\xff");
}

#[test]
fn h108_another_page_than_asked_for_is_an_error() {
    let serial = [0, 0x80, 0, 1, b'1'];
    let wrong = |expected| DecodeError::WrongVpdPage {
        expected,
        found: 0x80,
    };
    assert_eq!(DeviceIdentification::parse(&serial), Err(wrong(0x83)));
    assert_eq!(SupportedPages::parse(&serial), Err(wrong(0x00)));
    assert_eq!(BlockLimits::parse(&serial), Err(wrong(0xb0)));
}

#[test]
fn h108_pages_shorter_than_they_say_are_marked() {
    let serial = UnitSerialNumber::parse(&[0, 0x80, 0xff, 0xff, b'1', b'2']).unwrap();
    assert!(serial.truncated);
    assert_eq!(serial.trimmed(), b"12");
    assert_eq!(needed_length(&[0, 0x80, 0xff, 0xff]), Some(65_539));
    assert_eq!(needed_length(&[0, 0x80, 0]), None);
    assert_eq!(UnitSerialNumber::parse(&[0, 0x80, 0]), Err(truncated(3, 4)));
}

#[test]
fn h108_a_designator_past_the_page_leaves_those_before_it() {
    let good = [0x01, 0x03, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 1];
    for lie in [
        &[0x01, 0x03, 0, 9, 0x60, 0, 0, 0, 0, 0, 0, 1][..],
        &[0x01, 0x03, 0],
    ] {
        let length = u8::try_from(good.len() + lie.len()).unwrap();
        let page = [&[0, 0x83, 0, length][..], &good, lie].concat();
        let parsed = DeviceIdentification::parse(&page).unwrap();
        assert!(parsed.truncated);
        assert_eq!(parsed.designators.len(), 1);
        let identity = parsed.logical_unit_identity().unwrap();
        assert_eq!(identity.to_string(), "35000000000000001");
    }
    // Bytes behind PAGE LENGTH are no designators.
    let page = [&[0, 0x83, 0, 12][..], &good, &good].concat();
    let parsed = DeviceIdentification::parse(&page).unwrap();
    assert_eq!((parsed.designators.len(), parsed.truncated), (1, false));
}

#[test]
fn h109_list_lengths_are_checked_before_memory_is_taken() {
    let list = |length: u32| {
        let data = [&length.to_be_bytes()[..], &[0; 8]].concat();
        ReportLuns::parse(&data)
    };
    assert_eq!(list(0).map(|l| (l.luns, l.truncated)), Ok((vec![], false)));
    assert_eq!(list(7), Err(DecodeError::Scsi { offset: 0 }));
    let too_many = |count| DecodeError::TooManyLuns {
        count,
        limit: 16_384,
    };
    assert_eq!(list(0xffff_fff8), Err(too_many(0x1fff_ffff)));
    assert_eq!(list(800_000), Err(too_many(100_000)));
    assert_eq!(list(16_385 * 8), Err(too_many(16_385)));
    assert_eq!(ReportLuns::parse(&[0; 7]), Err(truncated(7, 8)));

    // Half an entry is no LUN; the rest can be asked for.
    let partial = list(16_384 * 8).unwrap();
    assert_eq!((partial.luns.len(), partial.truncated), (0, true));
    assert_eq!(partial.needed_length(), 16_384 * 8 + 8);
}

#[test]
fn h109_a_lun_reported_again_and_again_is_listed_once() {
    let data = ReportLuns::emit(&[Lun::new(3), Lun::new(1), Lun::new(3), Lun::new(3)]);
    assert_eq!(
        ReportLuns::parse(&data).unwrap().luns,
        [Lun::new(3), Lun::new(1)]
    );
}

#[test]
fn h110_impossible_block_lengths_and_sizes_are_refused() {
    for block_length in [0, 1, 3, 256, 513, 520, 4095, 131_072, 1 << 31, u32::MAX] {
        let bad = DecodeError::BadGeometry {
            last_lba: 99,
            block_length,
        };
        let ten = ReadCapacity10 {
            last_lba: 99,
            block_length,
        };
        assert_eq!(ReadCapacity10::parse(&ten.emit()), Err(bad));
        let sixteen = ReadCapacity16 {
            last_lba: 99,
            block_length,
            ..Default::default()
        };
        assert_eq!(ReadCapacity16::parse(&sixteen.emit()), Err(bad));
    }
    for last_lba in [u64::MAX, u64::MAX - 1, (1 << 55) - 1] {
        let bad = DecodeError::BadGeometry {
            last_lba,
            block_length: 512,
        };
        assert_eq!(Capacity::new(last_lba, 512), Err(bad));
    }
    let largest = Capacity::new((1 << 55) - 2, 512).unwrap();
    assert_eq!(largest.size_in_bytes(), u64::MAX - 511);
}

#[test]
fn h110_the_largest_physical_block_exponent_does_not_overflow() {
    let answer = ReadCapacity16 {
        last_lba: 0,
        block_length: 65_536,
        physical_block_exponent: 15,
        ..Default::default()
    };
    let parsed = ReadCapacity16::parse(&answer.emit()).unwrap();
    assert_eq!(parsed.physical_block_length(), 1 << 31);
}

#[test]
fn h110_a_short_answer_is_enough_if_the_geometry_is_there() {
    let answer = ReadCapacity16 {
        last_lba: 9,
        block_length: 512,
        provisioning_enabled: true,
        ..Default::default()
    };
    let parsed = ReadCapacity16::parse(&answer.emit()[..12]).unwrap();
    assert!(parsed.truncated && !parsed.provisioning_enabled);
    assert_eq!(
        ReadCapacity16::parse(&answer.emit()[..11]),
        Err(truncated(11, 12))
    );
    assert_eq!(ReadCapacity10::parse(&[0; 7]), Err(truncated(7, 8)));
}

#[test]
fn h111_block_limits_of_zero_or_that_contradict_each_other_are_not_reported() {
    let mut page = vec![0; 64];
    page[..4].copy_from_slice(&[0, 0xb0, 0, 0x3c]);
    assert_eq!(BlockLimits::parse(&page), Ok(BlockLimits::default()));

    // Maximum 8, optimal 16, granularity 16.
    (page[7], page[11], page[15]) = (16, 8, 16);
    let limits = BlockLimits::parse(&page).unwrap();
    assert_eq!(limits.maximum_transfer_length.map(|l| l.get()), Some(8));
    assert_eq!(limits.optimal_transfer_length, None);
    assert_eq!(limits.optimal_transfer_length_granularity, None);

    // Without a maximum nothing contradicts them.
    page[11] = 0;
    let limits = BlockLimits::parse(&page).unwrap();
    assert_eq!(limits.optimal_transfer_length.map(|l| l.get()), Some(16));
    assert_eq!(
        limits.optimal_transfer_length_granularity.map(|l| l.get()),
        Some(16)
    );
}

/// Two groups with one port each; length-only header.
const GROUPS: [u8; 28] = [
    0, 0, 0, 24, // RETURN DATA LENGTH
    0x80, 0xcf, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, //
    0x02, 0xcf, 0x82, 6, 0, 1, 0, 1, 0, 0, 0, 2,
];

#[test]
fn a_list_of_port_groups_that_ends_anywhere_keeps_whole_groups_and_says_so() {
    for end in 0..GROUPS.len() {
        match TargetPortGroups::parse(&GROUPS[..end]) {
            Err(error) => assert_eq!(error, truncated(end as u32, 4)),
            Ok(list) => {
                assert_eq!(list.groups.len(), end.saturating_sub(4) / 12, "{end}");
                assert!(list.truncated);
                assert_eq!(list.needed_length(), 28);
            }
        }
    }
    let whole = TargetPortGroups::parse(&GROUPS).unwrap();
    assert!(!whole.truncated);
    assert_eq!(whole.group(0x8206).unwrap().state, AccessState::Standby);
    assert_eq!(whole.group(3), None);
}

#[test]
fn port_group_lengths_are_believed_downwards_only() {
    let mut list = GROUPS;
    list[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let parsed = TargetPortGroups::parse(&list).unwrap();
    assert_eq!((parsed.groups.len(), parsed.truncated), (2, true));
    assert_eq!(parsed.needed_length(), u32::MAX);
    list[..4].copy_from_slice(&12_u32.to_be_bytes());
    let parsed = TargetPortGroups::parse(&list).unwrap();
    assert_eq!((parsed.groups.len(), parsed.truncated), (1, false));
    // A port count that reaches past the list takes its own group with it, and nothing else.
    let mut list = GROUPS;
    list[11] = 255;
    let parsed = TargetPortGroups::parse(&list).unwrap();
    assert_eq!((parsed.groups.len(), parsed.truncated), (0, true));
    let mut list = GROUPS;
    list[23] = 2;
    let parsed = TargetPortGroups::parse(&list).unwrap();
    assert_eq!((parsed.groups.len(), parsed.truncated), (1, true));
    // No port at all is legal, and no step stands still.
    let parsed = TargetPortGroups::parse(&[[0, 0, 0, 80].as_slice(), &[0; 80]].concat()).unwrap();
    assert_eq!((parsed.groups.len(), parsed.truncated), (10, false));
}

#[test]
fn a_header_of_port_groups_that_no_standard_has_is_an_error_and_a_cut_one_is_not() {
    for format in 2..8_u8 {
        let list = [0, 0, 0, 4, format << 4, 0, 0, 0];
        let error = TargetPortGroups::parse(&list).unwrap_err();
        assert_eq!(error, DecodeError::Scsi { offset: 4 });
    }
    let cut = TargetPortGroups::parse(&[0, 0, 0, 4, 0x10, 30]).unwrap();
    assert!(cut.truncated && cut.groups.is_empty());
    assert_eq!(cut.implicit_transition_time, Some(30));
    let empty = TargetPortGroups::parse(&[0; 4]).unwrap();
    assert_eq!(empty, TargetPortGroups::default());
    let error = SetTargetPortGroups::parse(&[0; 7]).unwrap_err();
    assert_eq!(error, DecodeError::Scsi { offset: 4 });
    assert_eq!(SetTargetPortGroups::parse(&[0; 3]), Err(truncated(3, 4)));
}

#[test]
fn a_provisioning_page_that_ends_anywhere_reports_what_came() {
    let whole = [
        0, 0xb2, 0, 24, 9, 0xe5, 2, 0, // the fixed part, and an NAA of the pool
        1, 3, 0, 16, 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    ];
    for end in 4..=whole.len() {
        let page = LogicalBlockProvisioning::parse(&whole[..end]).unwrap();
        let complete = end == whole.len();
        assert_eq!(page.truncated, !complete, "{end}");
        assert_eq!(page.group.is_some(), complete);
        assert_eq!(page.unmap && page.write_same_16, end > 5);
        assert_eq!(page.provisioning == ProvisioningType::Thin, end > 6);
        assert_eq!(page.reads_zeros(), end > 5);
    }
    // DP without a descriptor; a descriptor that claims more than is there.
    let page = LogicalBlockProvisioning::parse(&[0, 0xb2, 0, 4, 0, 1, 0, 0]).unwrap();
    assert!(page.truncated && page.group.is_none());
    let mut lying = whole;
    lying[11] = 17;
    let page = LogicalBlockProvisioning::parse(&lying).unwrap();
    assert!(page.truncated && page.group.is_none());
    assert_eq!(
        LogicalBlockProvisioning::parse(&[0, 0xb1, 0, 0]),
        Err(DecodeError::WrongVpdPage {
            expected: 0xb2,
            found: 0xb1
        })
    );
}

#[test]
fn a_rotation_rate_is_no_number_where_the_standard_has_none() {
    let rate = |value: u16| {
        let [high, low] = value.to_be_bytes();
        let page = BlockDeviceCharacteristics::parse(&[0, 0xb1, 0, 2, high, low]);
        page.unwrap().rotation
    };
    assert_eq!(rate(0), RotationRate::NotReported);
    assert_eq!(rate(1), RotationRate::NonRotating);
    assert_eq!(rate(7200), RotationRate::Rpm(7200));
    for reserved in [2, 0x400, 0xffff] {
        assert_eq!(rate(reserved), RotationRate::Unknown(reserved));
    }
}

#[test]
fn mode_data_that_lies_about_its_lengths_invents_no_page() {
    // A block descriptor length past the data; a page length past the data; endless empty pages.
    let far = [0, 30, 0, 0x90, 0, 0, 0xff, 0xff, 0x08, 0x12, 4, 0];
    let modes = DiskModes::parse10(&far).unwrap();
    assert_eq!((modes.write_cache, modes.control), (None, None));
    assert!(modes.write_protected && modes.dpo_fua);
    let long = [0, 30, 0, 0, 0, 0, 0, 0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(DiskModes::parse10(&long).unwrap().control, None);
    let empty = [&[0xff, 0xff, 0, 0, 0, 0, 0, 0][..], &[1, 0].repeat(4000)].concat();
    assert_eq!(DiskModes::parse10(&empty).unwrap(), DiskModes::default());
    // MODE DATA LENGTH ends the data before the page does.
    let short = [0, 9, 0, 0, 0, 0, 0, 0, 0x08, 0x02, 4, 0];
    assert_eq!(DiskModes::parse10(&short).unwrap().write_cache, None);
}
