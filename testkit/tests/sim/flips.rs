//! Bits that change under way, between a session and a target.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{ReadOptions, WriteOptions},
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

/// However often it takes: logins are not hit, the first commands are.
async fn open(sim: &SimRuntime, initiator: &Initiator, to: &SessionTarget) -> LogicalUnit {
    loop {
        let session = initiator.session(to).await.unwrap();
        if let Ok(unit) = LogicalUnit::open(session, Lun::new(0)).await {
            return unit;
        }
        sim.sleep(Duration::from_millis(50)).await;
    }
}

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
        let mut unit = open(&sim, &initiator, &to).await;
        for round in 0..400_u64 {
            let (block, data) = (round % 8, vec![round as u8; 512]);
            let offset = block * 512;
            let buf = WriteBuf::from(Bytes::from(data.clone()));
            let written = unit.write(offset, buf, WriteOptions::default()).await;
            if written.result.is_err() {
                unit = open(&sim, &initiator, &to).await;
                continue;
            }
            let mut stored = vec![0; 512];
            target.core().peek(0, offset, &mut stored);
            assert_eq!(stored, data, "seed {seed}, round {round}");
            let buf = ReadBuf::from(BytesMut::zeroed(512));
            let read = unit.read(offset, buf, ReadOptions::default()).await;
            if let Ok(buf) = read.into_result() {
                let got = buf.into_bytes_mut().unwrap();
                assert_eq!(got, data, "seed {seed}, round {round}");
            }
        }
    });
    sim.net().counts()
}

#[test]
fn digests_find_every_flip_and_each_part_is_hit() {
    let mut all = [0; 4];
    for seed in 0..4 {
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
