//! The simulated world: one seed, one run; and faults that do what they say.

use std::{io, task::Context, time::Duration};

use futures_util::{FutureExt, future};
use iscsi_client::{
    bind::Bind,
    runtime::{Dial, Runtime},
};
use iscsi_testkit::sim::{
    BitFlips, Direction, FaultCounts, Link, Rng, SimHandle, SimRuntime, Sprung,
};

use super::support::{connect, portal, receive, send, world};

fn echo_run(seed: u64) -> (u64, Duration) {
    let sim = world(seed);
    sim.block_on(async {
        let clients = (0..4u64).map(|client| {
            let sim = &sim;
            async move {
                let mut stream = connect(sim).await.unwrap();
                let mut data = vec![0; 10_000];
                Rng::new(seed ^ client).fill(&mut data);
                let mut back = vec![0; data.len()];
                for (sent, got) in data.chunks(777).zip(back.chunks_mut(777)) {
                    send(&mut *stream, sent).await.unwrap();
                    assert_eq!(receive(&mut *stream, got).await.unwrap(), sent.len());
                }
                assert_eq!(data, back);
            }
        });
        future::join_all(clients).await;
    });
    (sim.trace_hash(), sim.elapsed())
}

#[test]
fn one_seed_is_one_run_and_another_seed_is_another() {
    for seed in 0..20 {
        assert_eq!(echo_run(seed), echo_run(seed));
    }
    assert_ne!(echo_run(1).0, echo_run(2).0);
}

#[test]
fn random_bytes_and_time_come_from_the_seed() {
    let draw = |seed| {
        let mut bytes = [0; 13];
        SimRuntime::new(seed).fill_random(&mut bytes);
        bytes
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    let sim = SimRuntime::new(0);
    sim.block_on(async {
        let mut timer = sim.new_timer(sim.now() + Duration::from_secs(3600));
        timer.as_mut().reset(sim.now() + Duration::from_secs(60));
        future::poll_fn(|cx| timer.as_mut().poll(cx)).await;
    });
    assert_eq!(sim.elapsed(), Duration::from_secs(60));
}

#[test]
fn a_cut_connection_stays_dead_after_the_heal_and_a_new_one_works() {
    let sim = world(5);
    sim.block_on(async {
        let mut old = connect(&sim).await.unwrap();
        send(&mut *old, b"lost").await.unwrap();
        sim.net().cut(Link::to(portal()));
        let error = connect(&sim).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        sim.net().heal(Link::to(portal()));
        send(&mut *old, b"also lost").await.unwrap();
        let mut new = connect(&sim).await.unwrap();
        send(&mut *new, b"hello").await.unwrap();
        let mut buf = [0; 5];
        receive(&mut *new, &mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        sim.sleep(Duration::from_secs(60)).await;
        assert!(
            receive(&mut *old, &mut buf).now_or_never().is_none(),
            "half-open, not closed"
        );
        let progress = old.progress().unwrap();
        assert_eq!((progress.sent, progress.acked), (13, 0));
        sim.sleep(Duration::from_secs(1000)).await;
        let error = receive(&mut *old, &mut buf).await.unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::TimedOut,
            "the kernel gives up in the end"
        );
    });
}

#[test]
fn a_cut_between_one_source_and_a_portal_leaves_the_other_source_alone() {
    let sim = world(6);
    let (one, two) = ("10.0.0.101".parse().unwrap(), "10.0.0.102".parse().unwrap());
    sim.net().add_device("eth0", one);
    sim.net().add_device("eth1", two);
    sim.net().cut(Link::between(one, portal()));
    sim.block_on(async {
        let mut dial = Dial::new(portal());
        dial.bind = Bind::Device("eth0".into());
        assert_eq!(
            sim.connect(&dial).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        dial.bind = Bind::Address(two);
        let stream = sim.connect(&dial).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), two);
        dial.bind = Bind::Device("eth2".into());
        assert_eq!(
            sim.connect(&dial).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    });
}

#[test]
fn a_stall_delays_bytes_and_loses_none() {
    let sim = world(7);
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        send(&mut *stream, b"before ").await.unwrap();
        sim.net().stall(Link::to(portal()));
        send(&mut *stream, b"during").await.unwrap();
        let mut buf = [0; 13];
        let mut reading = Box::pin(receive(&mut *stream, &mut buf));
        let silence = sim.sleep(Duration::from_secs(30));
        assert!(matches!(
            future::select(&mut reading, Box::pin(silence)).await,
            future::Either::Right(_)
        ));
        sim.net().heal_all();
        assert_eq!(reading.await.unwrap(), 13);
        assert_eq!(&buf, b"before during");
    });
}

#[test]
fn reset_and_refuse_are_seen_at_once() {
    let sim = world(8);
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        sim.net().refuse(Link::to(portal()));
        sim.net().reset(Link::to(portal()));
        let error = receive(&mut *stream, &mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let refused = connect(&sim).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
    assert!(sim.elapsed() < Duration::from_millis(10));
}

#[test]
fn an_abort_drops_what_is_under_way_and_a_close_does_not() {
    for abort in [false, true] {
        let sim = SimRuntime::new(9);
        let listener = sim.net().listen(portal()).unwrap();
        sim.block_on(async {
            let mut stream = connect(&sim).await.unwrap();
            let mut server = listener.accept().await;
            send(&mut *stream, b"last words").await.unwrap();
            if abort {
                stream.abort();
            } else {
                future::poll_fn(|cx: &mut Context<'_>| stream.poll_close(cx))
                    .await
                    .unwrap();
            }
            let mut buf = [0; 32];
            let got = receive(&mut server, &mut buf)
                .await
                .map_err(|error| error.kind());
            assert_eq!(
                got,
                if abort {
                    Err(io::ErrorKind::ConnectionReset)
                } else {
                    Ok(10)
                }
            );
        });
    }
}

#[test]
#[should_panic(expected = "deadlock at")]
fn a_future_that_nothing_can_wake_is_reported() {
    SimRuntime::new(0).block_on(future::pending::<()>());
}

/// A program that talks to the echo server for as long as it is let, and connects again when it is not.
async fn chatter(runtime: SimHandle) {
    loop {
        let Ok(mut stream) = runtime.connect(&Dial::new(portal())).await else {
            runtime.sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut data = [0; 900];
        runtime.fill_random(&mut data);
        // The shape of a PDU, which is what flips of bits go by.
        data[..48].fill(0);
        data[6..8].copy_from_slice(&852_u16.to_be_bytes());
        while send(&mut *stream, &data).await.is_ok() {
            if receive(&mut *stream, &mut data).await.is_err() {
                break;
            }
        }
    }
}

/// Every fault that there is, one after the other or at once.
fn faulty_run(seed: u64) -> (u64, FaultCounts) {
    let sim = world(seed);
    let net = sim.net();
    let all = Link::to(portal());
    net.flip_bits(
        all,
        Some({
            let mut flips = BitFlips::new(1000);
            flips.unprotected = true;
            flips
        }),
    );
    let programs: Vec<_> = (0..3).map(|_| sim.handle().process()).collect();
    for program in &programs {
        let runtime = program.handle();
        runtime.spawn(Box::pin(chatter(program.handle())));
    }
    sim.block_on(async {
        let mut rng = Rng::new(seed);
        for _ in 0..25 {
            let direction = [Direction::ToPortal, Direction::FromPortal][rng.below(2) as usize];
            let half = all.only(direction);
            let bytes = rng.below(5000);
            let then = [Sprung::Reset, Sprung::Finish, Sprung::Cut][rng.below(3) as usize];
            match rng.below(11) {
                0 => net.cut(all),
                1 => net.cut(half),
                2 => net.stall(half),
                3 => net.refuse(all),
                4 => net.ignore(all),
                5 => net.reset(all),
                6 => net.finish(all),
                7 => net.segment(half, Some(20 + bytes as usize % 30)),
                8 => net.trap(all, direction, bytes, then),
                9 => programs[0].suspend(Some(Duration::from_millis(bytes))),
                _ => net.limit(half, Some(50_000)),
            }
            sim.sleep(Duration::from_millis(20)).await;
            net.heal_all();
            net.segment(half, None);
            net.limit(half, None);
            sim.sleep(Duration::from_millis(30)).await;
        }
        programs[1].kill();
        programs[2].lose_power();
        sim.sleep(Duration::from_secs(1)).await;
    });
    (sim.trace_hash(), net.counts())
}

#[test]
fn every_fault_is_the_seeds_doing_and_counted() {
    let mut sum = FaultCounts::default();
    for seed in 0..10 {
        let (hash, counts) = faulty_run(seed);
        assert_eq!((hash, counts), faulty_run(seed), "seed {seed}");
        sum.cut += counts.cut;
        sum.half_cut += counts.half_cut;
        sum.stalled += counts.stalled;
        sum.reset += counts.reset;
        sum.finished += counts.finished;
        sum.refused += counts.refused;
        sum.ignored += counts.ignored;
        sum.short_segments += counts.short_segments;
        sum.flipped_headers += counts.flipped_headers;
        sum.suspended += counts.suspended;
        sum.killed += counts.killed;
    }
    let each = [
        sum.cut,
        sum.half_cut,
        sum.stalled,
        sum.reset,
        sum.finished,
        sum.refused,
        sum.ignored,
        sum.short_segments,
        sum.flipped_headers,
        sum.suspended,
        sum.killed,
    ];
    assert!(each.iter().all(|count| *count > 0), "{sum:?}");
}
