//! CmdSN, MaxCmdSN and StatSN past the end of their 32 bits (RFC 7143 section 4.2.2.1, RFC 1982).

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join;
use iscsi_client::{
    initiator::Initiator,
    runtime::{AsyncTimer, BoxFuture, Dial, Runtime, Transport},
    session::Session,
};
use iscsi_proto::{
    pdu::AsyncEvent,
    serial::{CmdSn, StatSn},
};
use iscsi_testkit::scripted::{Frame, Peer, Say};

use super::talk::{bytes_of, expect_good, fence, hear_command, pattern, quiet, say_good, start};
use crate::support::{INITIATOR, World, read, rows, test_unit_ready};

rows! {
    c30_cmd_sn_goes_on_past_its_end;
    c32_max_cmd_sn_is_compared_past_its_end;
    c33_stat_sn_goes_on_past_its_end;
}

/// A runtime whose random numbers are all ones: the first CmdSN is the last number there is.
#[derive(Debug)]
struct Ones(Arc<dyn Runtime>);

impl Runtime for Ones {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.0.new_timer(at)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.0.spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        self.0.resolve(host)
    }

    fn connect(&self, dial: &Dial) -> BoxFuture<io::Result<Box<dyn Transport>>> {
        self.0.connect(dial)
    }
}

async fn logged_in(world: &World, window: u32, stat_sn: StatSn) -> (Peer, Session) {
    let script = async {
        let mut peer = world.accept().await;
        peer.set_stat_sn(stat_sn);
        peer.window = window;
        let exchanges = peer.log_in(&[]).await.unwrap();
        assert_eq!(exchanges[0].request.cmd_sn, CmdSn(u32::MAX));
        peer
    };
    let runtime = Arc::new(Ones(Arc::clone(&world.runtime)));
    let initiator = Initiator::builder(INITIATOR.parse().unwrap(), runtime).build();
    let to = world.to_with(quiet());
    let (peer, session) = join(script, initiator.connect_spawned(&to)).await;
    (peer, session.unwrap())
}

/// Section 4.2.2.1: 0 comes after 2^32 - 1, for commands and for what carries their number.
async fn c30_cmd_sn_goes_on_past_its_end(world: &World) {
    let (mut peer, session) = logged_in(world, 32, StatSn(1)).await;
    assert_eq!(fence(&session, &mut peer).await.cmd_sn, CmdSn(u32::MAX));
    for expected in [u32::MAX, 0, 1, 2] {
        let execute = start(&session, test_unit_ready());
        let command = hear_command(&mut peer).await;
        assert_eq!(command.cmd_sn, CmdSn(expected));
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 0).await;
        let next = CmdSn(expected).next();
        assert_eq!(fence(&session, &mut peer).await.cmd_sn, next);
    }
}

/// Section 4.2.2.1: a MaxCmdSN past the end is a newer one; one that is older is ignored, and so is a pair that
/// contradicts itself (MaxCmdSN before ExpCmdSN - 1).
async fn c32_max_cmd_sn_is_compared_past_its_end(world: &World) {
    let (mut peer, session) = logged_in(world, 1, StatSn(1)).await;
    let all = [(); 4].map(|()| start(&session, test_unit_ready()));
    let mut heard = vec![hear_command(&mut peer).await];
    assert_eq!(heard[0].cmd_sn, CmdSn(u32::MAX));
    for shut in 0..3 {
        let next = peer.exp_cmd_sn().0;
        // ExpCmdSN and MaxCmdSN: shut, older, far older, contradicting, and contradicting with a window.
        for (exp, max) in [
            (next, next.wrapping_sub(1)),
            (next, next.wrapping_sub(2)),
            (next.wrapping_sub(1), next.wrapping_sub(2)),
            (next.wrapping_sub(1), next.wrapping_add(0x8000_0000)),
            (next, next.wrapping_sub(0x7fff_0000)),
            (next.wrapping_add(9), next.wrapping_add(5)),
        ] {
            let mut frame = Frame::new(Say::nop_in(), []);
            peer.number(&mut frame);
            frame.set_field(28, exp);
            frame.set_field(32, max);
            // The judge is told nothing of a window that is none.
            peer.bytes(&frame.to_bytes(peer.digests())).await.unwrap();
        }
        peer.window = 0;
        fence(&session, &mut peer).await;
        peer.window = 1;
        peer.say(Say::nop_in(), []).await.unwrap();
        let command = hear_command(&mut peer).await;
        assert_eq!(command.cmd_sn, CmdSn(shut));
        heard.push(command);
    }
    for command in heard {
        say_good(&mut peer, command.itt).await;
    }
    for execute in all {
        expect_good(execute, 0).await;
    }
}

/// Section 4.2.2.2: the same for StatSN, in whatever carries one.
async fn c33_stat_sn_goes_on_past_its_end(world: &World) {
    for (number, first) in [0x7fff_fff8, 0xffff_fff8].into_iter().enumerate() {
        let world = world.case(number).await;
        let (mut peer, session) = logged_in(&world, 32, StatSn(first)).await;
        for _ in 0..4 {
            let execute = start(&session, read(0, 1));
            let command = hear_command(&mut peer).await;
            let data = Say::last_data_in(&command, 0, 0);
            peer.say(data, pattern(512)).await.unwrap();
            assert_eq!(bytes_of(&expect_good(execute, 512).await), pattern(512));
            let news = Say::asynchronous(AsyncEvent::VendorSpecific, [0; 3]);
            peer.say(news, []).await.unwrap();
            peer.sleep(Duration::from_millis(1)).await;
            let execute = start(&session, test_unit_ready());
            let command = hear_command(&mut peer).await;
            say_good(&mut peer, command.itt).await;
            expect_good(execute, 0).await;
            let ping = fence(&session, &mut peer).await;
            assert_eq!(ping.exp_stat_sn.next(), peer.stat_sn());
        }
        assert!(peer.stat_sn().precedes(StatSn(first.wrapping_add(64))));
        assert_eq!(session.logins(), 1);
    }
}
