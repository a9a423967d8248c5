use std::time::Duration;

use mpio::core::{Config, IoClass, Outcome};

use super::harness::{Harness, LOST, MS, S};

#[test]
fn a_path_and_the_device_count_reads_and_writes_apart_and_for_ever() {
    for short_way in [true, false] {
        let (mut h, [a]) = Harness::with_paths(Config::default());
        h.short_way = short_way;
        for round in 0..20_000_u32 {
            let read = h.read(0..4096);
            let write = h.write(8192..12_288);
            h.now += MS;
            h.end_io(read, Outcome::Success);
            h.now += MS;
            h.end_io(write, Outcome::Success);
            if round % 1000 == 0 {
                let flush = h.submit(IoClass::flush());
                h.now += S;
                h.end_io(flush, Outcome::Success);
            }
        }
        let snapshot = h.core.snapshot(h.now);
        let path = snapshot.path(a).unwrap();
        for latency in [&snapshot.latency, &path.latency] {
            // More than a count that fades would have left, and no flush among them.
            assert_eq!(latency.reads.count(), 20_000);
            assert_eq!(latency.writes.count(), 20_000);
            let at = |time: Duration| time..time * 5 / 4;
            let median = |of: &mpio::core::Histogram| of.percentile(50.0).unwrap();
            assert!(at(MS).contains(&median(&latency.reads)));
            assert!(at(2 * MS).contains(&median(&latency.writes)));
            assert!(latency.all().percentile(100.0) < Some(S));
        }
    }
}

/// A path answers quickly or is lost; what a caller waited is the device's.
#[test]
fn a_read_that_moved_took_its_caller_longer_than_its_last_path() {
    for short_way in [true, false] {
        let (mut h, [a, b]) = Harness::with_paths(Config::default());
        h.short_way = short_way;
        let io = h.read(0..4096);
        let (first, second) = match h.path_of(io) == Some(a) {
            true => (a, b),
            false => (b, a),
        };
        h.now += 400 * MS;
        h.down(first, LOST);
        assert_eq!(h.path_of(io), Some(second));
        h.now += MS;
        h.end_io(io, Outcome::Success);
        let snapshot = h.core.snapshot(h.now);
        let slowest = |latency: &mpio::core::Latencies| latency.reads.percentile(100.0);
        assert!(slowest(&snapshot.latency) > Some(400 * MS));
        assert!(slowest(&snapshot.path(second).unwrap().latency) < Some(2 * MS));
        assert!(snapshot.path(first).unwrap().latency.reads.is_empty());
    }
}
