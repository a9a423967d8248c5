//! The login phase (RFC 7143 sections 6.3 and 11.12 to 11.13).

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::session::SessionOptions;
use iscsi_proto::{LoginStatus, pdu::ScsiCommand, scsi::ScsiStatus};
use iscsi_testkit::scripted::{End, Say};

use crate::support::{World, rows, test_unit_ready};

rows! {
    c74_a_login_ends_in_its_time_and_with_its_connection;
    c75_a_temporary_redirection_is_followed_once;
}

/// Section 6.3: a login that does not end is ended, and its connection closed.
async fn c74_a_login_ends_in_its_time_and_with_its_connection(world: &World) {
    // Over TCP the wait is real.
    let patience = match world.is_simulated() {
        true => Duration::from_secs(60),
        false => Duration::from_millis(200),
    };
    let mut options = SessionOptions::default();
    options.login.timeout = patience;
    let script = async {
        let mut peer = world.accept().await;
        peer.hear_login().await.unwrap();
        let end = peer.hear_the_end().await;
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    };
    let initiator = world.initiator();
    let client = async {
        let begun = world.runtime.now();
        let to = world.to_with(options);
        let error = initiator.connect_spawned(&to).await.unwrap_err();
        assert!(world.runtime.now() - begun >= patience, "{error}");
    };
    join(script, client).await;
}

/// Section 11.13.5: the login goes on at the TargetAddress, and the next one begins where this one did.
async fn c75_a_temporary_redirection_is_followed_once(world: &World) {
    let elsewhere = world.case(0).await;
    let address = format!("{},7", elsewhere.portal());
    let script = async {
        for _ in 0..2 {
            let mut first = world.accept().await;
            let exchange = first.hear_login().await.unwrap();
            let moved = exchange.refused(LoginStatus {
                class: 1,
                detail: 1,
            });
            let to = [("TargetAddress", address.as_str())];
            first.say_login(moved, &to).await.unwrap();
            let mut second = elsewhere.accept().await;
            second
                .log_in(&[("TargetPortalGroupTag", "7")])
                .await
                .unwrap();
            let (command, _) = second.hear_pdu::<ScsiCommand>().await.unwrap();
            let answer = Say::response(command.itt, ScsiStatus::Good, 0);
            second.say(answer, []).await.unwrap();
        }
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        for logins in 1..=2 {
            let mut status = session.status();
            while session.logins() < logins {
                status = session.changed(status.generation).await;
            }
            let executed = session.execute(test_unit_ready()).await;
            assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        }
    };
    join(script, client).await;
}
