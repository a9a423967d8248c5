//! Authentication is what a login must come to, and nothing that a target chooses (K-04, K-05; RFC 7143 sections 9.2.1 and
//! 12.1). What a target tries against it: rows H57 to H60.

use futures_util::future::join;
use iscsi_client::{
    bind::Bind, discovery::Discovery, error::LoginError, initiator::InitiatorBuilder,
    session::SessionOptions,
};
use iscsi_proto::{Error, PeerIncompatible, login::Authentication, pdu::TextRequest};
use iscsi_testkit::scripted::{Peer, Say};

use crate::{
    hostile::{
        chap::{hear_answer, md5, mutual, one_way},
        mutual_chap::prove,
        reaction::{login_fails, protocol},
    },
    support::{World, rows},
};

rows! {
    k04_a_session_with_credentials_needs_them;
    k04_discovery_with_credentials_of_its_own_needs_them;
    k05_nothing_is_offered_beside_what_is_required;
}

const SKIPPED: Error = Error::PeerIncompatible(PeerIncompatible::AuthenticationSkipped);
const UNPROVEN: Error = Error::PeerIncompatible(PeerIncompatible::TargetProofMissing);

/// Goes on without having asked for anything.
async fn asks_for_nothing(peer: &mut Peer) {
    let exchange = peer.hear_login().await.unwrap();
    let none = [("AuthMethod", "None")];
    peer.say_login(exchange.agreed(), &none).await.unwrap();
}

/// Takes the answer to its challenge, and proves nothing.
async fn proves_nothing(peer: &mut Peer) {
    let exchange = hear_answer(peer).await;
    peer.say(exchange.agreed(), []).await.unwrap();
}

/// Whether the target has to prove itself is seen in what the session tells of its login.
async fn k04_a_session_with_credentials_needs_them(world: &World) {
    for (credentials, is_mutual) in [(one_way(), false), (mutual(), true)] {
        let initiator = world.builder().credentials(credentials).build();
        let to = world.to_with(md5());
        let login = initiator.connect_spawned(&to);
        let error = login_fails(world, login, asks_for_nothing).await;
        assert_eq!(protocol(&error), SKIPPED);
        if is_mutual {
            let login = initiator.connect_spawned(&to);
            let error = login_fails(world, login, proves_nothing).await;
            assert_eq!(protocol(&error), UNPROVEN);
        }
        let script = async {
            let mut peer = world.accept().await;
            let exchange = hear_answer(&mut peer).await;
            if is_mutual {
                prove(&mut peer, &exchange).await;
            } else {
                peer.say(exchange.agreed(), []).await.unwrap();
                let last = peer.hear_login().await.unwrap();
                let answers = last.answers(&[]);
                peer.say_login(last.agreed(), &answers).await.unwrap();
            }
            peer
        };
        let (session, peer) = join(initiator.connect_spawned(&to), script).await;
        let login = session.unwrap().login();
        assert!(login.chap.is_some());
        assert_eq!(login.target_authenticated, is_mutual);
        drop(peer);
    }
}

async fn discovery_fails(
    world: &World,
    builder: InitiatorBuilder,
    own: Option<Authentication>,
    script: impl AsyncFnOnce(&mut Peer),
) -> LoginError {
    let initiator = builder.build();
    let mut discovery = Discovery::new(world.portal().into()).with_options(md5());
    discovery.authentication = own;
    login_fails(world, initiator.discover_with(&discovery), script).await
}

/// SendTargets is not said to whoever has not asked for credentials that were given for discovery, and not to whoever
/// has not proven itself where that was asked of sessions.
async fn k04_discovery_with_credentials_of_its_own_needs_them(world: &World) {
    let chap = || Authentication::Chap(one_way());
    let of_builder = world.builder().discovery_authentication(chap());
    let error = discovery_fails(world, of_builder, None, asks_for_nothing).await;
    assert_eq!(protocol(&error), SKIPPED);
    let error = discovery_fails(world, world.builder(), Some(chap()), asks_for_nothing).await;
    assert_eq!(protocol(&error), SKIPPED);
    for script in [0, 1] {
        let of_sessions = world.builder().credentials(mutual());
        let error = match script {
            0 => discovery_fails(world, of_sessions, None, asks_for_nothing).await,
            _ => discovery_fails(world, of_sessions, None, proves_nothing).await,
        };
        assert_eq!(protocol(&error), [SKIPPED, UNPROVEN][script]);
    }
}

/// `AuthMethod` of a session, and of discovery.
async fn k05_nothing_is_offered_beside_what_is_required(world: &World) {
    let chap = || Authentication::Chap(one_way());
    let lenient = || {
        let mut options = SessionOptions::default();
        options.require_chap = false;
        options
    };
    let plain = || world.builder();
    for (builder, session, discovery) in [
        (plain(), "None", "None"),
        // Most targets' discovery wants no credentials, and nothing that is said there is believed more than
        // an address is: see `InitiatorBuilder::discovery_authentication`.
        (plain().credentials(one_way()), "CHAP", "CHAP,None"),
        (plain().credentials(mutual()), "CHAP", "CHAP"),
        (
            plain().credentials(one_way()).options(lenient()),
            "CHAP,None",
            "CHAP,None",
        ),
        (
            plain().credentials(mutual()).options(lenient()),
            "CHAP",
            "CHAP",
        ),
        (
            plain()
                .credentials(one_way())
                .discovery_authentication(chap()),
            "CHAP",
            "CHAP",
        ),
        (plain().discovery_authentication(chap()), "None", "CHAP"),
    ] {
        let initiator = builder.build();
        let offers = async |peer: &mut Peer, offer: &str| {
            let exchange = peer.hear_login().await.unwrap();
            assert_eq!(exchange.value("AuthMethod"), Some(offer));
            // With credentials nobody goes on before the target has said something.
            assert_eq!(exchange.request.transit, offer == "None");
        };
        let script = async {
            let mut peer = world.accept().await;
            offers(&mut peer, session).await;
        };
        let (result, ()) = join(initiator.connect_spawned(&world.to()), script).await;
        result.unwrap_err();
        let script = async {
            let mut peer = world.accept().await;
            offers(&mut peer, discovery).await;
        };
        let portal = world.portal().into();
        let (result, ()) = join(initiator.discover(&portal, &Bind::Any), script).await;
        result.unwrap_err();
    }
    // Without any, discovery is what it was.
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        peer.say(Say::text(request.itt), []).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = world.builder().credentials(one_way()).build();
    let portal = world.portal().into();
    let (found, ()) = join(initiator.discover(&portal, &Bind::Any), script).await;
    assert!(found.unwrap().targets.is_empty());
}
