//! What a target tells of its own accord, seen once (RFC 7143 sections 6.3.5.1 and 11.9; SAM-5 section 5.14).

use futures_util::future::join;
use iscsi_client::{
    buf::ReadBuf,
    device::ReadOptions,
    logical_unit::LogicalUnit,
    session::{Session, SessionEventKind, SessionOptions},
};
use iscsi_proto::{
    Lun,
    pdu::{AsyncEvent, Pdu, ScsiCommand},
    scsi::{ScsiStatus, sense::SenseKey},
};
use iscsi_testkit::scripted::{Frame, Say};

use super::steps::{logged_in, say_good};
use crate::support::{World, rows, test_unit_ready};

rows! {
    c90_an_asynchronous_event_is_seen_once;
    c90_a_unit_attention_is_seen_once;
    c90_the_attention_of_each_lost_nexus_is_seen_once;
}

/// Fixed-format sense data, with its length before it as in a data segment (section 11.4.7.2).
fn sense(key: u8, code: u8, qualifier: u8) -> Vec<u8> {
    let mut sense = vec![
        0, 18, 0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier,
    ];
    sense.resize(20, 0);
    sense
}

fn asynchronous(session: &Session) -> Vec<Option<SenseKey>> {
    let of = |kind| match kind {
        SessionEventKind::Async { sense, .. } => Some(sense.map(|sense| sense.key())),
        _ => None,
    };
    let events = session.events(0).into_iter();
    events.filter_map(|event| of(event.kind)).collect()
}

/// Section 11.9.1, event 0: it is told once, with its sense data, and acknowledged like any status.
async fn c90_an_asynchronous_event_is_seen_once(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        say_good(&mut peer).await;
        let event = Say::asynchronous(AsyncEvent::ScsiEvent, [0; 3]);
        peer.say(event, sense(6, 0x3f, 0x0e)).await.unwrap();
        let after = peer.stat_sn();
        let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
        assert_eq!(command.exp_stat_sn, after);
        let good = Say::response(command.itt, ScsiStatus::Good, 0);
        peer.say(good, []).await.unwrap();
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        session.execute(test_unit_ready()).await.result.unwrap();
        let mut status = session.status();
        while asynchronous(&session).is_empty() {
            status = session.changed(status.generation).await;
        }
        session.execute(test_unit_ready()).await.result.unwrap();
        assert_eq!(asynchronous(&session), [Some(SenseKey::UnitAttention)]);
    };
    join(script, client).await;
}

/// A CHECK CONDITION is the answer to one command: whoever sent that one gets the sense data, and the command is not
/// repeated behind his back.
async fn c90_a_unit_attention_is_seen_once(world: &World) {
    let script = async {
        for _ in 0..2 {
            let mut peer = world.accept().await;
            peer.log_in(&[]).await.unwrap();
            let (command, _) = peer.hear_pdu::<ScsiCommand>().await.unwrap();
            let answer = Say::response(command.itt, ScsiStatus::CheckCondition, 0);
            peer.say(answer, sense(6, 0x29, 0x07)).await.unwrap();
            say_good(&mut peer).await;
        }
    };
    let initiator = world.initiator();
    let client = async {
        let session = initiator.connect_spawned(&world.to()).await.unwrap();
        for logins in 1..=2 {
            logged_in(&session, logins).await;
            let first = session.execute(test_unit_ready()).await.result.unwrap();
            assert_eq!(first.status, ScsiStatus::CheckCondition);
            let second = session.execute(test_unit_ready()).await.result.unwrap();
            assert_eq!(second.status, ScsiStatus::Good);
        }
    };
    join(script, client).await;
}

/// A unit that is open tells of each nexus that was lost, once; its own commands are not disturbed by it.
async fn c90_the_attention_of_each_lost_nexus_is_seen_once(world: &World) {
    const LOSSES: usize = 3;
    let core = world.core_with(|mut config| {
        config.unit_attention = true;
        config
    });
    let is_read = |said: bool, frame: &Frame| {
        let read = |pdu: &ScsiCommand| matches!(pdu.cdb[0], 0x28 | 0x88);
        !said && matches!(frame.pdu(), Ok(Pdu::ScsiCommand(pdu)) if read(&pdu))
    };
    let script = async {
        for _ in 0..LOSSES {
            let mut peer = world.accept_before(&core).await;
            // Not passed on: the connection is lost with it.
            peer.relay_until(is_read).await.unwrap();
        }
        let mut peer = world.accept_before(&core).await;
        peer.relay_to_the_end().await;
    };
    let initiator = world.initiator();
    let client = async {
        let mut options = SessionOptions::default();
        options.replacement_timeout = Some(std::time::Duration::from_secs(20));
        let to = world.to_with(options);
        let session = initiator.connect_spawned(&to).await.unwrap();
        let unit = LogicalUnit::open(session.clone(), Lun::ZERO).await.unwrap();
        let read = unit.read(0, ReadBuf::zeroed(512), ReadOptions::default());
        read.await.into_result().unwrap();
        let seen = unit.events(0);
        assert_eq!(seen.len(), LOSSES + 1, "{seen:?}");
        unit.test_unit_ready(None).await.unwrap();
        assert_eq!(unit.events(0).len(), seen.len());
        drop(unit);
        session.close().await;
    };
    join(script, client).await;
    assert_eq!(core.violations(), []);
}
