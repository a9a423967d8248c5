//! CmdSN, StatSN and their windows (RFC 7143 section 4.2.2).

use futures_util::future::join;
use iscsi_proto::{pdu::ScsiCommand, scsi::ScsiStatus, serial::StatSn};
use iscsi_testkit::scripted::Say;

use crate::support::{World, rows, test_unit_ready};

rows! {
    c05_stat_sn_is_taken_from_the_first_response;
    c32_nothing_past_max_cmd_sn;
}

/// Section 4.2.2.2: the first login response says where StatSN begins, wherever that is.
async fn c05_stat_sn_is_taken_from_the_first_response(world: &World) {
    let firsts = [0, 1, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff];
    for (number, first) in firsts.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            peer.set_stat_sn(StatSn(first));
            let exchanges = peer.log_in(&[]).await.unwrap();
            let logins = exchanges.len() as u32;
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            assert_eq!(command.exp_stat_sn, StatSn(first).plus(logins));
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
            let (next, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            assert_eq!(next.exp_stat_sn, StatSn(first).plus(logins + 1));
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let first = session.execute(test_unit_ready()).await;
            assert_eq!(first.result.unwrap().status, ScsiStatus::Good);
            let _connection_lost = session.execute(test_unit_ready()).await;
        };
        join(script, client).await;
    }
}

/// Section 4.2.2.1: a command waits for the window, and the window is opened by any PDU.
async fn c32_nothing_past_max_cmd_sn(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.window = 1;
        peer.log_in(&[]).await.unwrap();
        let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        // The window is shut by the answer, and a NOP-In opens it for two.
        peer.window = 0;
        let answer = Say::response(command.itt, ScsiStatus::Good, 0);
        peer.say(answer, []).await.unwrap();
        peer.sleep(std::time::Duration::from_millis(50)).await;
        peer.window = 2;
        peer.say(Say::nop_in(), []).await.unwrap();
        for _ in 0..2 {
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            peer.say(answer, []).await.unwrap();
        }
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        let all = (0..3).map(|_| session.execute(test_unit_ready()));
        for executed in futures_util::future::join_all(all).await {
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        }
        drop(session);
        drop(initiator);
    };
    join(script, client).await;
}
