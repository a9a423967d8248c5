//! Our own challenge: long, of the operating system's randomness, and of one login only (K-07; RFC 7143 section 9.2.1,
//! RFC 1994 section 2.3). One that comes back while it is in use: row H55 (K-06).

use std::collections::BTreeSet;

use futures_util::future::join;
use iscsi_client::session::SessionOptions;
use iscsi_proto::{PeerIncompatible, login::ChapAlgorithm};
use iscsi_testkit::scripted::Peer;

use crate::{
    hostile::{
        chap::{CHALLENGE, hear_answer, md5, mutual},
        mutual_chap::{hex, proof, prove, unhex},
        reaction::{login_fails, protocol},
    },
    support::{World, rows},
};

rows! {
    k07_a_challenge_is_long_and_never_the_same;
    k07_a_proof_holds_for_its_own_challenge_only;
}

/// The target's side up to our challenge, which it leaves unanswered.
async fn hear_challenge(peer: &mut Peer, algorithm: ChapAlgorithm) -> (u8, Vec<u8>) {
    let exchange = peer.hear_login().await.unwrap();
    let chap = [("AuthMethod", "CHAP"), ("TargetPortalGroupTag", "1")];
    peer.say_login(exchange.agreed(), &chap).await.unwrap();
    let exchange = peer.hear_login().await.unwrap();
    let number = algorithm.number().to_string();
    let keys = [
        ("CHAP_A", number.as_str()),
        ("CHAP_I", "1"),
        ("CHAP_C", CHALLENGE),
    ];
    peer.say_login(exchange.agreed(), &keys).await.unwrap();
    let exchange = peer.hear_login().await.unwrap();
    let identifier = exchange.value("CHAP_I").unwrap().parse().unwrap();
    (identifier, unhex(exchange.value("CHAP_C").unwrap()))
}

/// 16 bytes at least, as long as the digest; all different, with as many ones as zeros. Over TCP it is the operating
/// system's randomness that is looked at; of the same initiator, and of another one each time.
async fn k07_a_challenge_is_long_and_never_the_same(world: &World) {
    const LOGINS: usize = 48;
    let mut challenges = BTreeSet::new();
    let mut identifiers = BTreeSet::new();
    let (mut ones, mut bits) = (0_usize, 0);
    let one = world.builder().credentials(mutual()).build();
    for number in 0..LOGINS {
        let algorithm = ChapAlgorithm::ALL[number % ChapAlgorithm::ALL.len()];
        let mut options = SessionOptions::default();
        options.chap_algorithms = vec![algorithm];
        let other = world.builder().credentials(mutual()).build();
        let initiator = if number % 2 == 0 { &one } else { &other };
        let script = async {
            let mut peer = world.accept().await;
            hear_challenge(&mut peer, algorithm).await
        };
        let to = world.to_with(options);
        let (result, heard) = join(initiator.connect_spawned(&to), script).await;
        result.unwrap_err();
        let (identifier, challenge) = heard;
        assert_eq!(challenge.len(), algorithm.digest_len());
        assert!(challenge.len() >= 16);
        ones += challenge
            .iter()
            .map(|byte| byte.count_ones() as usize)
            .sum::<usize>();
        bits += challenge.len() * 8;
        // Of any two, the first half alone is different already.
        assert!(challenges.insert(challenge[..8].to_vec()), "twice");
        identifiers.insert(identifier);
    }
    assert_eq!(challenges.len(), LOGINS);
    assert!(identifiers.len() > LOGINS / 2, "{identifiers:?}");
    // Of 9600 bits, half with a standard deviation of 49: this is more than ten of them.
    assert!(ones.abs_diff(bits / 2) < bits / 18, "{ones} of {bits}");
}

/// What proved the target once does not prove anything the next time.
async fn k07_a_proof_holds_for_its_own_challenge_only(world: &World) {
    let initiator = world.builder().credentials(mutual()).build();
    let to = world.to_with(md5());
    let script = async {
        let mut peer = world.accept().await;
        let exchange = hear_answer(&mut peer).await;
        let proven = proof(&exchange, crate::hostile::chap::THEIRS);
        prove(&mut peer, &exchange).await;
        peer.hear_the_end().await;
        hex(&proven)
    };
    let client = async {
        let session = initiator.connect_spawned(&to).await.unwrap();
        session.close().await;
    };
    let ((), recorded) = join(client, script).await;
    for _ in 0..3 {
        let replay = async |peer: &mut Peer| {
            let exchange = hear_answer(peer).await;
            let keys = [("CHAP_N", "shelf"), ("CHAP_R", recorded.as_str())];
            peer.say_login(exchange.agreed(), &keys).await.unwrap();
        };
        let error = login_fails(world, initiator.connect_spawned(&to), replay).await;
        assert_eq!(
            protocol(&error),
            PeerIncompatible::TargetNotAuthentic.into()
        );
    }
}
