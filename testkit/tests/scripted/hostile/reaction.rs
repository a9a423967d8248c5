//! What an initiator does about a hostile target: it ends the login or the connection, says nothing any more,
//! and tells its caller why.

use std::{error::Error as _, fmt, future::Future};

use futures_util::future::join;
use iscsi_client::{
    error::{Error, LoginError, LoginFailure},
    session::{Session, SessionOptions},
};
use iscsi_proto::{Error as ProtoError, pdu::ScsiCommand, scsi::ScsiStatus};
use iscsi_testkit::{
    canary,
    scripted::{End, Peer, Say},
};

use super::bystander::Bystander;
use crate::support::{World, read, test_unit_ready};

/// What the protocol said against a login.
#[track_caller]
pub(crate) fn protocol(error: &LoginError) -> ProtoError {
    match error.failure() {
        LoginFailure::Protocol(error) => *error,
        other => panic!("{other:?}"),
    }
}

/// What ended the connection of a command.
#[track_caller]
pub(crate) fn cause(error: &Error) -> ProtoError {
    let cause = error.source().and_then(|source| source.downcast_ref());
    *cause.unwrap_or_else(|| panic!("{error:?}"))
}

/// Nothing more comes but the end of the connection.
#[track_caller]
pub(crate) fn hears_the_end(peer: &mut Peer) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        match peer.hear().await {
            Err(End::Closed | End::Failed(_)) => {}
            other => panic!("{other:?} at {place}"),
        }
    }
}

/// A login that `script` spoils on its first connection: the initiator says nothing after it, and ends the
/// connection.
pub(crate) async fn login_fails<T: fmt::Debug>(
    world: &World,
    login: impl Future<Output = Result<T, LoginError>>,
    script: impl AsyncFnOnce(&mut Peer),
) -> LoginError {
    let target = async {
        let mut peer = world.accept().await;
        script(&mut peer).await;
        hears_the_end(&mut peer).await;
    };
    let ((), result) = join(target, login).await;
    let error = result.unwrap_err();
    canary::show_error(&error);
    error
}

/// The same for a session with these options; returns what the protocol said.
pub(crate) async fn refused(
    world: &World,
    options: SessionOptions,
    script: impl AsyncFnOnce(&mut Peer),
) -> ProtoError {
    let initiator = world.initiator();
    let to = world.to_with(options);
    let error = login_fails(world, initiator.connect_spawned(&to), script).await;
    protocol(&error)
}

/// A session with two commands under way, whose connection `script` spoils: it gets the first of them, a read of
/// one block. The connection ends and both commands with it; the session logs in again, and works. Another session of
/// the initiator, to another target, loses nothing.
/// `keys` are what the target answers to the login. Returns what the first command came to.
pub(crate) async fn connection_fails(
    world: &World,
    options: SessionOptions,
    keys: &[(&str, &str)],
    script: impl AsyncFnOnce(&mut Peer, &ScsiCommand),
) -> Error {
    let initiator = world.initiator();
    let bystander = Bystander::new(world, &initiator).await;
    let target = async {
        let mut peer = world.accept().await;
        peer.log_in(keys).await.unwrap();
        let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        peer.hear_pdu::<ScsiCommand>().await.unwrap();
        script(&mut peer, &command).await;
        hears_the_end(&mut peer).await;
        let mut again = world.accept().await;
        again.log_in(keys).await.unwrap();
        let (command, _) = again.hear_pdu::<ScsiCommand>().await.unwrap();
        let answer = Say::response(command.itt, ScsiStatus::Good, 0);
        again.say(answer, []).await.unwrap();
        again
    };
    let client = async {
        let to = world.to_with(options);
        let session = initiator.connect_spawned(&to).await.unwrap();
        let first = session.execute(read(0, 1));
        let second = session.execute(test_unit_ready());
        let (first, second) = join(first, second).await;
        let (first, second) = (first.result.unwrap_err(), second.result.unwrap_err());
        assert_eq!(first.kind(), second.kind());
        logged_in(&session, 2).await;
        let executed = session.execute(test_unit_ready()).await;
        assert_eq!(executed.result.unwrap().status, ScsiStatus::Good);
        canary::show_error(&first);
        canary::show(&(&session, session.events(0), session.login()));
        first
    };
    let (_open, error) = join(target, client).await;
    bystander.lost_nothing().await;
    error
}

/// Waits until the session has logged in so many times.
pub(crate) async fn logged_in(session: &Session, times: u64) {
    let mut status = session.status();
    while session.logins() < times {
        status = session.changed(status.generation).await;
    }
}
