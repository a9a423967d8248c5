//! Many small reads and writes through a multipath device: the work that a simulation mostly does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use iscsi_client::{
    device::{ReadOptions, WriteOptions},
    initiator::Initiator,
};
use iscsi_testkit::{
    pattern,
    sim::{Rng, SimConfig, SimRuntime},
    target::{LunConfig, SimTarget, TargetConfig},
};
use mpio::{MultipathBuilder, MultipathDevice};

const TARGET: &str = "iqn.2026-01.example:disk";
const PORTALS: [&str; 2] = ["10.0.0.1:3260", "10.0.1.1:3260"];
const PROGRAMS: u64 = 4;
/// The blocks of each program.
const BLOCKS: u64 = 2048;
const BLOCK: usize = 512;
const SEED: u64 = 1;

/// What a program knows of its own blocks.
struct Program {
    first: u64,
    rng: Rng,
    image: Vec<u8>,
}

impl Program {
    fn new(number: u64, seed: u64) -> Self {
        let first = number * BLOCKS;
        let mut image = vec![0; BLOCKS as usize * BLOCK];
        pattern::fill(SEED, first * BLOCK as u64, &mut image);
        Self {
            first,
            rng: Rng::new(seed ^ number),
            image,
        }
    }

    /// One read or write of up to eight blocks.
    async fn step(&mut self, device: &MultipathDevice) {
        let count = 1 + self.rng.below(8);
        let block = self.rng.below(BLOCKS - count);
        let offset = (self.first + block) * BLOCK as u64;
        let part = block as usize * BLOCK..(block + count) as usize * BLOCK;
        if self.rng.chance(500) {
            let data = &mut self.image[part];
            self.rng.fill(data);
            let data = Bytes::copy_from_slice(data);
            let written = device.write(offset, data.into(), WriteOptions::default());
            written.await.result.unwrap();
        } else {
            let buf = vec![0; part.len()].into();
            let read = device.read(offset, buf, ReadOptions::default()).await;
            assert_eq!(
                read.into_result().unwrap().as_slice().unwrap(),
                &self.image[part]
            );
        }
    }
}

/// Runs so many I/Os, in at most so many steps of the executor, and returns the trace's hash.
fn run(seed: u64, ios: u64, steps_per_io: u64) -> u64 {
    let mut config = SimConfig::new(seed);
    // And what opening takes.
    config.step_limit = 20_000 + ios * steps_per_io;
    let sim = SimRuntime::with_config(config);
    let mut target = TargetConfig::new(TARGET)
        .with_lun(LunConfig::new(0, PROGRAMS * BLOCKS * BLOCK as u64).with_seed(SEED));
    for (portal, group) in PORTALS.iter().zip(1..) {
        target = target.with_portal(portal.parse().unwrap(), group);
    }
    let target = SimTarget::start(&sim.handle(), target).unwrap();
    let name = "iqn.2026-01.example:host".parse().unwrap();
    let initiator = Initiator::builder(name, Arc::new(sim.handle())).build();
    sim.block_on(async {
        let mut builder = MultipathBuilder::new(TARGET.parse().unwrap());
        for portal in 0..PORTALS.len() {
            builder = builder.portal(target.portal(portal).into());
        }
        let device = builder.connect_spawned(&initiator).await.unwrap();
        let device = &device;
        let programs = (0..PROGRAMS).map(|number| async move {
            let mut program = Program::new(number, seed);
            for _ in 0..ios / PROGRAMS {
                program.step(device).await;
            }
        });
        join_all(programs).await;
        device.close().await;
    });
    assert_eq!(target.core().violations(), []);
    assert!(sim.elapsed() > Duration::ZERO);
    sim.trace_hash()
}

/// A busy loop, or a task that is woken for nothing, would not show in any result.
#[test]
fn a_small_io_takes_few_steps_and_equal_seeds_take_the_same() {
    let ios = std::env::var("IOS").map_or(2000, |ios| ios.parse().unwrap());
    let hash = run(1, ios, 40);
    if ios == 2000 {
        assert_eq!(hash, run(1, ios, 40));
    }
}
