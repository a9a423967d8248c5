//! Which designator of the Device Identification page names the logical unit.

use iscsi_proto::scsi::LogicalUnitIdentity;
use iscsi_proto::scsi::vpd::{
    Association, CodeSet, Designator, DesignatorKind, DeviceIdentification, IdentityKind,
};

fn identity(designators: Vec<Designator>) -> Option<LogicalUnitIdentity> {
    DeviceIdentification {
        designators,
        truncated: false,
    }
    .logical_unit_identity()
}

#[test]
fn the_best_designator_identifies_the_logical_unit_wherever_it_stands() {
    let lu = Designator::logical_unit;
    // From worst to best.
    let ranking = [
        (
            lu(DesignatorKind::Naa, vec![0x30, 0, 0, 0, 0, 0, 0, 1]),
            "33000000000000001",
        ),
        (
            lu(DesignatorKind::T10VendorId, b"IET     00010001\0".to_vec()),
            "1IET_00010001",
        ),
        (
            Designator::scsi_name("iqn.2001-04.com.example:lun1"),
            "8iqn.2001-04.com.example:lun1",
        ),
        (
            lu(DesignatorKind::Eui64, vec![0xab; 8]),
            "2abababababababab",
        ),
        (
            lu(DesignatorKind::Naa, vec![0x20, 0, 0, 0, 0, 0, 0, 1]),
            "32000000000000001",
        ),
        (
            lu(DesignatorKind::Naa, vec![0x50, 0, 0, 0, 0, 0, 0, 1]),
            "35000000000000001",
        ),
        (
            Designator::uuid([0x0f; 16]),
            "a0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        ),
        (
            lu(
                DesignatorKind::Naa,
                [&[0x60, 0x01, 0x40, 0x5f][..], &[1; 12]].concat(),
            ),
            "36001405f010101010101010101010101",
        ),
    ];
    for best in 0..ranking.len() {
        let mut designators: Vec<_> = ranking[..=best].iter().map(|(d, _)| d.clone()).collect();
        for _ in 0..2 {
            let found = identity(designators.clone()).unwrap();
            assert_eq!(found.to_string(), ranking[best].1);
            designators.reverse();
        }
    }
}

#[test]
fn of_two_designators_of_one_rank_the_first_wins() {
    let naa =
        |last| Designator::logical_unit(DesignatorKind::Naa, vec![0x50, 0, 0, 0, 0, 0, 0, last]);
    assert_eq!(
        identity(vec![naa(2), naa(1)]).unwrap().to_string(),
        "35000000000000002"
    );
}

#[test]
fn a_name_that_spells_out_a_binary_designator_equals_it() {
    let binary = Designator::logical_unit(DesignatorKind::Naa, vec![0x50, 1, 2, 3, 4, 5, 6, 0xab]);
    let binary = identity(vec![binary]).unwrap();
    assert_eq!(
        identity(vec![Designator::scsi_name("naa.50010203040506AB")]),
        Some(binary.clone())
    );
    assert_eq!(binary.kind(), IdentityKind::Naa);
    let eui = identity(vec![Designator::scsi_name("eui.0001020304050607")]).unwrap();
    assert_eq!(
        (eui.kind(), eui.to_string()),
        (IdentityKind::Eui64, "20001020304050607".into())
    );
    for name in [
        "naa.5001020304050",
        "naa.500102030405060x",
        "naa.",
        "eui.00",
        "iqn.",
        "abc.d",
    ] {
        assert_eq!(identity(vec![Designator::scsi_name(name)]), None, "{name}");
    }
}

#[test]
fn names_that_do_not_tell_logical_units_apart_are_no_identity() {
    let naa = || Designator::logical_unit(DesignatorKind::Naa, vec![0x50; 8]);
    let refused = [
        Designator {
            association: Association::TargetPort,
            ..naa()
        },
        Designator {
            association: Association::TargetDevice,
            ..naa()
        },
        Designator {
            association: Association::Unknown(3),
            ..naa()
        },
        Designator::logical_unit(DesignatorKind::Naa, vec![]),
        Designator::logical_unit(DesignatorKind::Naa, vec![0x60; 8]),
        Designator::logical_unit(DesignatorKind::Naa, vec![0x50; 16]),
        Designator::logical_unit(DesignatorKind::Naa, vec![0x40; 8]),
        Designator::logical_unit(DesignatorKind::Eui64, vec![1; 9]),
        Designator::logical_unit(DesignatorKind::Uuid, vec![0x10; 17]),
        Designator::logical_unit(DesignatorKind::T10VendorId, b"ACME    \0\0".to_vec()),
        Designator::logical_unit(DesignatorKind::Md5LogicalUnit, vec![1; 16]),
        Designator::logical_unit(DesignatorKind::LogicalUnitGroup, vec![0; 4]),
        Designator::logical_unit(DesignatorKind::VendorSpecific, vec![1; 8]),
    ];
    for designator in refused {
        assert_eq!(identity(vec![designator.clone()]), None, "{designator:?}");
    }
}

#[test]
fn the_code_set_of_a_binary_name_is_not_trusted_to_be_right() {
    let naa = Designator::logical_unit(DesignatorKind::Naa, vec![0x50; 8]);
    let strange = Designator {
        code_set: CodeSet::Unknown(9),
        ..naa.clone()
    };
    assert_eq!(identity(vec![strange]), identity(vec![naa]));
}
