//! Which CHAP algorithms are offered, and taken (K-09; RFC 7143 section 12.1.3).

use futures_util::future::join;
use iscsi_client::session::SessionOptions;
use iscsi_proto::{
    LoginStatus, PeerMisbehaved,
    login::ChapAlgorithm::{self, Md5, Sha1, Sha3_256, Sha256},
};
use iscsi_testkit::scripted::{LoginExchange, Peer};

use crate::{
    hostile::{
        chap::{CHALLENGE, one_way},
        reaction::{hears_the_end, protocol},
    },
    support::{World, rows},
};

rows! {
    k09_the_strongest_first_and_md5_last;
    k09_without_md5_it_is_never_offered_and_never_taken;
}

fn with(algorithms: &[ChapAlgorithm]) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.chap_algorithms = algorithms.to_vec();
    options
}

/// Agrees to CHAP and hears the list.
async fn hear_list(peer: &mut Peer) -> LoginExchange {
    let exchange = peer.hear_login().await.unwrap();
    let chap = [("AuthMethod", "CHAP"), ("TargetPortalGroupTag", "1")];
    peer.say_login(exchange.agreed(), &chap).await.unwrap();
    peer.hear_login().await.unwrap()
}

async fn k09_the_strongest_first_and_md5_last(world: &World) {
    assert_eq!(
        SessionOptions::default().chap_algorithms,
        ChapAlgorithm::ALL
    );
    for (options, list) in [
        (SessionOptions::default(), "8,7,6,5"),
        (with(&[]), "8,7,6,5"),
        (with(ChapAlgorithm::WITHOUT_MD5), "8,7,6"),
        (with(&[Sha1, Sha256, Sha1]), "6,7"),
        (with(&[Md5]), "5"),
    ] {
        let initiator = world.builder().credentials(one_way()).build();
        let to = world.to_with(options);
        let script = async {
            let mut peer = world.accept().await;
            let exchange = hear_list(&mut peer).await;
            assert_eq!(exchange.value("CHAP_A"), Some(list));
        };
        let (result, ()) = join(initiator.connect_spawned(&to), script).await;
        result.unwrap_err();
    }
}

/// Not even where the target refuses everything else: what is tried then is less, and never something weaker than
/// was offered. Nothing that depends on the secret is said to whoever takes MD5 all the same.
async fn k09_without_md5_it_is_never_offered_and_never_taken(world: &World) {
    let initiator = world.builder().credentials(one_way()).build();
    let to = world.to_with(with(ChapAlgorithm::WITHOUT_MD5));
    // Chooses 5.
    let script = async {
        for _ in 0..4 {
            let mut peer = world.accept().await;
            let exchange = hear_list(&mut peer).await;
            let list = exchange.value("CHAP_A").unwrap().to_owned();
            assert!(list.split(',').all(|number| number != "5"), "{list}");
            let keys = [("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", CHALLENGE)];
            peer.say_login(exchange.agreed(), &keys).await.unwrap();
            hears_the_end(&mut peer).await;
        }
    };
    let (result, ()) = join(initiator.connect_spawned(&to), script).await;
    assert_eq!(protocol(&result.unwrap_err()), PeerMisbehaved::Chap.into());
    // Refuses the list, and each of what comes after it.
    let mut lists = Vec::new();
    let script = async {
        for _ in 0..4 {
            let mut peer = world.accept().await;
            let exchange = hear_list(&mut peer).await;
            lists.push(exchange.value("CHAP_A").unwrap().to_owned());
            let failed = LoginStatus {
                class: 2,
                detail: 1,
            };
            peer.say(exchange.refused(failed), []).await.unwrap();
            hears_the_end(&mut peer).await;
        }
    };
    let (result, ()) = join(initiator.connect_spawned(&to), script).await;
    result.unwrap_err();
    let alone = [Sha256, Sha1, Sha3_256].map(|one| one.number().to_string());
    assert_eq!(lists[0], "8,7,6");
    assert_eq!(lists[1..], alone);
}
