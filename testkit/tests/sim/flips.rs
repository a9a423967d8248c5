//! Bits that change under way, between a session and a target.

use std::{sync::Arc, time::Duration};

use iscsi_client::{
    block::{BlockDevice, ReadBuf},
    initiator::{Initiator, SessionTarget},
    logical_unit::LogicalUnit,
    session::SessionOptions,
};
use iscsi_proto::{
    scsi::Lun,
    text::{DigestOffer, OperationalOffer},
};
use iscsi_testkit::{
    sim::{BitFlips, FaultCounts, Link, SimRuntime},
    target::{DigestPolicy, LunConfig, SimTarget, TargetConfig},
};

use super::support::portal;

/// Writes and reads under flips in one of 50 PDUs; what is acknowledged must be right.
fn run(seed: u64, digests: DigestPolicy) -> FaultCounts {
    let sim = SimRuntime::new(seed);
    let config = TargetConfig::new("iqn.2026-01.example:disk")
        .with_portal(portal(), 1)
        .with_lun(LunConfig::new(0, 1 << 20))
        .with_digests(digests, digests);
    let target = SimTarget::start(&sim.handle(), config).unwrap();
    sim.net()
        .flip_bits(Link::to(portal()), Some(BitFlips::new(20_000)));
    let offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::PreferCrc32c)
        .with_data_digest(DigestOffer::PreferCrc32c);
    let mut options = SessionOptions::default();
    options.offer = offer;
    options.command_timeout = Some(Duration::from_secs(2));
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, Arc::new(sim.handle()))
        .options(options)
        .build();
    let name = "iqn.2026-01.example:disk".parse().unwrap();
    sim.block_on(async {
        let to = SessionTarget::new(name, portal().into());
        let session = initiator.session(&to).await.unwrap();
        let unit = LogicalUnit::open(session, Lun::new(0)).await.unwrap();
        for round in 0..400_u64 {
            let (block, data) = (round % 8, vec![round as u8; 512]);
            if unit.write(block * 512, &data).await.is_err() {
                continue;
            }
            let mut stored = vec![0; 512];
            target.core().peek(0, block * 512, &mut stored);
            assert_eq!(stored, data, "seed {seed}, round {round}");
            let mut buf = vec![0; 512];
            if unit.read(block * 512, ReadBuf::from(&mut buf[..])).await.is_ok() {
                assert_eq!(buf, data, "seed {seed}, round {round}");
            }
        }
    });
    sim.net().counts()
}

#[test]
fn digests_find_every_flip_and_each_part_is_hit() {
    let mut all = [0; 4];
    for seed in 0..8 {
        let counts = run(seed, DigestPolicy::Require);
        assert_eq!(counts, run(seed, DigestPolicy::Require), "seed {seed}");
        let parts = [
            counts.flipped_headers,
            counts.flipped_header_digests,
            counts.flipped_data,
            counts.flipped_data_digests,
        ];
        for (all, part) in all.iter_mut().zip(parts) {
            *all += part;
        }
    }
    assert!(all.iter().all(|part| *part > 0), "{all:?}");
}

#[test]
fn what_no_digest_protects_is_left_alone() {
    let counts = run(1, DigestPolicy::Never);
    assert_eq!(counts, FaultCounts::default());
}
