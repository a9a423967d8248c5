//! INQUIRY data, VPD pages, capacity and LUN list, byte for byte as the standards draw them, in
//! both directions.

use core::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use iscsi_proto::scsi::inquiry::{AsciiField, Peripheral, PeripheralQualifier, Tpgs};
use iscsi_proto::scsi::vpd::{
    self, BlockLimits, Designator, DesignatorKind, DeviceIdentification, SupportedPages,
    UnitSerialNumber,
};
use iscsi_proto::scsi::{
    Capacity, Lun, ReadCapacity10, ReadCapacity16, ReportLuns, StandardInquiry,
};

#[test]
fn standard_inquiry_data_keeps_its_fields() {
    let inquiry = StandardInquiry {
        version: 6,
        tpgs: Tpgs::ImplicitAndExplicit,
        third_party_copy: true,
        multi_port: true,
        command_queuing: true,
        vendor: AsciiField::new("ACME"),
        product: AsciiField::new("A product name that is too long"),
        revision: AsciiField::new("1.0"),
        ..StandardInquiry::default()
    };
    let bytes = b"\x00\x00\x06\x02\x1f\x38\x10\x02ACME    A product name t1.0 ";
    assert_eq!(inquiry.emit(), bytes);
    assert_eq!(StandardInquiry::parse(bytes), Ok(inquiry));
    assert_eq!(inquiry.vendor.to_string(), "ACME");
    assert_eq!(Peripheral::NONE.to_byte(), 0x7f);
    assert_eq!(
        Peripheral::from_byte(0x7f).qualifier,
        PeripheralQualifier::NotSupported
    );
}

#[test]
fn every_peripheral_byte_survives_the_round_trip() {
    for byte in 0..=u8::MAX {
        assert_eq!(Peripheral::from_byte(byte).to_byte(), byte);
    }
}

#[test]
fn the_list_of_pages_and_the_serial_number_keep_their_bytes() {
    let pages = SupportedPages {
        pages: vec![0, 0x80, 0x83, 0xb0],
        truncated: false,
    };
    let bytes = [0, 0, 0, 4, 0, 0x80, 0x83, 0xb0];
    assert_eq!(pages.emit(Peripheral::DISK), bytes);
    assert_eq!(SupportedPages::parse(&bytes), Ok(pages.clone()));
    assert!(pages.contains(vpd::BLOCK_LIMITS) && !pages.contains(0xb1));

    let serial = UnitSerialNumber {
        bytes: b"  S1 2\0".to_vec(),
        truncated: false,
    };
    let bytes = *b"\x00\x80\x00\x07  S1 2\x00";
    assert_eq!(serial.emit(Peripheral::DISK), bytes);
    assert_eq!(UnitSerialNumber::parse(&bytes), Ok(serial.clone()));
    assert_eq!(serial.to_string(), "S1 2");
}

#[test]
fn block_limits_keep_their_offsets() {
    let limits = BlockLimits {
        write_same_non_zero: true,
        optimal_transfer_length_granularity: NonZeroU16::new(8),
        maximum_transfer_length: NonZeroU32::new(0x0001_0000),
        optimal_transfer_length: NonZeroU32::new(0x80),
        maximum_unmap_lba_count: NonZeroU32::new(u32::MAX),
        maximum_unmap_block_descriptor_count: NonZeroU32::new(1),
        optimal_unmap_granularity: NonZeroU32::new(16),
        unmap_granularity_alignment: Some(2),
        maximum_write_same_length: NonZeroU64::new(3),
        ..BlockLimits::default()
    };
    let mut bytes = [0; 64];
    bytes[..4].copy_from_slice(&[0, 0xb0, 0, 0x3c]);
    bytes[4] = 1;
    bytes[7] = 8;
    bytes[9] = 1;
    bytes[15] = 0x80;
    bytes[20..24].fill(0xff);
    bytes[27] = 1;
    bytes[31] = 16;
    bytes[32] = 0x80;
    bytes[35] = 2;
    bytes[43] = 3;
    assert_eq!(limits.emit(Peripheral::DISK), bytes);
    assert_eq!(BlockLimits::parse(&bytes), Ok(limits));
}

#[test]
fn device_identification_keeps_its_designators() {
    let page = DeviceIdentification {
        designators: vec![
            Designator::logical_unit(DesignatorKind::Naa, vec![0x50, 1, 2, 3, 4, 5, 6, 7]),
            Designator::relative_target_port(1),
            Designator::target_port_group(0x0203),
            Designator::scsi_name("iqn.x"),
        ],
        truncated: false,
    };
    let bytes = [
        &[0, 0x83, 0, 40][..],
        &[0x01, 0x03, 0, 8, 0x50, 1, 2, 3, 4, 5, 6, 7],
        &[0x51, 0x94, 0, 4, 0, 0, 0, 1],
        &[0x51, 0x95, 0, 4, 0, 0, 2, 3],
        &[0x03, 0x08, 0, 8, b'i', b'q', b'n', b'.', b'x', 0, 0, 0],
    ]
    .concat();
    assert_eq!(page.emit(Peripheral::DISK), bytes);
    assert_eq!(DeviceIdentification::parse(&bytes), Ok(page.clone()));
    assert_eq!(vpd::needed_length(&bytes[..4]), Some(44));
    assert_eq!(page.relative_target_port(), Some(1));
    assert_eq!(page.target_port_group(), Some(0x0203));
}

#[test]
fn capacities_keep_their_bytes() {
    let small = ReadCapacity10 {
        last_lba: 0x0001_ffff,
        block_length: 512,
    };
    assert_eq!(small.emit(), [0, 1, 0xff, 0xff, 0, 0, 2, 0]);
    assert_eq!(ReadCapacity10::parse(&small.emit()), Ok(small));
    assert_eq!(small.capacity().unwrap().unwrap().size_in_bytes(), 64 << 20);

    let large = ReadCapacity16 {
        last_lba: 0x0102_0304_0506,
        block_length: 4096,
        protection_enabled: true,
        physical_block_exponent: 3,
        provisioning_enabled: true,
        unmapped_reads_zeros: true,
        lowest_aligned_lba: 7,
        truncated: false,
    };
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&[0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0x10, 0, 1, 3, 0xc0, 7]);
    assert_eq!(large.emit(), bytes);
    assert_eq!(ReadCapacity16::parse(&bytes), Ok(large));
    assert_eq!(large.physical_block_length(), 32768);
}

#[test]
fn a_disk_beyond_32_bits_sends_the_initiator_to_read_capacity_16() {
    let saturated = ReadCapacity10 {
        last_lba: u32::MAX,
        block_length: 512,
    };
    assert_eq!(
        ReadCapacity10::parse(&saturated.emit()).unwrap().capacity(),
        Ok(None)
    );
}

#[test]
fn a_range_lies_inside_only_if_all_of_it_does() {
    let capacity = Capacity::new(99, 512).unwrap();
    assert_eq!((capacity.blocks(), capacity.last_lba()), (100, 99));
    assert!(capacity.contains(0, 100) && capacity.contains(99, 1) && capacity.contains(100, 0));
    assert!(!capacity.contains(99, 2) && !capacity.contains(101, 0));
    assert!(!capacity.contains(u64::MAX, u64::MAX));
}

#[test]
fn report_luns_keeps_order_and_encoding() {
    let luns = vec![Lun::new(1), Lun::new(0), Lun::new(256), Lun::REPORT_LUNS];
    let bytes = [
        [0, 0, 0, 32, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 0],
        [0; 8],
        [0x41, 0, 0, 0, 0, 0, 0, 0],
        [0xc1, 1, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(ReportLuns::emit(&luns), bytes);
    let parsed = ReportLuns::parse(&bytes).unwrap();
    assert_eq!(
        parsed,
        ReportLuns {
            luns,
            list_length: 32,
            truncated: false
        }
    );
    assert_eq!(parsed.needed_length(), 40);
}
