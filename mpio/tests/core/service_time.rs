//! The default selector over links of which the test knows what they can do.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration, time::Instant};

use mpio::core::{AttemptId, Config, IoClass, Outcome, PathId, PathSelector};

use super::harness::{Harness, MS, S};

const GBIT: u64 = 125_000_000;
const BLOCK: u64 = 64 << 10;
const US: Duration = Duration::from_micros(1);

/// A link carries one I/O after the other; latency comes on top and holds nobody up.
struct Link {
    path: PathId,
    /// Bytes per second.
    rate: u64,
    latency: Duration,
    free_at: Instant,
    done: u64,
    took: Duration,
    count: u32,
}

/// As many I/Os as asked for are always under way.
struct Loop {
    h: Harness,
    links: Vec<Link>,
    under_way: BinaryHeap<Reverse<(Instant, usize, AttemptId, Instant)>>,
    block: u64,
    next: u64,
    /// Thousandths by which a latency may be longer.
    jitter: u64,
    random: u64,
}

impl Loop {
    fn new(config: Config, links: [(u64, Duration); 2], block: u64, depth: usize) -> Self {
        let (h, paths) = Harness::with_paths::<2>(config);
        let now = h.now;
        let links = links
            .iter()
            .zip(paths)
            .map(|(&(rate, latency), path)| Link {
                path,
                rate,
                latency,
                free_at: now,
                done: 0,
                took: Duration::ZERO,
                count: 0,
            });
        let mut this = Self {
            links: links.collect(),
            h,
            under_way: BinaryHeap::new(),
            block,
            next: 0,
            jitter: 0,
            random: 88_172_645_463_325_252,
        };
        (0..depth).for_each(|_| this.submit());
        this
    }

    fn submit(&mut self) {
        let at = self.next * self.block;
        self.next += 1;
        let io = self.h.submit(IoClass::read(at..at + self.block));
        let (_, attempt, path) = self.h.flight(io).unwrap();
        let index = self.links.iter().position(|l| l.path == path).unwrap();
        let link = &mut self.links[index];
        let now = self.h.now;
        let carry = Duration::from_nanos(self.block * 1_000_000_000 / link.rate);
        link.free_at = link.free_at.max(now) + carry;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let late = u32::try_from(self.random % (self.jitter + 1)).unwrap();
        let end = link.free_at + link.latency + link.latency * late / 1000;
        self.under_way.push(Reverse((end, index, attempt, now)));
    }

    /// Bytes per second of each link in the next so much time.
    fn run(&mut self, time: Duration) -> [u64; 2] {
        for link in &mut self.links {
            (link.done, link.took, link.count) = (0, Duration::ZERO, 0);
        }
        let end = self.h.now + time;
        while let Some(Reverse(next)) = self.under_way.peek() {
            let (at, index, attempt, begun) = *next;
            if at > end {
                break;
            }
            self.under_way.pop();
            self.h.now = at;
            self.h.end(attempt, Outcome::Success);
            let link = &mut self.links[index];
            link.done += self.block;
            link.took += at - begun;
            link.count += 1;
            self.submit();
        }
        self.h.now = end;
        let micros = u64::try_from(time.as_micros()).unwrap();
        [0, 1].map(|i| self.links[i].done * 1_000_000 / micros)
    }

    fn mean_time(&self, index: usize) -> Duration {
        self.links[index].took / self.links[index].count.max(1)
    }
}

fn default_loop(links: [(u64, Duration); 2], block: u64, depth: usize) -> Loop {
    Loop::new(Config::default(), links, block, depth)
}

/// Both links together carry at least so many thousandths of what they could.
fn assert_sum(rates: [u64; 2], of: [u64; 2], per_mille: u64, when: &str) {
    let (sum, wanted) = (rates[0] + rates[1], of[0] + of[1]);
    assert!(
        sum * 1000 >= wanted * per_mille,
        "{when}: {rates:?} of {of:?}"
    );
}

#[test]
fn links_of_any_ratio_carry_what_they_can() {
    for slow in [GBIT, GBIT / 2, GBIT / 5, GBIT / 10, GBIT / 20] {
        let mut load = default_loop([(GBIT, 100 * US), (slow, 100 * US)], BLOCK, 16);
        load.run(S);
        let rates = load.run(5 * S);
        // The block under way at the end is not counted.
        assert_sum(rates, [GBIT, slow], 980, "1 Gbit/s and another");
    }
}

#[test]
fn links_of_unequal_latency_carry_what_they_can() {
    let mut load = default_loop([(GBIT, 100 * US), (GBIT, MS)], BLOCK, 16);
    load.run(S);
    assert_sum(load.run(5 * S), [GBIT, GBIT], 950, "0.1 ms and 1 ms");
}

/// By which a selector that counts heads is beaten: nobody waits much longer on the slow link.
#[test]
fn an_io_takes_about_as_long_on_a_slow_link_as_on_a_fast_one() {
    let links = [(GBIT, 100 * US), (GBIT / 5, 100 * US)];
    let slowness = |selector| {
        let config = Config::builder().path_selector(selector).build().unwrap();
        let mut load = Loop::new(config, links, BLOCK, 16);
        load.run(S);
        load.run(5 * S);
        let (fast, slow) = (load.mean_time(0), load.mean_time(1));
        slow.as_micros() * 10 / fast.as_micros()
    };
    let service_time = slowness(PathSelector::ServiceTime);
    let queue_length = slowness(PathSelector::QueueLength);
    assert!(service_time <= 20, "{service_time} tenths");
    assert!(queue_length >= 40, "{queue_length} tenths");
}

#[test]
fn a_link_that_changes_its_speed_is_followed() {
    let mut load = default_loop([(GBIT, 100 * US), (GBIT, 100 * US)], BLOCK, 16);
    load.run(S);
    for rate in [GBIT / 10, GBIT, GBIT / 50, GBIT] {
        load.links[1].rate = rate;
        // What was sent on the fast link has to come back over the slow one first.
        load.run(S);
        let when = format!("at {rate} bytes per second");
        assert_sum(load.run(2 * S), [GBIT, rate], 950, &when);
        let waits = load.mean_time(1).as_micros() / load.mean_time(0).as_micros().max(1);
        assert!(waits <= 8, "{when}: {waits} times as long");
    }
}

#[test]
fn shares_do_not_swing() {
    let mut load = default_loop([(GBIT, 100 * US), (GBIT / 5, 100 * US)], BLOCK, 16);
    load.jitter = 1000;
    load.run(S);
    let mean = load.run(5 * S);
    for window in 0..50 {
        let rates = load.run(100 * MS);
        for (rate, mean) in rates.iter().zip(mean) {
            let deviation = rate.abs_diff(mean) * 100 / mean;
            assert!(deviation <= 10, "window {window}: {rates:?} of {mean}");
        }
    }
}

/// No link is saturated, so that each carries what it is given: nothing but the selector divides it.
#[test]
fn equal_links_that_are_not_saturated_share_evenly() {
    for (block, depth) in [(4096, 1), (4096, 8), (4096, 32), (BLOCK, 1), (BLOCK, 4)] {
        let mut load = default_loop([(10 * GBIT, 300 * US); 2], block, depth);
        load.jitter = 300;
        load.run(S);
        for second in 0..20 {
            let [a, b] = load.run(S);
            let share = a * 100 / (a + b);
            let when = format!("{block} bytes, depth {depth}, second {second}");
            assert!((40..=60).contains(&share), "{when}: {share} %");
        }
    }
}

/// And from any division they come back to that.
#[test]
fn a_lopsided_division_of_equal_links_is_given_up() {
    let mut load = default_loop([(10 * GBIT, 300 * US), (10 * GBIT, 3 * MS)], 4096, 32);
    load.jitter = 300;
    load.run(2 * S);
    let [a, b] = load.run(S);
    assert!(a > 3 * b, "{a} and {b}: the quick one is preferred");
    load.links[1].latency = 300 * US;
    load.run(2 * S);
    let [a, b] = load.run(S);
    let share = a * 100 / (a + b);
    assert!((40..=60).contains(&share), "{share} %");
}

#[test]
fn at_depth_one_a_slow_link_is_asked_now_and_then_and_used_when_it_is_fast_again() {
    let mut load = default_loop([(GBIT, 100 * US), (GBIT / 50, 100 * US)], BLOCK, 1);
    load.run(S);
    let [fast, slow] = load.run(20 * S);
    assert!(slow > 0, "it is asked");
    assert!(fast * 100 > GBIT * 75, "{fast}: that costs little");
    load.links[1].rate = GBIT;
    load.run(10 * S);
    let [a, b] = load.run(S);
    let share = a * 100 / (a + b);
    assert!((40..=60).contains(&share), "{share} %");
}

/// A flush takes as long as the medium does, whichever path it was sent on: that says nothing of the path.
#[test]
fn flushes_do_not_make_a_path_a_slow_one() {
    let (mut h, paths) = Harness::with_paths::<2>(Config::default());
    let reads = |h: &mut Harness| {
        let mut counts = [0, 0];
        for at in 0..1000 {
            let io = h.submit(IoClass::read(at..at + 4096));
            let path = h.path_of(io);
            counts[usize::from(path == Some(paths[1]))] += 1;
            h.now += 300 * US;
            h.end_io(io, Outcome::Success);
        }
        counts
    };
    reads(&mut h);
    for at in 0..20 {
        let read = h.submit(IoClass::read(at..at + 4096));
        h.now += 300 * US;
        h.end_io(read, Outcome::Success);
        let flush = h.submit(IoClass::flush());
        h.now += 30 * MS;
        h.end_io(flush, Outcome::Success);
    }
    let [a, b] = reads(&mut h);
    assert!(a >= 400 && b >= 400, "{a} and {b}");
}
