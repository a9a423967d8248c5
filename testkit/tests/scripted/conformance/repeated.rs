//! Keys that are said twice (RFC 7143 section 6.3).

use std::collections::BTreeSet;

use super::steps::{DUPLICATE, GROUP, fails, hear_offers, held, is_ended};
use crate::support::{World, rows};

rows! {
    c07_a_key_is_said_once;
}

/// Section 6.3: no key is declared or negotiated twice in a login; an initiator that detects it drops the
/// connection. TargetAddress alone may be repeated.
async fn c07_a_key_is_said_once(world: &World) {
    // In one response.
    let twice = [
        [("ImmediateData", "Yes"), ("ImmediateData", "Yes")],
        [("MaxBurstLength", "65536"), ("MaxBurstLength", "512")],
        [("HeaderDigest", "None"), ("HeaderDigest", "NotUnderstood")],
        [
            ("MaxRecvDataSegmentLength", "512"),
            ("MaxRecvDataSegmentLength", "513"),
        ],
        [("TargetPortalGroupTag", "1"), ("MaxConnections", "1")],
    ];
    for (number, twice) in twice.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let offers = hear_offers(&mut peer).await;
            let answers = offers.answers(&twice);
            peer.say_login(offers.agreed(), &answers).await.unwrap();
            is_ended(&mut peer).await;
        };
        let error = fails(&world.initiator(), &world.to(), script).await;
        assert_eq!(error, DUPLICATE, "{twice:?}");
    }
    // In two, and in the security stage.
    let later = world.case(10).await;
    let script = async {
        let mut peer = later.accept().await;
        let offers = hear_offers(&mut peer).await;
        let answers = offers.answers(&[]);
        peer.say_login(held(&offers), &answers).await.unwrap();
        let again = peer.hear_login().await.unwrap();
        let repeated = [("ImmediateData", "Yes")];
        peer.say_login(again.agreed(), &repeated).await.unwrap();
        is_ended(&mut peer).await;
    };
    assert_eq!(
        fails(&later.initiator(), &later.to(), script).await,
        DUPLICATE
    );
    let method = world.case(11).await;
    let script = async {
        let mut peer = method.accept().await;
        let first = peer.hear_login().await.unwrap();
        let twice = [GROUP, ("AuthMethod", "None"), ("AuthMethod", "None")];
        peer.say_login(first.agreed(), &twice).await.unwrap();
        is_ended(&mut peer).await;
    };
    assert_eq!(
        fails(&method.initiator(), &method.to(), script).await,
        DUPLICATE
    );
    // What may be repeated; and nothing that the initiator says is.
    let addresses = [
        ("TargetAddress", "10.0.0.1:3260,1"),
        ("TargetAddress", "10.0.0.2:3260,1"),
    ];
    let script = async {
        let mut peer = world.accept().await;
        let exchanges = peer.log_in(&addresses).await.unwrap();
        let mut said = BTreeSet::new();
        for (key, value) in exchanges.iter().flat_map(|exchange| &exchange.keys) {
            assert!(said.insert(key.clone()), "{key}={value}");
        }
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        session.close().await;
    };
    futures_util::future::join(script, client).await;
}
