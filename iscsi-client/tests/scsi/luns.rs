//! The list of logical units.

use iscsi_client::error::ErrorKind;
use iscsi_proto::scsi::{Lun, ReportLuns};
use iscsi_testkit::target::{Answer, LunConfig};

use crate::support::{SIZE, World};

const REPORT_LUNS: &[u8] = &[0xa0];

#[test]
fn luns_of_every_encoding_come_in_the_order_of_the_target() {
    let world = World::new(|config| {
        config
            .with_lun(LunConfig::new(0, SIZE))
            .with_lun(LunConfig::new(300, SIZE))
            .with_lun(LunConfig::new(20000, SIZE))
            .with_lun(LunConfig::new(5, SIZE))
    });
    world.run(async {
        let session = world.session(0).await;
        let luns = session.report_luns(None).await.unwrap();
        assert_eq!(luns, [0, 300, 20000, 5].map(Lun::new));
        // A target's own encoding of a small number is kept.
        let flat = Lun::from_wire([0x40, 7, 0, 0, 0, 0, 0, 0]);
        let list = ReportLuns::emit(&[flat, Lun::new(7)]);
        world.core().answer(0, REPORT_LUNS, Answer::Data(list), 1);
        let luns = session.report_luns(None).await.unwrap();
        assert_eq!(luns, [flat, Lun::new(7)]);
    });
}

#[test]
fn a_list_longer_than_the_first_answer_is_whole() {
    let world = World::new(|config| {
        (0..2000).fold(config, |config, number| {
            config.with_lun(LunConfig::new(number, 1 << 20))
        })
    });
    world.run(async {
        let session = world.session(0).await;
        let luns = session.report_luns(None).await.unwrap();
        assert_eq!(luns.len(), 2000);
        assert_eq!(luns[1999], Lun::new(1999));
    });
}

#[test]
fn a_target_without_the_command_is_asked_lun_by_lun() {
    let world = World::new(|config| {
        (0..3).fold(config, |config, number| {
            config.with_lun(LunConfig::new(number, SIZE))
        })
    });
    world.run(async {
        let session = world.session(0).await;
        let refusal = Answer::Sense(0x05, 0x20, 0x00);
        world.core().answer(0, REPORT_LUNS, refusal, u32::MAX);
        let luns = session.report_luns(None).await.unwrap();
        // The well-known unit still answers here; a target of that kind has none.
        assert_eq!(luns, [0, 1, 2].map(Lun::new));
    });
}

#[test]
fn a_list_that_lies_is_a_typed_error_or_what_came_of_it() {
    let world = World::with_disk();
    world.run(async {
        let session = world.session(0).await;
        for lie in [vec![0; 3], vec![0, 0, 0, 9, 0, 0, 0, 0], vec![0xff; 64]] {
            let answer = Answer::Data(lie);
            world.core().answer(0, REPORT_LUNS, answer, 1);
            let error = session.report_luns(None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
        // More announced than ever comes: the asking ends.
        let mut short = ReportLuns::emit(&[Lun::new(0)]);
        short[2] = 0x80;
        let answer = Answer::Data(short);
        world.core().answer(0, REPORT_LUNS, answer, u32::MAX);
        let luns = session.report_luns(None).await.unwrap();
        assert_eq!(luns, [Lun::ZERO]);
    });
}
