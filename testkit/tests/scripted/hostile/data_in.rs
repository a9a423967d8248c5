//! Data-In that is not what was asked for.

use futures_util::future::join;
use iscsi_client::error::ErrorKind;
use iscsi_proto::pdu::Pdu;
use iscsi_testkit::scripted::Frame;

use crate::support::{World, read, rows};

rows! {
    h75_data_sn_gap_or_repeat;
}

fn is_data_in(said: bool, frame: &Frame) -> bool {
    said && matches!(frame.pdu(), Ok(Pdu::DataIn(_)))
}

/// A gap in DataSN, or a number for the second time: the connection ends with a protocol error.
async fn h75_data_sn_gap_or_repeat(world: &World) {
    for (number, data_sn) in [1, 2, u32::MAX].into_iter().enumerate() {
        let world = world.case(number).await;
        let core = world.core();
        let script = async {
            let mut peer = world.accept_before(&core).await;
            let mut held = peer.relay_until(is_data_in).await.unwrap();
            held.frame.set_field(36, data_sn);
            peer.pass(held).await.unwrap();
            peer.relay_to_the_end().await;
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let executed = session.execute(read(0, 8)).await;
            assert_eq!(executed.result.unwrap_err().kind(), ErrorKind::Protocol);
        };
        join(script, client).await;
        assert_eq!(core.violations(), []);
    }
}
