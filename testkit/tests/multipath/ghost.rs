//! A ghost write: what happens if a lost write is repeated and not fenced, and what happens if it is.
//!
//! `cargo test -p iscsi-testkit --test multipath ghost -- --nocapture` prints both traces;
//! docs/fencing.md has them.

use std::{
    cell::RefCell,
    fmt,
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{Either, join, select};
use iscsi_client::{device::BlockDeviceExt, logical_unit::LogicalUnit, runtime::Runtime};
use iscsi_testkit::target::{Reinstatement, WriteHold};
use mpio::{
    EventReader,
    core::{Config, ConfigBuilder, Event, PathGroupingPolicy},
};

use crate::support::{World, paths, read, stamp};

const SECOND: Duration = Duration::from_secs(1);
/// How long the target's back end keeps the first write.
const HELD: Duration = Duration::from_secs(5);

/// What happened, by simulated time.
struct Trace {
    start: Instant,
    lines: RefCell<Vec<(Duration, String)>>,
}

impl Trace {
    fn note(&self, world: &World, text: impl fmt::Display) {
        let at = world.sim.handle().now() - self.start;
        self.lines.borrow_mut().push((at, text.to_string()));
    }

    /// What the device has told meanwhile; how many fences were done.
    fn events(&self, reader: &mut EventReader<LogicalUnit>) -> usize {
        let mut fenced = 0;
        while let Some(event) = reader.try_next() {
            let at = event.at - self.start;
            let text = format!("    {}", event.event);
            fenced += usize::from(matches!(event.event, Event::FenceDone { .. }));
            self.lines.borrow_mut().push((at, text));
        }
        fenced
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines.borrow().clone();
        lines.sort_by_key(|(at, _)| *at);
        for (at, text) in lines {
            writeln!(f, "{:>10.3} ms  {text}", at.as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

struct Story {
    trace: String,
    /// How long the second write took.
    second: Duration,
    /// Which write is on the medium in the end.
    last: u64,
    late_writes: u64,
    fenced: usize,
}

/// One block is written twice. The first write is in the target's back end when its connection is lost.
fn tell(config: ConfigBuilder) -> Story {
    let world = World::new(7);
    let core = world.target.core();
    core.set_reinstatement(Reinstatement::Ignores);
    let config = config
        .path_grouping_policy(PathGroupingPolicy::Failover)
        .build()
        .unwrap();
    let device = world.open(config);
    let trace = Trace {
        start: world.sim.handle().now(),
        lines: RefCell::default(),
    };
    let mut reader = device.events();
    let story = async {
        assert!(world.all_usable(&device).await);
        for (path, nexus) in paths(&device).iter().zip(["A", "B"]) {
            trace.note(
                &world,
                format!("{} is nexus {nexus}: {}", path.id, path.name),
            );
        }
        core.hold_writes(WriteHold::new(1000, HELD, HELD));
        trace.note(&world, "write 1 of block 0 is submitted");
        let first = device.write_bytes(0, Bytes::from(stamp(1, 1)));
        let loss = async {
            world.sim.sleep(Duration::from_millis(20)).await;
            core.hold_writes(WriteHold::default());
            trace.note(
                &world,
                "the target has all of write 1, in its back end; nexus A is lost",
            );
            world.sim.net().reset(World::link(0));
        };
        let (first, ()) = join(first, loss).await;
        first.expect("repeated through the other path");
        trace.note(
            &world,
            "write 1 is acknowledged: its repetition through nexus B is done",
        );
        world.sim.sleep(SECOND).await;
        trace.note(&world, "write 2 of block 0 is submitted");
        let begin = world.sim.elapsed();
        let result = device.write_bytes(0, Bytes::from(stamp(1, 2))).await;
        result.expect("a path is there");
        let second = world.sim.elapsed() - begin;
        trace.note(&world, "write 2 is acknowledged");
        world.sim.sleep(2 * HELD).await;
        let block = read(&device, 0).await.unwrap();
        let last = u64::from_le_bytes(block[8..16].try_into().unwrap());
        assert!(block == stamp(1, last), "not torn");
        trace.note(&world, format!("block 0 is read: it has write {last}"));
        (second, last)
    };
    let watch = async {
        while core.late_writes() == 0 {
            world.sim.sleep(Duration::from_millis(1)).await;
        }
        trace.note(&world, "the back end of the target does write 1 of nexus A");
        std::future::pending::<()>().await;
    };
    let (second, last) = {
        let (story, watch) = (pin!(story), pin!(watch));
        match world.sim.block_on(select(story, watch)) {
            Either::Left((told, _)) => told,
            Either::Right(_) => unreachable!("the watch has no end"),
        }
    };
    let fenced = trace.events(&mut reader);
    let late_writes = core.late_writes();
    let story = Story {
        trace: trace.to_string(),
        second,
        last,
        late_writes,
        fenced,
    };
    world.end(device);
    story
}

/// The fence is told a lie, that reinstatement is a barrier with this target: so it is none.
#[test]
fn without_a_fence_the_older_write_comes_back_after_the_newer_one_was_acknowledged() {
    let story = tell(Config::builder().reinstatement_is_barrier(true));
    println!(
        "--- no fence: reinstatement is taken for a barrier\n{}",
        story.trace
    );
    assert!(
        story.second < Duration::from_millis(100),
        "nothing held it back"
    );
    assert_eq!((story.last, story.late_writes), (1, 1), "{}", story.trace);
}

/// The truth about this target. The second write waits for what is left of its quiesce time.
#[test]
fn with_the_fence_the_newer_write_waits_and_stands() {
    for config in [
        Config::builder(),
        Config::builder().reinstatement_is_barrier(false),
    ] {
        let story = tell(config);
        println!("--- fence: only time counts\n{}", story.trace);
        assert!(story.second > 8 * SECOND && story.second < 10 * SECOND);
        assert_eq!((story.last, story.late_writes), (2, 1), "{}", story.trace);
        assert_eq!(story.fenced, 1);
    }
}

/// The same target, and it is reset: that ends what its back end has.
#[test]
fn a_reset_of_the_unit_is_quicker_than_time() {
    let story = tell(Config::builder().unit_reset(Some(2 * SECOND)));
    println!("--- fence: logical unit reset after 2 s\n{}", story.trace);
    assert!(story.second > Duration::from_millis(800) && story.second < 2 * SECOND);
    assert_eq!((story.last, story.late_writes), (2, 0), "{}", story.trace);
}
