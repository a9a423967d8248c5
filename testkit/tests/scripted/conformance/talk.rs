//! A session and the test's end of its connection, for rows in which both take turns.

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{
    error::Error,
    initiator::Initiator,
    session::{Execute, Payload, ScsiRequest, Session, SessionOptions},
};
use iscsi_proto::{
    InitiatorTaskTag,
    pdu::{NopOut, ScsiCommand, TaskManagementRequest, TaskManagementResponseCode},
    scsi::ScsiStatus,
};
use iscsi_testkit::scripted::{Peer, Say};

use crate::support::{World, test_unit_ready};

/// Options of a session that says nothing on its own account.
pub(crate) fn quiet() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.core.nop_interval = None;
    options.core.acknowledge_after = None;
    options
}

/// Logs in, with the usual answers but for `keys`.
pub(crate) async fn logged_in(
    world: &World,
    options: SessionOptions,
    keys: &[(&str, &str)],
) -> (Peer, Session) {
    logged_in_by(&world.initiator(), world, options, keys).await
}

/// The same by an initiator that has other sessions as well.
pub(crate) async fn logged_in_by(
    initiator: &Initiator,
    world: &World,
    options: SessionOptions,
    keys: &[(&str, &str)],
) -> (Peer, Session) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(keys).await.unwrap();
        peer
    };
    let to = world.to_with(options);
    let (peer, session) = join(script, initiator.connect_spawned(&to)).await;
    (peer, session.unwrap())
}

/// A session whose target opens this window with its first Login Response.
pub(crate) async fn logged_in_with_window(
    world: &World,
    window: u32,
    options: SessionOptions,
) -> (Peer, Session) {
    let script = async {
        let mut peer = world.accept().await;
        peer.window = window;
        peer.log_in(&[]).await.unwrap();
        peer
    };
    let initiator = world.initiator();
    let to = world.to_with(options);
    let (peer, session) = join(script, initiator.connect_spawned(&to)).await;
    (peer, session.unwrap())
}

/// The next login goes well, and the session works.
pub(crate) async fn serves_again(world: &World, session: &Session) {
    let mut peer = world.accept().await;
    peer.log_in(&[]).await.unwrap();
    session.wait_up().await.unwrap();
    let execute = start(session, test_unit_ready());
    let command = hear_command(&mut peer).await;
    say_good(&mut peer, command.itt).await;
    expect_good(execute, 0).await;
}

/// Sends a command.
pub(crate) fn start(session: &Session, request: ScsiRequest) -> Execute {
    session.try_execute(request).unwrap()
}

/// The next PDU, which is a command.
pub(crate) async fn hear_command(peer: &mut Peer) -> ScsiCommand {
    peer.hear_pdu::<ScsiCommand>().await.unwrap().0
}

/// The next PDU, which is a task management function.
pub(crate) async fn hear_function(peer: &mut Peer) -> TaskManagementRequest {
    peer.hear_pdu::<TaskManagementRequest>().await.unwrap().0
}

/// GOOD.
pub(crate) async fn say_good(peer: &mut Peer, itt: InitiatorTaskTag) {
    let answer = Say::response(itt, ScsiStatus::Good, 0);
    peer.say(answer, []).await.unwrap();
}

/// "Function complete".
pub(crate) async fn say_complete(peer: &mut Peer, itt: InitiatorTaskTag) {
    let answer = Say::function(itt, TaskManagementResponseCode::FunctionComplete);
    peer.say(answer, []).await.unwrap();
}

/// Nothing is on its way but this ping, which is answered: whatever the initiator sent before it was heard.
pub(crate) async fn fence(session: &Session, peer: &mut Peer) -> NopOut {
    let ping = session.ping();
    let (heard, _) = peer.hear_pdu::<NopOut>().await.unwrap();
    assert_ne!(heard.itt, InitiatorTaskTag::RESERVED, "{heard}");
    peer.say(Say::pong(heard.itt), []).await.unwrap();
    ping.await.unwrap();
    heard
}

/// It went well, with this much data.
pub(crate) async fn expect_good(execute: Execute, transferred: u32) -> Payload {
    let executed = execute.await;
    let response = executed.result.unwrap();
    assert_eq!(response.status, ScsiStatus::Good);
    assert_eq!(response.transferred, transferred);
    executed.payload
}

/// It went wrong.
pub(crate) async fn expect_error(execute: Execute) -> Error {
    execute.await.result.unwrap_err()
}

/// What was read.
pub(crate) fn bytes_of(payload: &Payload) -> &[u8] {
    match payload {
        Payload::In(buf) => buf.as_slice().expect("one piece"),
        other => panic!("{other:?} is nothing that was read into"),
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at % 251) as u8 ^ (at >> 9) as u8)
        .collect()
}

/// A time that passes at once in virtual time, and is short over TCP.
pub(crate) const fn patience(world: &World, virtual_time: Duration) -> Duration {
    match world.is_simulated() {
        true => virtual_time,
        false => Duration::from_millis(50),
    }
}
