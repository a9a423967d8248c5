//! All parsers of SCSI structures over the same bytes, with what must hold for any input.

#![cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        reason = "the body of a fuzz target: its panic is what says that an oracle does not hold"
    )
)]

use alloc::string::ToString;

use super::inquiry::Peripheral;
use super::vpd::{
    BlockDeviceCharacteristics, BlockLimits, DeviceIdentification, LogicalBlockProvisioning,
    SupportedPages, UnitSerialNumber,
};
use super::*;

/// Runs every parser of this module over `bytes`.
///
/// # Panics
///
/// Where a parser does, where emitting and parsing again gives something else, or where a parser
/// produced more than the bytes can hold.
pub fn fuzz_all(bytes: &[u8]) {
    fuzz_sense(bytes);
    fuzz_vpd(bytes);
    fuzz_modes(bytes);
    fuzz_target_port_groups(bytes);
    fuzz_reservations(bytes);

    if let Ok(inquiry) = StandardInquiry::parse(bytes) {
        let again = StandardInquiry {
            truncated: false,
            ..inquiry
        };
        assert_eq!(StandardInquiry::parse(&inquiry.emit()), Ok(again));
        assert!(inquiry.vendor.to_string().is_ascii());
    }
    if let Ok(list) = ReportLuns::parse(bytes) {
        assert!(list.luns.len() <= bytes.len() / 8);
        assert_eq!(list.truncated, bytes.len() < list.needed_length() as usize);
        assert_eq!(
            ReportLuns::parse(&ReportLuns::emit(&list.luns)).map(|again| again.luns),
            Ok(list.luns)
        );
    }
    if let Ok(capacity) = ReadCapacity10::parse(bytes) {
        assert_eq!(ReadCapacity10::parse(&capacity.emit()), Ok(capacity));
    }
    if let Ok(answer) = ReadCapacity16::parse(bytes) {
        let again = ReadCapacity16 {
            truncated: false,
            ..answer
        };
        assert_eq!(ReadCapacity16::parse(&answer.emit()), Ok(again));
        let capacity = answer
            .capacity()
            .expect("parse accepts only possible geometries");
        assert!(capacity.size_in_bytes() / u64::from(capacity.block_length()) > answer.last_lba);
        assert!(answer.physical_block_length() >= 512);
    }
    if let Some(cdb) = field::array::<16>(bytes, 0) {
        fuzz_cdb(Cdb::from_bytes(cdb));
    }
    if let Some(lun) = field::array::<8>(bytes, 0) {
        let lun = Lun::from_wire(lun);
        assert_eq!(lun.to_string().parse(), Ok(lun));
    }
}

fn fuzz_sense(bytes: &[u8]) {
    if let Ok(sense) = SenseData::parse(bytes) {
        assert!(bytes.starts_with(sense.as_bytes()));
        assert!(sense.as_bytes().len() <= SenseData::MAX_LEN);
        let specific = sense.sense_key_specific().is_some();
        assert!(specific || sense.field_pointer().is_none());
        let through_segment = SenseData::parse_data_segment(&sense.to_data_segment());
        let again = through_segment
            .expect("it parsed before")
            .expect("it is not empty");
        assert_eq!((again.key(), again.code()), (sense.key(), sense.code()));
        assert_eq!(again.information(), sense.information());
        let rebuilt = sense
            .clone()
            .with_information(sense.information().unwrap_or(1 << 40));
        assert_eq!(SenseData::parse(rebuilt.as_bytes()), Ok(rebuilt));
    }
    if let Ok(Some(sense)) = SenseData::parse_data_segment(bytes) {
        assert!(sense.as_bytes().len() <= bytes.len() - 2);
        assert!(sense.to_string().is_ascii());
    }
}

fn fuzz_vpd(bytes: &[u8]) {
    let disk = Peripheral::DISK;
    if let Ok(page) = SupportedPages::parse(bytes) {
        let again = SupportedPages {
            truncated: false,
            ..page.clone()
        };
        assert_eq!(SupportedPages::parse(&page.emit(disk)), Ok(again));
    }
    if let Ok(page) = UnitSerialNumber::parse(bytes) {
        assert!(page.to_string().is_ascii());
        let again = UnitSerialNumber {
            truncated: false,
            ..page.clone()
        };
        assert_eq!(UnitSerialNumber::parse(&page.emit(disk)), Ok(again));
    }
    if let Ok(page) = BlockLimits::parse(bytes) {
        let again = BlockLimits {
            truncated: false,
            ..page
        };
        assert_eq!(BlockLimits::parse(&page.emit(disk)), Ok(again));
    }
    if let Ok(page) = BlockDeviceCharacteristics::parse(bytes) {
        let again = BlockDeviceCharacteristics {
            truncated: false,
            ..page
        };
        assert_eq!(
            BlockDeviceCharacteristics::parse(&page.emit(disk)),
            Ok(again)
        );
    }
    if let Ok(page) = LogicalBlockProvisioning::parse(bytes) {
        let again = LogicalBlockProvisioning {
            truncated: false,
            ..page.clone()
        };
        assert_eq!(LogicalBlockProvisioning::parse(&page.emit(disk)), Ok(again));
    }
    if let Ok(page) = DeviceIdentification::parse(bytes) {
        let held: usize = page.designators.iter().map(|d| d.bytes.len() + 4).sum();
        assert!(held + 4 <= bytes.len());
        if let Some(identity) = page.logical_unit_identity() {
            assert!(identity.to_string().is_ascii());
        }
        let again = DeviceIdentification {
            truncated: false,
            ..page.clone()
        };
        assert_eq!(DeviceIdentification::parse(&page.emit(disk)), Ok(again));
    }
}

fn fuzz_modes(bytes: &[u8]) {
    if let Ok(modes) = DiskModes::parse(bytes) {
        assert_eq!(DiskModes::parse(&modes.emit()), Ok(modes));
    }
    if let Ok(modes) = DiskModes::parse10(bytes) {
        assert_eq!(DiskModes::parse10(&modes.emit10()), Ok(modes));
    }
}

fn fuzz_target_port_groups(bytes: &[u8]) {
    if let Ok(list) = TargetPortGroups::parse(bytes) {
        let held: usize = list.groups.iter().map(|g| 8 + 4 * g.ports.len()).sum();
        assert!(held + 4 <= bytes.len());
        let again = TargetPortGroups::parse(&list.emit()).expect("it parsed before");
        assert_eq!(again.groups, list.groups);
        assert_eq!(
            again.implicit_transition_time,
            list.implicit_transition_time
        );
        assert!(!again.truncated);
        let announced = (list.needed_length() as usize) > bytes.len();
        assert!(list.truncated || !announced);
    }
    if let Ok(set) = SetTargetPortGroups::parse(bytes) {
        assert_eq!(set.groups.len(), bytes.len() / 4 - 1);
        assert_eq!(SetTargetPortGroups::parse(&set.emit()), Ok(set));
    }
}

fn fuzz_reservations(bytes: &[u8]) {
    if let Ok(list) = ReservationKeys::parse(bytes) {
        assert!(list.keys.len() <= bytes.len() / 8);
        let again = ReservationKeys::parse(&list.emit()).expect("it parsed before");
        assert_eq!((again.generation, again.keys), (list.generation, list.keys));
    }
    if let Ok(reservation) = CurrentReservation::parse(bytes) {
        assert_eq!(
            CurrentReservation::parse(&reservation.emit()),
            Ok(reservation)
        );
    }
    if let Ok(capabilities) = ReservationCapabilities::parse(bytes) {
        let again = ReservationCapabilities::parse(&capabilities.emit());
        assert_eq!(again, Ok(capabilities));
    }
    if let Ok(status) = FullStatus::parse(bytes) {
        assert!(status.registrations.len() <= bytes.len() / 24);
        let again = FullStatus::parse(&status.emit()).expect("it parsed before");
        assert_eq!(again.registrations.len(), status.registrations.len());
        assert!(!again.truncated);
    }
    if let Ok((id, taken)) = TransportId::parse(bytes) {
        assert!(taken <= bytes.len());
        if !matches!(id, TransportId::Other(_)) {
            assert_eq!(TransportId::parse(&id.emit()).map(|(id, _)| id), Ok(id));
        }
    }
    if let (Some(cdb), Some(list)) = (field::array(bytes, 0), bytes.get(16..)) {
        let cdb = Cdb::from_bytes(cdb);
        if let Ok(out) = PersistentReserveOut::parse(&cdb, list) {
            assert_eq!(
                PersistentReserveOut::parse(&out.cdb(), &out.list()),
                Ok(out)
            );
        }
    }
}

/// What a command means must survive being built anew.
fn fuzz_cdb(cdb: Cdb) {
    let command = Command::decode(&cdb);
    let rebuilt = match command {
        Command::Read { lba, blocks, fua } => Cdb::read(lba, blocks, fua),
        Command::Write { lba, blocks, fua } => Cdb::write(lba, blocks, fua),
        Command::SynchronizeCache {
            lba,
            blocks,
            immediate: false,
        } => Cdb::synchronize_cache16(lba, blocks),
        _ => cdb,
    };
    assert_eq!(Command::decode(&rebuilt), command);
    assert!(cdb.to_string().is_ascii());
    assert!(cdb.as_bytes().len() >= 6);
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::vpd::{Designator, DesignatorKind};
    use super::*;

    /// One well-formed example of every structure.
    fn samples() -> Vec<Vec<u8>> {
        let disk = Peripheral::DISK;
        let (key, code) = (
            SenseKey::MediumError,
            AdditionalSenseCode::UNRECOVERED_READ_ERROR,
        );
        let page83 = DeviceIdentification {
            designators: vec![
                Designator::logical_unit(DesignatorKind::T10VendorId, b"VENDOR  serial 1".to_vec()),
                Designator::logical_unit(DesignatorKind::Naa, vec![0x60; 16]),
                Designator::scsi_name("naa.6001405000000000"),
                Designator::uuid([7; 16]),
                Designator::target_port_group(3),
            ],
            truncated: false,
        };
        let modes = DiskModes {
            write_cache: Some(true),
            control: Some(ControlMode::default()),
            ..DiskModes::default()
        };
        let groups = TargetPortGroups {
            groups: vec![TargetPortGroup {
                group: 7,
                ports: vec![1, 2],
                ..TargetPortGroup::default()
            }],
            ..TargetPortGroups::default()
        };
        vec![
            SenseData::fixed(key, code)
                .with_information(77)
                .to_data_segment(),
            SenseData::descriptor(key, code)
                .with_information(1 << 40)
                .to_data_segment(),
            SenseData::fixed(key, code)
                .with_information(77)
                .as_bytes()
                .to_vec(),
            SenseData::descriptor(key, code)
                .with_information(1 << 40)
                .as_bytes()
                .to_vec(),
            StandardInquiry::default().emit(),
            SupportedPages {
                pages: vec![0, 0x80, 0x83, 0xb0],
                truncated: false,
            }
            .emit(disk),
            UnitSerialNumber {
                bytes: b" 42 ".to_vec(),
                truncated: false,
            }
            .emit(disk),
            page83.emit(disk),
            BlockLimits::default().emit(disk),
            BlockDeviceCharacteristics::default().emit(disk),
            LogicalBlockProvisioning {
                group: Some(Designator::uuid([9; 16])),
                ..Default::default()
            }
            .emit(disk),
            modes.emit(),
            modes.emit10(),
            groups.emit(),
            TargetPortGroups {
                implicit_transition_time: Some(9),
                ..groups
            }
            .emit(),
            SetTargetPortGroups {
                groups: vec![(7, AccessState::Standby)],
            }
            .emit(),
            ReadCapacity10 {
                last_lba: 2047,
                block_length: 512,
            }
            .emit()
            .to_vec(),
            ReadCapacity16 {
                last_lba: 2047,
                block_length: 4096,
                ..Default::default()
            }
            .emit()
            .to_vec(),
            ReportLuns::emit(&[Lun::new(0), Lun::new(1), Lun::new(300)]),
            ReservationKeys {
                keys: vec![ReservationKey(7), ReservationKey(8)],
                ..Default::default()
            }
            .emit(),
            CurrentReservation {
                generation: 1,
                held: Some((ReservationKey(7), ReservationType::WriteExclusive)),
            }
            .emit(),
            TransportId::Port("iqn.a".into(), crate::ids::Isid([0x80; 6])).emit(),
            vec![0, 8, 0, 0x80, 0xea, 1, 0, 0],
            reserve_out(),
            full_status(),
            Cdb::read16(1 << 40, 8, true).bytes.to_vec(),
            Cdb::inquiry_vpd(0x83, 252).bytes.to_vec(),
        ]
    }

    fn reserve_out() -> Vec<u8> {
        let out = PersistentReserveOut {
            action: ReserveAction::Reserve,
            kind: Some(ReservationType::WriteExclusive),
            key: ReservationKey(7),
            action_key: ReservationKey(8),
            persist_through_power_loss: false,
        };
        [&out.cdb().bytes[..], &out.list()].concat()
    }

    fn full_status() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend([0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24]);
        bytes.extend(TransportId::Initiator("iqn.a".into()).emit());
        bytes
    }

    #[test]
    fn no_prefix_of_a_structure_and_no_changed_byte_breaks_a_parser() {
        for sample in samples() {
            for length in 0..=sample.len() {
                let mut bytes = sample[..length].to_vec();
                fuzz_all(&bytes);
                for at in 0..length {
                    let original = bytes[at];
                    for value in [0x00, 0x01, 0x07, 0x7f, 0x80, 0xff, original ^ 0x10] {
                        bytes[at] = value;
                        fuzz_all(&bytes);
                    }
                    bytes[at] = original;
                }
            }
        }
    }

    #[test]
    fn bytes_without_any_structure_break_no_parser() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_usize {
            let mut bytes = vec![0; round % 300];
            for byte in &mut bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }
            // Half of them start like something that a parser takes.
            let starts = [0x70, 0x71, 0x72, 0x73, 0x00, 0x88];
            if let Some(first) = bytes.first_mut().filter(|_| round % 2 == 0) {
                *first = starts[round / 2 % starts.len()];
            }
            fuzz_all(&bytes);
        }
    }
}
