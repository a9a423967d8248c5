//! What a login has agreed on, in use: the keys of RFC 7143 section 13 in full feature phase.

use std::time::Duration;

use futures_util::future::{FutureExt as _, join};
use iscsi_client::{error::Outcome, session::SessionOptions};
use iscsi_proto::{
    pdu::ScsiCommand,
    scsi::ScsiStatus,
    text::{Digest, DigestOffer, TaskReporting, TaskReportingOffer},
};
use iscsi_testkit::scripted::{Digests, Say};

use super::steps::{BAD_VALUE, answered, offering, say_good, works_after_each_login};
use crate::support::{World, read, rows, test_unit_ready, write};

rows! {
    c15_digests_begin_with_the_full_feature_phase;
    c16_one_connection_whatever_is_agreed;
    c22_a_lost_session_waits_for_time2wait;
    c89_what_is_not_agreed_to_is_not_used;
}

/// Section 13.1: each digest is offered as a list and used in its own right, in both directions, from the first PDU
/// after the login on and not in the login.
async fn c15_digests_begin_with_the_full_feature_phase(world: &World) {
    let mut number = 0;
    for header in ["None", "CRC32C"] {
        for data in ["None", "CRC32C"] {
            let world = world.case(number).await;
            number += 1;
            let options = offering(|offer| {
                let offer = offer.with_header_digest(DigestOffer::PreferCrc32c);
                offer.with_data_digest(DigestOffer::PreferNone)
            });
            let script = async {
                let mut peer = world.accept().await;
                let keys = [("HeaderDigest", header), ("DataDigest", data)];
                let exchanges = peer.log_in(&keys).await.unwrap();
                let offers = exchanges.last().unwrap();
                assert_eq!(offers.value("HeaderDigest"), Some("CRC32C,None"));
                assert_eq!(offers.value("DataDigest"), Some("None,CRC32C"));
                let expected = Digests {
                    header: header == "CRC32C",
                    data: data == "CRC32C",
                };
                assert_eq!(peer.digests(), expected);
                // A digest that is missing or wrong is no PDU.
                let (command, out) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
                assert_eq!(out, [7; 512]);
                let good = Say::response(command.itt, ScsiStatus::Good, 0);
                peer.say(good, []).await.unwrap();
                let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
                let last = Say::last_data_in(&command, 0, 0);
                peer.say(last, vec![9; 512]).await.unwrap();
            };
            let initiator = world.initiator();
            let client = async {
                let to = world.to_with(options);
                let session = initiator.connect_spawned(&to).await.unwrap();
                let agreed = |value| match value {
                    "None" => Digest::None,
                    _ => Digest::Crc32c,
                };
                let login = session.login();
                assert_eq!(login.parameters.header_digest, agreed(header));
                assert_eq!(login.parameters.data_digest, agreed(data));
                let written = session.execute(write(0, vec![7; 512])).await;
                written.result.unwrap();
                session.execute(read(0, 1)).await.result.unwrap();
            };
            join(script, client).await;
        }
    }
}

/// Section 13.2: MaxConnections is a limit. This initiator keeps to one connection (section 6.3.1 never sees a TSIH
/// of it).
async fn c16_one_connection_whatever_is_agreed(world: &World) {
    for (number, agreed) in [1, 2, 4].into_iter().enumerate() {
        let world = world.case(number).await;
        let options = offering(|offer| offer.with_max_connections(4).unwrap());
        let script = async {
            let mut peer = world.accept().await;
            let value = agreed.to_string();
            let keys = [("MaxConnections", value.as_str())];
            let exchanges = peer.log_in(&keys).await.unwrap();
            let offers = exchanges.last().unwrap();
            assert_eq!(offers.value("MaxConnections"), Some("4"));
            for _ in 0..8 {
                say_good(&mut peer).await;
            }
            peer.hear_the_end().await;
        };
        let initiator = world.initiator();
        let client = async {
            let to = world.to_with(options);
            let session = initiator.connect_spawned(&to).await.unwrap();
            assert_eq!(session.login().parameters.max_connections, agreed);
            let all = (0..8).map(|_| session.execute(test_unit_ready()));
            for executed in futures_util::future::join_all(all).await {
                executed.result.unwrap();
            }
            assert!(world.accept_any().now_or_never().is_none());
            session.close().await;
        };
        join(script, client).await;
    }
}

/// Section 13.15: after a connection ended unexpectedly, so long passes before the session is reinstated.
async fn c22_a_lost_session_waits_for_time2wait(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[("DefaultTime2Wait", "1")]).await.unwrap();
        say_good(&mut peer).await;
        let lost = world.runtime.now();
        drop(peer);
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let waited = world.runtime.now() - lost;
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        say_good(&mut peer).await;
    };
    join(script, works_after_each_login(world, 2)).await;
}

/// RFC 7143 sections 13.23 and 13.24, RFC 7144: a target that knows neither key is one of level 1 and RFC 3720, and
/// what a higher level brings is not used with it.
async fn c89_what_is_not_agreed_to_is_not_used(world: &World) {
    let levels = [
        ("NotUnderstood", Some(1)),
        ("Reject", Some(1)),
        ("Irrelevant", Some(1)),
        ("0", Some(0)),
        ("1", Some(1)),
        ("2", Some(2)),
        ("3", None),
        ("32", None),
    ];
    for (number, (answer, level)) in levels.into_iter().enumerate() {
        let world = world.case(number).await;
        let Some(level) = level else {
            let keys = [("iSCSIProtocolLevel", answer)];
            let refused = answered(&world, SessionOptions::default(), &keys).await;
            assert_eq!(refused.unwrap_err(), BAD_VALUE);
            continue;
        };
        let script = async {
            let mut peer = world.accept().await;
            peer.log_in(&[("iSCSIProtocolLevel", answer)])
                .await
                .unwrap();
            if level == 2 {
                assert_eq!(say_good(&mut peer).await.priority, 3);
            }
            assert_eq!(say_good(&mut peer).await.priority, 0);
        };
        let initiator = world.initiator();
        let client = async {
            let session = initiator.connect_spawned(&world.to()).await.unwrap();
            assert_eq!(session.login().parameters.protocol_level, level);
            let mut first = test_unit_ready();
            first.priority = 3;
            let executed = session.execute(first).await;
            match level {
                2 => drop(executed.result.unwrap()),
                _ => {
                    let error = executed.result.unwrap_err();
                    assert_eq!(error.outcome(), Outcome::NotExecuted, "{error}");
                }
            }
            session.execute(test_unit_ready()).await.result.unwrap();
        };
        join(script, client).await;
    }
    let reporting = [
        ("NotUnderstood", TaskReporting::Rfc3720),
        ("Reject", TaskReporting::Rfc3720),
        ("RFC3720", TaskReporting::Rfc3720),
        ("ResponseFence", TaskReporting::ResponseFence),
        ("FastAbort", TaskReporting::FastAbort),
    ];
    for (number, (answer, expected)) in reporting.into_iter().enumerate() {
        let world = world.case(20 + number).await;
        let offer =
            offering(|offer| offer.with_task_reporting(TaskReportingOffer::PreferFastAbort));
        let login = answered(&world, offer, &[("TaskReporting", answer)]).await;
        assert_eq!(login.unwrap().parameters.task_reporting, expected);
    }
}
