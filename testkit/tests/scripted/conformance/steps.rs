//! What the rows of the login have in common.

use std::{future::Future, sync::Arc};

use futures_util::future::join;
use iscsi_client::{
    error::{LoginError, LoginFailure},
    initiator::{Initiator, SessionTarget},
    session::{LoginInfo, Session, SessionOptions},
};
use iscsi_proto::{
    Error, PeerMisbehaved,
    pdu::{LoginResponse, ScsiCommand, Stage},
    scsi::ScsiStatus,
    text::{OperationalOffer, codec::TextBuf},
};
use iscsi_testkit::scripted::{End, LoginExchange, Peer, Say};

use crate::support::{World, test_unit_ready};

pub(super) const GROUP: (&str, &str) = ("TargetPortalGroupTag", "1");

/// No keys.
pub(super) const NONE: [(&str, &str); 0] = [];

pub(super) const BAD_VALUE: Error = Error::PeerMisbehaved(PeerMisbehaved::BadValue);

pub(super) const DUPLICATE: Error = Error::PeerMisbehaved(PeerMisbehaved::DuplicateKey);

/// Options with another offer than the usual one.
pub(super) fn offering(offer: impl FnOnce(OperationalOffer) -> OperationalOffer) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.offer = offer(options.offer);
    options
}

/// The answer that stays where it is.
pub(super) fn held(exchange: &LoginExchange) -> LoginResponse {
    LoginResponse {
        transit: false,
        nsg: Stage::SecurityNegotiation,
        ..exchange.agreed()
    }
}

/// Answers the security stage of a login without credentials, and hears the offers.
pub(super) async fn hear_offers(peer: &mut Peer) -> LoginExchange {
    let first = peer.hear_login().await.unwrap();
    assert_eq!(first.request.csg, Stage::SecurityNegotiation);
    let answers = first.answers(&[GROUP]);
    peer.say_login(first.agreed(), &answers).await.unwrap();
    let offers = peer.hear_login().await.unwrap();
    assert_eq!(offers.request.csg, Stage::OperationalNegotiation);
    offers
}

/// Agrees to all offers, in this answer.
pub(super) async fn agree(peer: &mut Peer, offers: &LoginExchange) {
    let answers = offers.answers(&[]);
    peer.say_login(offers.agreed(), &answers).await.unwrap();
}

/// Answers the next command, which has no data, with GOOD.
pub(super) async fn say_good(peer: &mut Peer) -> ScsiCommand {
    let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
    let good = Say::response(command.itt, ScsiStatus::Good, 0);
    peer.say(good, []).await.unwrap();
    command
}

/// Nothing more is said by the initiator: it has ended the connection.
pub(super) async fn is_ended(peer: &mut Peer) {
    let end = peer.hear().await;
    assert!(matches!(end, Err(End::Closed | End::Failed(_))), "{end:?}");
}

/// A text as it is in PDUs.
pub(super) fn text(keys: &[(&str, &str)]) -> Vec<u8> {
    let mut text = TextBuf::new();
    for (key, value) in keys {
        text.push(key, value);
    }
    text.as_bytes().to_vec()
}

/// What was wrong with what the target said.
pub(super) fn protocol_error(error: &LoginError) -> Error {
    match error.failure() {
        LoginFailure::Protocol(error) => *error,
        _ => panic!("{error}"),
    }
}

/// The error of a login to this target, all of whose connections the script answers.
pub(super) async fn fails(
    initiator: &Initiator,
    to: &SessionTarget,
    script: impl Future<Output = ()>,
) -> Error {
    let (session, ()) = join(initiator.connect_spawned(to), script).await;
    let error = session.unwrap_err();
    iscsi_testkit::canary::show_error(&error);
    protocol_error(&error)
}

/// What a login comes to whose offers the target answers like this, and like a usual target for the rest. Its
/// connection has ended by then.
pub(super) async fn answered(
    world: &World,
    options: SessionOptions,
    answers: &[(&str, &str)],
) -> Result<Arc<LoginInfo>, Error> {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(answers).await.unwrap();
        let end = peer.hear_the_end().await;
        assert!(matches!(end, End::Closed | End::Failed(_)), "{end}");
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to_with(options)).await;
        let session = session.map_err(|error| protocol_error(&error))?;
        let login = session.login();
        session.close().await;
        Ok(login)
    };
    join(script, client).await.1
}

/// Waits until a session has logged in so many times.
pub(super) async fn logged_in(session: &Session, logins: u64) {
    let mut status = session.status();
    while session.logins() < logins {
        status = session.changed(status.generation).await;
    }
}

/// A session that logs in so many times; each time a command ends well.
pub(super) async fn works_after_each_login(world: &World, logins: u64) {
    let initiator = world.initiator();
    let session = initiator.connect_spawned(&world.to()).await.unwrap();
    for logins in 1..=logins {
        logged_in(&session, logins).await;
        session.execute(test_unit_ready()).await.result.unwrap();
    }
}

/// The same, if it was the target's doing and not that the connection ended.
pub(super) fn protocol_error_or_io(error: LoginError) -> Option<Error> {
    match error.failure() {
        LoginFailure::Protocol(Error::Closed) | LoginFailure::Io(_) => None,
        _ => Some(protocol_error(&error)),
    }
}
