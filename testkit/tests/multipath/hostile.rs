//! Both paths fail at the same time, again and again; callers leave in the middle; paths are taken out
//! and put in; the target carries writes out long after their connection has died. No old data
//! comes back, no request is forgotten, and while a path could still come back no caller sees an error.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
    time::Duration,
};

use futures_util::future::{Either, join, join_all, select};
use iscsi_client::{
    buf::{ReadBuf, WriteBuf},
    device::{BlockDeviceExt, ReadOptions, WriteOptions},
    error::{ErrorKind, Outcome},
    initiator::SessionTarget,
    isid::SessionSlot,
    logical_unit::{LogicalUnit, LogicalUnitOptions},
};
use iscsi_proto::scsi::Lun;
use iscsi_testkit::sim::Rng;
use mpio::core::{Config, NoPathRetry, PathAttributes, PathGroupingPolicy};

use crate::support::{TARGET, World, paths, portal, read, seeds, stamp};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const BLOCK: u64 = 4096;
/// The longest that the target takes for a command, and the longest that the network holds a segment.
const LATE: u64 = 3000;
/// More than both together, less than twice as much.
const QUIET: Duration = Duration::from_secs(7);

/// A block, and what it may hold.
struct Register {
    at: u64,
    worker: u64,
    generation: u64,
    /// Written since the last acknowledgement, with outcomes that nobody knows; or acknowledged last.
    possible: Vec<u64>,
}

impl Register {
    fn next(&mut self) -> (u64, WriteBuf) {
        self.generation += 1;
        self.possible.push(self.generation);
        let bytes = stamp(self.worker, self.generation);
        (self.generation, WriteBuf::from(bytes))
    }

    /// Of the last that was submitted: whatever was submitted before is over.
    fn acknowledged(&mut self, generation: u64) {
        self.possible.retain(|&other| other >= generation);
    }

    fn check(&self, block: &[u8], when: &str) {
        if self.generation == 0 {
            return;
        }
        let found = u64::from_le_bytes(block[8..16].try_into().unwrap());
        let fits = self
            .possible
            .iter()
            .any(|&generation| block == stamp(self.worker, generation));
        let untouched = self.possible.first() == Some(&1);
        assert!(
            fits || untouched,
            "{when}: worker {} finds {found} and not one of {:?}",
            self.worker,
            self.possible
        );
    }
}

async fn work(
    world: &World,
    device: &mpio::MultipathDevice,
    worker: u64,
    rng: &mut Rng,
) -> Register {
    let mut block = Register {
        at: worker * BLOCK,
        worker,
        generation: 0,
        possible: Vec::new(),
    };
    for _ in 0..40 {
        let options = WriteOptions::default();
        match rng.below(9) {
            // Its caller leaves in the middle, or at once.
            0 => {
                let (_, buf) = block.next();
                let write = std::pin::pin!(device.write(block.at, buf, options));
                let sleep = std::pin::pin!(world.sim.sleep(MS * rng.below(8000) as u32));
                if let Either::Left((done, _)) = select(write, sleep).await {
                    done.result.expect("no error");
                    block.acknowledged(block.generation);
                }
            }
            // With a time limit.
            1 => {
                let (number, buf) = block.next();
                let options = options.with_timeout(MS * (1 + rng.below(8000) as u32));
                match device.write(block.at, buf, options).await.result {
                    Ok(()) => block.acknowledged(number),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
                }
            }
            // Two at a time: they are carried out in order.
            2 => {
                let (_, first) = block.next();
                let (number, second) = block.next();
                let first = device.write(block.at, first, options);
                let second = device.write(block.at, second, options);
                let (first, second) = join(first, second).await;
                first.result.expect("no error");
                second.result.expect("no error");
                block.acknowledged(number);
            }
            // Its caller has something else to do before it looks again.
            3 => {
                let (number, buf) = block.next();
                let mut write = std::pin::pin!(device.write(block.at, buf, options));
                let mut done = None;
                for _ in 0..4 {
                    if done.is_none() {
                        let polled = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
                        done = match polled {
                            Poll::Ready(done) => Some(done),
                            Poll::Pending => None,
                        };
                        world.sim.sleep(MS * rng.below(4000) as u32).await;
                    }
                }
                let done = match done {
                    Some(done) => done,
                    None => write.await,
                };
                done.result.expect("no error");
                block.acknowledged(number);
            }
            4 | 5 => {
                let (number, buf) = block.next();
                let write = device.write(block.at, buf, options).await;
                write.result.expect("no error");
                block.acknowledged(number);
            }
            6 => {
                let buf = ReadBuf::zeroed(65536);
                let read = device.read(1 << 20, buf, ReadOptions::default());
                let sleep = std::pin::pin!(world.sim.sleep(MS * rng.below(2000) as u32));
                drop(select(std::pin::pin!(read), sleep).await);
            }
            _ => {
                let found = read(device, block.at).await.expect("no error");
                block.check(&found, "through the device");
            }
        }
        world.sim.sleep(MS * rng.below(300) as u32).await;
    }
    block
}

/// Faults on both links, without regard to each other, until the work is done.
async fn disturb(world: &World, link: usize, rng: &mut Rng, done: &Cell<bool>) {
    let net = world.sim.net();
    let portal = World::link(link);
    while !done.get() {
        world.sim.sleep(MS * rng.below(4000) as u32).await;
        world
            .target
            .core()
            .set_delay(link, MS * [0, 5, 500, LATE][rng.below(4) as usize] as u32);
        let most = match rng.below(4) {
            0 => {
                net.cut(portal);
                6000
            }
            // No longer than what the quiet time is made for.
            1 => {
                net.stall(portal);
                LATE
            }
            2 => {
                net.refuse(portal);
                net.reset(portal);
                6000
            }
            _ => {
                net.reset(portal);
                30
            }
        };
        world.sim.sleep(MS * rng.below(most) as u32).await;
        net.heal(portal);
    }
    world.target.core().set_delay(link, Duration::ZERO);
}

/// Takes a path out and puts one to the same portal in.
async fn replug(world: &World, device: &mpio::MultipathDevice, rng: &mut Rng, done: &Cell<bool>) {
    while !done.get() {
        world
            .sim
            .sleep(MS * (3000 + rng.below(12_000) as u32))
            .await;
        let present = paths(device);
        if present.len() < 2 {
            continue;
        }
        let victim = &present[rng.below(present.len() as u64) as usize];
        let index = usize::from(victim.name.contains("10.0.1.1"));
        device.remove_path(victim.id).unwrap();
        world.sim.sleep(MS * rng.below(3000) as u32).await;
        let slot = SessionSlot {
            bind: index as u16,
            portal: index as u16,
            number: 1 + rng.below(100) as u16,
        };
        let to = SessionTarget::new(TARGET.parse().unwrap(), portal(index).into())
            .with_bind(["eth0", "eth1"][index].parse().unwrap())
            .with_slot(slot);
        while !done.get() {
            if let Ok(session) = world.initiator.connect_spawned(&to).await {
                let options = LogicalUnitOptions::default().fail_fast();
                if let Ok(unit) = LogicalUnit::open_with(session, Lun::default(), options).await {
                    let name = mpio::Path::name(&unit);
                    device.add_path(PathAttributes::new(name), unit).unwrap();
                    break;
                }
            }
            world.sim.sleep(SECOND).await;
        }
    }
}

fn run(seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let policy = match rng.below(2) {
        0 => PathGroupingPolicy::Multibus,
        _ => PathGroupingPolicy::Failover,
    };
    let config = Config::builder()
        .path_grouping_policy(policy)
        .no_path_retry(NoPathRetry::Queue)
        .quiet_time(Some(QUIET))
        // Soon, so that the target still has work of a connection that is closed here.
        .tear_down(MS * (20 + rng.below(1000) as u32))
        .reinstatement_is_barrier(rng.below(3) == 0)
        .build()
        .unwrap();
    let replugged = rng.below(2) == 0;
    let world = World::new(seed);
    let device = world.open(config);
    let mut rngs: Vec<_> = (0..8).map(|i| Rng::new(seed ^ ((i + 1) << 40))).collect();
    let done = Cell::new(false);
    let registers = RefCell::new(Vec::new());
    world.sim.block_on(async {
        let (workers, others) = rngs.split_at_mut(4);
        let (links, plug) = others.split_at_mut(2);
        let workers = async {
            let work = workers
                .iter_mut()
                .zip(0..)
                .map(|(rng, i)| work(&world, &device, i, rng));
            *registers.borrow_mut() = join_all(work).await;
            done.set(true);
        };
        let links = links.iter_mut().enumerate();
        let faults = join_all(links.map(|(i, rng)| disturb(&world, i, rng, &done)));
        let plug = async {
            if replugged {
                replug(&world, &device, &mut plug[0], &done).await;
            }
        };
        join(workers, join(faults, plug)).await;
        // Whatever is still somewhere has landed by then.
        world.sim.net().heal_all();
        world.sim.sleep(60 * SECOND).await;
        assert!(
            world.all_usable(&device).await,
            "a healed path is used again"
        );
        let snapshot = device.snapshot();
        assert_eq!((snapshot.unfinished, snapshot.ghosts), (0, 0));
        for register in registers.borrow().iter() {
            let mut block = vec![0; BLOCK as usize];
            world.target.core().peek(0, register.at, &mut block);
            register.check(&block, "on the medium");
        }
    });
    let ghosts = device.snapshot().counters.ambiguous_writes;
    world.end(device);
    ghosts
}

#[test]
fn no_old_data_comes_back_whatever_fails_and_whoever_leaves() {
    let seeds = seeds(0..30);
    let count = seeds.end - seeds.start;
    let ghosts: u64 = seeds
        .map(|seed| {
            std::panic::catch_unwind(|| run(seed))
                .unwrap_or_else(|_| panic!("seed {seed} of the hostile world"))
        })
        .sum();
    assert!(
        ghosts > count,
        "only {ghosts} ambiguous writes in {count} seeds"
    );
}

/// The network is fine, the pings are answered, and commands are not.
#[test]
fn a_path_whose_commands_hang_costs_time_and_no_error() {
    let world = World::new(1);
    let device = world.open(Config::default());
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        world.target.core().set_delay(0, SECOND * 3600);
        let begin = world.sim.elapsed();
        let reads = (0..20u64).map(|i| device.read_bytes(i * BLOCK, BLOCK as usize));
        let writes = (20..30u64).map(|i| device.write_bytes(i * BLOCK, stamp(i, 1).into()));
        let (reads, writes) = join(join_all(reads), join_all(writes)).await;
        reads
            .into_iter()
            .for_each(|read| drop(read.expect("another path works")));
        writes
            .into_iter()
            .for_each(|write| write.expect("another path works"));
        let took = world.sim.elapsed() - begin;
        assert!(took < SECOND * 100, "{took:?}");
    });
    world.end(device);
}

#[test]
fn close_in_the_middle_of_a_failover_ends_everything_once() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let world = World::new(seed);
        let device = world.open(Config::default());
        world.sim.block_on(async {
            assert!(world.all_usable(&device).await);
            let net = world.sim.net();
            let ios = (0..20u64).map(|i| {
                let device = &device;
                async move {
                    if i % 2 == 0 {
                        let buf = ReadBuf::zeroed(4096);
                        device
                            .read(i / 4 * BLOCK, buf, ReadOptions::default())
                            .await
                            .result
                    } else {
                        let buf = WriteBuf::from(stamp(i, 1));
                        device
                            .write(i / 4 * BLOCK, buf, WriteOptions::default())
                            .await
                            .result
                    }
                }
            });
            (0..2).for_each(|i| world.target.core().set_delay(i, SECOND * 2));
            let close = async {
                world.sim.sleep(MS * rng.below(500) as u32).await;
                net.cut(World::link(rng.below(2) as usize));
                world.sim.sleep(MS * rng.below(7000) as u32).await;
                net.cut(World::link(rng.below(2) as usize));
                world.sim.sleep(MS * rng.below(7000) as u32).await;
                let begin = world.sim.elapsed();
                device.close().await;
                world.sim.elapsed() - begin
            };
            let (results, took) = join(join_all(ios), close).await;
            for error in results.into_iter().filter_map(Result::err) {
                assert!(
                    matches!(error.kind(), ErrorKind::Closed | ErrorKind::Transport),
                    "seed {seed}: {error}"
                );
                assert_ne!(error.outcome(), Outcome::Executed);
            }
            assert!(took < SECOND * 40, "seed {seed}: {took:?}");
            assert_eq!(device.snapshot().unfinished, 0);
        });
        world.end(device);
    }
}

#[test]
fn a_thousand_at_a_time_with_a_limit_and_a_cut() {
    let world = World::new(1);
    let limit = 700;
    let config = Config::builder().queue_limit(limit).build().unwrap();
    let device = world.open(config);
    world.sim.block_on(async {
        assert!(world.all_usable(&device).await);
        let ios = (0..1000u64).map(|i| {
            let device = &device;
            async move {
                if i % 3 == 0 {
                    let buf = WriteBuf::from(stamp(i, 1));
                    device
                        .write(i % 500 * BLOCK, buf, WriteOptions::default())
                        .await
                        .result
                } else {
                    let buf = ReadBuf::zeroed(4096);
                    device
                        .read(i * BLOCK, buf, ReadOptions::default())
                        .await
                        .result
                }
            }
        });
        let cut = async {
            world.sim.sleep(MS / 5).await;
            world.sim.net().cut(World::link(0));
        };
        let (results, ()) = join(join_all(ios), cut).await;
        let refused = results.into_iter().filter_map(Result::err).map(|error| {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert_eq!(error.outcome(), Outcome::NotExecuted);
        });
        assert_eq!(refused.count(), 1000 - limit);
        read(&device, 0).await.expect("there is room again");
    });
    world.end(device);
}
