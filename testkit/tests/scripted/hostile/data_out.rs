//! R2Ts that ask for what is not there.

use futures_util::future::join;
use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{error::PeerMisbehaved, pdu::Pdu};
use iscsi_testkit::scripted::End;

use super::{bystander::Bystander, reaction::cause};
use crate::support::{World, rows, write};

rows! {
    h82_r2t_past_the_transfer;
}

/// R2T offset and length past the transfer, or wrapping: the connection ends, and no byte was sent.
async fn h82_r2t_past_the_transfer(world: &World) {
    let cases = [
        (0, 4097),
        (4096, 1),
        (u32::MAX, 1),
        (u32::MAX, 2),
        (0xffff_f000, 0x1200),
        (512, u32::MAX),
    ];
    for (number, (offset, len)) in cases.into_iter().enumerate() {
        let world = world.case(number).await;
        let core = world.core_with(|mut config| {
            config.limits.initial_r2t = true;
            config.limits.immediate_data = false;
            config
        });
        let initiator = world.initiator();
        let bystander = Bystander::new(&world, &initiator).await;
        let script = async {
            let mut peer = world.accept_before(&core).await;
            let is_r2t = |said: bool, frame: &iscsi_testkit::scripted::Frame| {
                said && matches!(frame.pdu(), Ok(Pdu::R2t(_)))
            };
            let mut held = peer.relay_until(is_r2t).await.unwrap();
            held.frame.set_field(40, offset);
            held.frame.set_field(44, len);
            peer.pass(held).await.unwrap();
            let next = peer.relay_until(|said, _| !said).await;
            assert!(
                matches!(next, Err(End::Closed | End::Failed(_))),
                "{next:?}"
            );
        };
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            let executed = session.execute(write(0, vec![7; 4096])).await;
            let error = executed.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert_eq!(
                (error.outcome(), error.is_dead()),
                (Outcome::Unknown, false)
            );
            let length = len;
            assert_eq!(
                cause(&error),
                PeerMisbehaved::R2tRange { offset, length }.into()
            );
        };
        join(script, client).await;
        bystander.lost_nothing().await;
        assert_eq!(core.violations(), []);
        let mut medium = [0; 512];
        core.peek(0, 0, &mut medium);
        assert_ne!(medium, [7; 512], "nothing was written");
    }
}
