//! Time, tasks, randomness and names of each runtime adapter.

#![cfg(any(feature = "tokio", feature = "smol"))]

mod support;

use std::{
    future::poll_fn,
    net::IpAddr,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use support::on_each_runtime;

const STEP: Duration = Duration::from_millis(20);

#[test]
fn timers_fire_in_the_order_of_their_deadlines_and_not_before() {
    on_each_runtime(async |runtime| {
        let start = runtime.now();
        // The latest is polled first: if it has fired, those before it must have, too.
        let mut timers = [3, 2, 1].map(|n| (n, runtime.new_timer(start + STEP * n)));
        poll_fn(|cx| {
            let mut fired = 0;
            for (n, timer) in &mut timers {
                if timer.as_mut().poll(cx).is_ready() {
                    assert!(runtime.now() >= start + STEP * *n);
                    fired += 1;
                } else {
                    assert_eq!(fired, 0, "timer {n} is behind a later one");
                }
            }
            if fired == 3 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    });
}

#[test]
fn a_timer_is_moved_in_both_directions_and_stays_ready_once_it_has_fired() {
    on_each_runtime(async |runtime| {
        let start = runtime.now();
        let mut timer = runtime.new_timer(start + Duration::from_secs(3600));
        poll_fn(|cx| {
            assert!(timer.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        timer.as_mut().reset(start + STEP);
        for _ in 0..3 {
            poll_fn(|cx| timer.as_mut().poll(cx)).await;
        }
        assert!(runtime.now() >= start + STEP);

        timer.as_mut().reset(start + Duration::from_secs(3600));
        poll_fn(|cx| {
            assert!(timer.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        timer.as_mut().reset(start);
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
    });
}

#[test]
fn a_spawned_task_runs_although_nobody_awaits_it() {
    on_each_runtime(async |runtime| {
        let done = Arc::new(Mutex::new((false, None::<std::task::Waker>)));
        let theirs = done.clone();
        runtime.spawn(Box::pin(async move {
            let mut done = theirs.lock().unwrap();
            done.0 = true;
            if let Some(waker) = done.1.take() {
                waker.wake();
            }
        }));
        poll_fn(|cx| {
            let mut done = done.lock().unwrap();
            done.1 = Some(cx.waker().clone());
            if done.0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    });
}

#[test]
fn names_and_literals_resolve_without_repetitions() {
    on_each_runtime(async |runtime| {
        let found = runtime.resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        let mut once = found.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), found.len());
        for literal in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = literal.parse().unwrap();
            assert_eq!(runtime.resolve(literal).await.unwrap(), [address]);
        }
        assert!(runtime.resolve("no.such.host.invalid").await.is_err());
    });
}

#[test]
fn random_bytes_differ() {
    on_each_runtime(async |runtime| {
        let mut draws = [[0; 32]; 2];
        for draw in &mut draws {
            runtime.fill_random(draw);
        }
        assert_ne!(draws[0], draws[1]);
    });
}

#[cfg(feature = "tokio")]
mod tokio_only {
    use std::time::Duration;

    use iscsi_client::runtime::{Dial, NoTokioRuntime, Runtime, TokioRuntime};

    fn runtime(paused: bool) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(paused)
            .build()
            .unwrap()
    }

    #[test]
    fn outside_a_runtime_there_is_no_current_one() {
        assert_eq!(TokioRuntime::current().err(), Some(NoTokioRuntime));
    }

    #[test]
    fn a_paused_clock_is_seen_from_inside_and_outside() {
        let tokio = runtime(true);
        let ours = TokioRuntime::from_handle(tokio.handle().clone());
        let before = ours.now();
        tokio.block_on(tokio::time::advance(Duration::from_secs(60)));
        assert_eq!(ours.now() - before, Duration::from_secs(60));
        let mut timer = ours.new_timer(before + Duration::from_secs(3600));
        tokio.block_on(std::future::poll_fn(|cx| timer.as_mut().poll(cx)));
        assert!(ours.now() - before >= Duration::from_secs(3600));
    }

    /// The futures are polled by another executor on a thread that tokio knows nothing of.
    #[test]
    fn a_handle_serves_threads_outside_the_runtime() {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let ours = TokioRuntime::from_handle(tokio.handle().clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dial = Dial::new(listener.local_addr().unwrap());
        let transport = smol::block_on(ours.connect(&dial)).unwrap();
        assert_eq!(transport.local_addr(), Some(listener.accept().unwrap().1));
        assert!(
            !smol::block_on(ours.resolve("localhost"))
                .unwrap()
                .is_empty()
        );
        let mut timer = ours.new_timer(ours.now());
        smol::block_on(std::future::poll_fn(|cx| timer.as_mut().poll(cx)));
    }
}

/// Whoever leaves a timer pending may rely on being woken at its deadline, without looking at it in
/// between: also where the task has used up the budget that tokio gives it per poll.
#[cfg(feature = "tokio")]
#[test]
fn a_timer_that_is_pending_has_the_waker_whatever_the_tasks_budget() {
    use std::{future::Future, pin::pin};

    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    let tokio = builder.worker_threads(1).enable_all().build().unwrap();
    let task = async {
        let runtime = iscsi_client::runtime::TokioRuntime::current().unwrap();
        let runtime: &dyn iscsi_client::runtime::Runtime = &runtime;
        let at = runtime.now() + STEP * 5;
        let mut timer = runtime.new_timer(at);
        let mut is_set = false;
        poll_fn(|cx| {
            if !is_set {
                while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
                assert!(timer.as_mut().poll(cx).is_pending());
                is_set = true;
            }
            match runtime.now() < at {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    };
    tokio.block_on(async {
        let late = tokio::time::timeout(Duration::from_secs(5), tokio::spawn(task));
        late.await.expect("it was woken").unwrap();
    });
}
