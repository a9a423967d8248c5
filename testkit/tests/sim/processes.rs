//! Programs that die, and that stand still.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future};
use iscsi_client::runtime::{Runtime, Transport};
use iscsi_testkit::sim::{SimHandle, SimProcess, SimRuntime};

use super::support::{connect, portal, receive, round_trip, send, serve, world};

const SECOND: Duration = Duration::from_secs(1);

/// Counts seconds on `handle`.
fn clock(handle: &SimHandle) -> Arc<AtomicU32> {
    let ticks = Arc::new(AtomicU32::new(0));
    let (counted, timer) = (Arc::clone(&ticks), handle.clone());
    handle.spawn(Box::pin(async move {
        loop {
            timer.sleep(SECOND).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    ticks
}

/// Says goodbye in the background when it is dropped, as a session's logout does.
struct Farewell {
    runtime: SimHandle,
    stream: Option<Box<dyn Transport>>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        // At once, and from a task of its own.
        let mut bye = Box::pin(async move {
            let _refused = send(&mut *stream, b"bye").await;
            stream
        });
        let poll = bye.as_mut().now_or_never();
        let runtime = self.runtime.clone();
        self.runtime.spawn(Box::pin(async move {
            if let Some(mut stream) = poll {
                let _refused = send(&mut *stream, b"bye again").await;
            }
            let _refused = connect(&runtime).await;
        }));
    }
}

#[test]
fn what_a_killed_program_leaves_to_its_destructors_has_no_effect() {
    for seed in 0..50 {
        let sim = SimRuntime::new(seed);
        let listener = sim.net().listen(portal()).unwrap();
        sim.block_on(async {
            let program = sim.handle().process();
            let runtime = program.handle();
            let ticks = clock(&runtime);
            let stream = connect(&runtime).await.unwrap();
            let mut server = listener.accept().await;
            let own = runtime.clone();
            runtime.spawn(Box::pin(async move {
                let mut farewell = Farewell {
                    runtime: own,
                    stream: Some(stream),
                };
                send(&mut **farewell.stream.as_mut().unwrap(), b"hello")
                    .await
                    .unwrap();
                future::pending::<()>().await;
            }));
            sim.sleep(3 * SECOND + SECOND / 2).await;
            program.kill();
            assert!(!program.is_alive());
            let mut buf = [0; 32];
            assert_eq!(receive(&mut server, &mut buf).await.unwrap(), 5);
            assert!(listener.accept().now_or_never().is_none());
            sim.sleep(10 * SECOND).await;
            assert!(listener.accept().now_or_never().is_none());
            assert_eq!(ticks.load(Ordering::Relaxed), 3);
            let error = connect(&runtime).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
            drop(server);
            assert_eq!(sim.net().connections(), 0);
        });
        assert_eq!(sim.net().counts().killed, 1);
    }
}

#[test]
fn data_that_a_dead_program_has_not_read_makes_a_reset_of_its_end() {
    for (unread, expected) in [(true, Err(io::ErrorKind::ConnectionReset)), (false, Ok(0))] {
        let sim = SimRuntime::new(3);
        let listener = sim.net().listen(portal()).unwrap();
        sim.block_on(async {
            let program = sim.handle().process();
            let _stream = connect(&program.handle()).await.unwrap();
            let mut server = listener.accept().await;
            if unread {
                send(&mut server, b"never read").await.unwrap();
                sim.sleep(SECOND).await;
            }
            program.kill();
            let end = receive(&mut server, &mut [0; 1]).await;
            assert_eq!(end.map_err(|error| error.kind()), expected);
        });
    }
}

#[test]
fn data_that_comes_to_a_dead_program_is_answered_with_a_reset() {
    let sim = SimRuntime::new(4);
    let listener = sim.net().listen(portal()).unwrap();
    sim.block_on(async {
        let program = sim.handle().process();
        let _stream = connect(&program.handle()).await.unwrap();
        let mut server = listener.accept().await;
        send(&mut server, b"under way").await.unwrap();
        program.kill();
        // In good order first, since nothing lay there.
        assert_eq!(receive(&mut server, &mut [0; 1]).await.unwrap(), 0);
        sim.sleep(SECOND).await;
        let error = send(&mut server, b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// How much of four writes arrives when their program dies with something unread.
fn arrives(seed: u64) -> usize {
    let sim = SimRuntime::new(seed);
    let listener = sim.net().listen(portal()).unwrap();
    sim.block_on(async {
        let program = sim.handle().process();
        let mut stream = connect(&program.handle()).await.unwrap();
        let mut server = listener.accept().await;
        send(&mut server, b"unread").await.unwrap();
        sim.sleep(SECOND).await;
        for _ in 0..4 {
            send(&mut *stream, &[7; 100]).await.unwrap();
        }
        program.kill();
        let mut got = 0;
        loop {
            let mut buf = [0; 1000];
            match server.read(&mut buf).await {
                Ok(len) => got += len,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                    return got;
                }
            }
        }
    })
}

#[test]
fn the_seed_decides_how_much_arrives_before_a_reset() {
    let got: Vec<usize> = (0..40).map(arrives).collect();
    assert!(got.contains(&0), "{got:?}");
    assert!(got.contains(&400), "{got:?}");
    assert!(got.iter().any(|got| (100..400).contains(got)), "{got:?}");
    assert_eq!(got, (0..40).map(arrives).collect::<Vec<_>>());
}

#[test]
fn a_program_starts_again_where_it_listened_and_another_one_never_noticed() {
    let sim = SimRuntime::new(5);
    let (server, other) = (sim.handle().process(), sim.handle().process());
    serve(&server.handle());
    let ticks = clock(&other.handle());
    sim.block_on(async {
        let mut stream = connect(&other.handle()).await.unwrap();
        round_trip(&mut *stream, b"first life").await;
        server.kill();
        assert_eq!(receive(&mut *stream, &mut [0; 1]).await.unwrap(), 0);
        let refused = connect(&sim).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let again = sim.handle().process();
        serve(&again.handle());
        let mut stream = connect(&other.handle()).await.unwrap();
        round_trip(&mut *stream, b"second life").await;
        sim.sleep(10 * SECOND).await;
    });
    assert_eq!(ticks.load(Ordering::Relaxed), 10);
}

#[test]
fn a_program_without_power_falls_silent() {
    let sim = world(6);
    sim.block_on(async {
        let server = sim.handle().process();
        let other = "10.0.0.2:3260".parse().unwrap();
        let listener = server.handle().net().listen(other).unwrap();
        let dial = iscsi_client::runtime::Dial::new(other);
        let mut stream = sim.connect(&dial).await.unwrap();
        let mut accepted = listener.accept().await;
        send(&mut accepted, b"lost").await.unwrap();
        server.lose_power();
        let mut buf = [0; 8];
        sim.sleep(60 * SECOND).await;
        assert!(receive(&mut *stream, &mut buf).now_or_never().is_none());
        send(&mut *stream, b"nobody").await.unwrap();
        sim.sleep(1000 * SECOND).await;
        let error = receive(&mut *stream, &mut buf).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_task_may_kill_its_own_program() {
    let sim = SimRuntime::new(7);
    let program = sim.handle().process();
    let ticks = clock(&program.handle());
    let (own, runtime) = (program.clone(), program.handle());
    program.handle().spawn(Box::pin(async move {
        runtime.sleep(SECOND * 5 / 2).await;
        own.kill();
        runtime.sleep(Duration::ZERO).await;
        unreachable!("a dead program goes on");
    }));
    sim.block_on(sim.sleep(10 * SECOND));
    assert_eq!(ticks.load(Ordering::Relaxed), 2);
}

fn suspended(sim: &SimRuntime, program: &SimProcess, duration: Option<Duration>) -> u32 {
    let ticks = clock(&program.handle());
    program.suspend(duration);
    sim.block_on(sim.sleep(4 * SECOND + SECOND / 2));
    ticks.load(Ordering::Relaxed)
}

#[test]
fn a_suspended_program_does_nothing_and_then_goes_on() {
    let sim = SimRuntime::new(8);
    let program = sim.handle().process();
    // Three seconds are slept at once, as by any program that comes back late.
    assert_eq!(suspended(&sim, &program, Some(3 * SECOND)), 1);
    let program = sim.handle().process();
    assert_eq!(suspended(&sim, &program, None), 0);
    program.resume();
    sim.block_on(sim.sleep(SECOND / 10));
    assert_eq!(sim.net().counts().suspended, 2);
    // The end of an earlier suspension does not end a later one.
    let program = sim.handle().process();
    program.suspend(Some(SECOND));
    assert_eq!(suspended(&sim, &program, Some(10 * SECOND)), 0);
}

#[test]
fn a_suspended_server_receives_until_its_buffer_is_full() {
    let sim = SimRuntime::new(9);
    let server = sim.handle().process();
    serve(&server.handle());
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        round_trip(&mut *stream, b"awake").await;
        server.suspend(None);
        let data = vec![1; 1 << 20];
        let mut sending = Box::pin(send(&mut *stream, &data));
        let silence = Box::pin(sim.sleep(60 * SECOND));
        let waiting = future::select(&mut sending, silence).await;
        assert!(matches!(waiting, future::Either::Right(_)));
        drop(sending);
        let progress = stream.progress().unwrap();
        assert_eq!(progress.sent, 5 + 256 * 1024);
        assert_eq!(progress.acked, progress.sent, "its kernel is awake");
        // Connections are made by the kernel too.
        let mut second = connect(&sim).await.unwrap();
        server.resume();
        round_trip(&mut *second, b"awake again").await;
    });
}
