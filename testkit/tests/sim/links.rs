//! Faults of links: in one direction, in small pieces, after so many bytes.

use std::{io, time::Duration};

use futures_util::{FutureExt, future};
use iscsi_client::runtime::Runtime;
use iscsi_testkit::sim::{Direction, Link, SimRuntime, Sprung};

use super::support::{connect, portal, receive, round_trip, send, world};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_link_that_is_cut_in_one_direction_still_carries_the_other() {
    let sim = SimRuntime::new(1);
    let listener = sim.net().listen(portal()).unwrap();
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        let mut server = listener.accept().await;
        let link = Link::to(portal()).only(Direction::FromPortal);
        sim.net().cut(link);
        send(&mut *stream, b"heard").await.unwrap();
        let mut buf = [0; 5];
        assert_eq!(receive(&mut server, &mut buf).await.unwrap(), 5);
        assert_eq!(&buf, b"heard");
        assert_eq!(stream.progress().unwrap().acked, 0, "nor is that known");
        send(&mut server, b"lost").await.unwrap();
        sim.sleep(60 * SECOND).await;
        assert!(receive(&mut *stream, &mut buf).now_or_never().is_none());
        let error = connect(&sim).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Without acknowledgements the window closes, though everything is read.
        let data = vec![0; 1 << 20];
        let mut sending = Box::pin(send(&mut *stream, &data));
        let mut buf = vec![0; 1 << 20];
        let mut reading = Box::pin(receive(&mut server, &mut buf));
        let both = future::select(&mut sending, &mut reading);
        let silence = Box::pin(sim.sleep(60 * SECOND));
        assert!(matches!(
            future::select(both, silence).await,
            future::Either::Right(_)
        ));
        drop((sending, reading));
        // Both kernels give up on what they have sent.
        sim.sleep(1000 * SECOND).await;
        let ends = [
            receive(&mut *stream, &mut [0; 1]).await,
            receive(&mut server, &mut vec![0; 1 << 20]).await,
        ];
        for end in ends {
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        sim.net().heal(link);
        connect(&sim).await.unwrap();
    });
    let counts = sim.net().counts();
    assert_eq!((counts.half_cut, counts.cut, counts.ignored), (1, 0, 1));
}

#[test]
fn what_is_read_to_the_end_of_a_cut_is_all_that_came_through() {
    let sim = world(2);
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        let link = Link::to(portal()).only(Direction::ToPortal);
        sim.net().cut(link);
        send(&mut *stream, b"lost").await.unwrap();
        sim.sleep(SECOND).await;
        assert!(receive(&mut *stream, &mut [0; 4]).now_or_never().is_none());
        assert_eq!(stream.progress().unwrap().acked, 0);
    });
}

#[test]
fn a_stall_in_one_direction_leaves_the_other_alone() {
    let sim = world(3);
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        let link = Link::to(portal()).only(Direction::FromPortal);
        sim.net().stall(link);
        send(&mut *stream, b"there and back").await.unwrap();
        sim.sleep(SECOND).await;
        assert_eq!(stream.progress().unwrap().acked, 14);
        let mut buf = [0; 14];
        assert!(receive(&mut *stream, &mut buf).now_or_never().is_none());
        sim.net().heal(link);
        assert_eq!(receive(&mut *stream, &mut buf).await.unwrap(), 14);
        assert_eq!(&buf, b"there and back");
    });
    assert_eq!(sim.net().counts().stalled, 1);
}

#[test]
fn segments_of_one_byte_carry_everything_and_are_counted() {
    let sim = world(4);
    sim.net().segment(Link::to(portal()), Some(1));
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        round_trip(&mut *stream, &[9; 300]).await;
        // Each byte is written and read in each direction.
        assert!(sim.net().counts().short_segments > 2 * 300);
        sim.net().segment(Link::to(portal()), None);
        let before = sim.net().counts().short_segments;
        round_trip(&mut *stream, &[9; 300]).await;
        assert_eq!(sim.net().counts().short_segments, before);
    });
}

#[test]
fn a_trap_springs_after_so_many_bytes() {
    for (then, expected) in [
        (Sprung::Reset, Err(io::ErrorKind::ConnectionReset)),
        (Sprung::Finish, Ok(100)),
        (Sprung::Cut, Err(io::ErrorKind::TimedOut)),
    ] {
        let sim = SimRuntime::new(5);
        let listener = sim.net().listen(portal()).unwrap();
        sim.block_on(async {
            let mut stream = connect(&sim).await.unwrap();
            let mut server = listener.accept().await;
            sim.net()
                .trap(Link::to(portal()), Direction::ToPortal, 100, then);
            send(&mut *stream, &[1; 100]).await.unwrap();
            let mut buf = [0; 200];
            let early = receive(&mut server, &mut buf).now_or_never();
            assert!(early.is_none(), "still under way");
            sim.sleep(SECOND).await;
            let _refused_or_lost = send(&mut *stream, &[1; 100]).await;
            // What had arrived can be read in any case.
            assert_eq!(server.read(&mut buf).await.unwrap().min(1), 1);
            let mut reading = Box::pin(receive(&mut server, &mut buf));
            let silence = Box::pin(sim.sleep(10 * SECOND));
            match (future::select(&mut reading, silence).await, expected) {
                (future::Either::Left((end, _)), expected) => match expected {
                    Ok(_) => assert!(end.is_ok()),
                    Err(kind) => assert_eq!(end.unwrap_err().kind(), kind),
                },
                (future::Either::Right(_), expected) => {
                    assert_eq!(expected, Err(io::ErrorKind::TimedOut), "{then:?}");
                }
            }
        });
        let counts = sim.net().counts();
        let found = (counts.reset, counts.finished, counts.cut);
        let wanted = [Sprung::Reset, Sprung::Finish, Sprung::Cut].map(|one| u64::from(one == then));
        assert_eq!(found, wanted.into());
    }
}

#[test]
fn attempts_that_are_ignored_hang_and_connections_go_on() {
    let sim = world(6);
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        sim.net().ignore(Link::to(portal()));
        let error = connect(&sim).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        round_trip(&mut *stream, b"as ever").await;
        sim.net().heal_all();
        connect(&sim).await.unwrap();
        sim.net().refuse(Link::to(portal()));
        connect(&sim).await.unwrap_err();
    });
    assert_eq!(
        (sim.net().counts().ignored, sim.net().counts().refused),
        (1, 1)
    );
}

#[test]
fn a_broken_resolver_knows_addresses_and_no_names() {
    let sim = SimRuntime::new(7);
    let address = portal().ip();
    sim.net().add_host("disk", &[address]);
    sim.block_on(async {
        assert_eq!(sim.resolve("disk").await.unwrap(), [address]);
        sim.net().break_resolver(Some(io::ErrorKind::TimedOut));
        let error = sim.resolve("disk").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(sim.resolve("10.0.0.1").await.unwrap(), [address]);
        sim.net().break_resolver(None);
        assert_eq!(sim.resolve("disk").await.unwrap(), [address]);
    });
    assert_eq!(sim.net().counts().unresolved, 1);
}

#[test]
fn an_end_from_outside_comes_behind_what_is_under_way() {
    let sim = SimRuntime::new(8);
    let listener = sim.net().listen(portal()).unwrap();
    sim.block_on(async {
        let mut stream = connect(&sim).await.unwrap();
        let mut server = listener.accept().await;
        send(&mut *stream, b"last words").await.unwrap();
        sim.net().finish(Link::to(portal()));
        let mut buf = [0; 32];
        assert_eq!(receive(&mut server, &mut buf).await.unwrap(), 10);
        assert_eq!(receive(&mut *stream, &mut buf).await.unwrap(), 0);
        let error = send(&mut *stream, b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_abort_takes_back_what_its_kernel_has_not_sent() {
    let link = Link::to(portal());
    for seed in 0..20 {
        for is_slow in [false, true] {
            let sim = SimRuntime::new(seed);
            let listener = sim.net().listen(portal()).unwrap();
            sim.block_on(async {
                let mut stream = connect(&sim).await.unwrap();
                let mut server = listener.accept().await;
                if is_slow {
                    sim.net().limit(link, Some(1000));
                } else {
                    sim.net().stall(link);
                }
                send(&mut *stream, &[1; 5000]).await.unwrap();
                sim.sleep(SECOND / 2).await;
                stream.abort();
                sim.net().limit(link, None);
                sim.net().heal(link);
                let end = receive(&mut server, &mut [0; 1]).await;
                assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            });
        }
    }
}
