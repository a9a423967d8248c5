//! A device of which one path's target misbehaves: each in its own row does to a session what is shown elsewhere,
//! and here no caller of the device may see it.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use iscsi_client::device::BlockDeviceExt;
use iscsi_proto::{
    InitiatorTaskTag, LoginStatus,
    pdu::{Pdu, RejectReason},
};
use iscsi_testkit::{
    scripted::{End, Frame, Peer, Say},
    target::DigestPolicy,
};
use mpio::{
    MultipathDevice,
    core::{Config, Event, PathSelector},
};

use super::{disk::cdb, two_paths::TwoPaths};
use crate::support::{World, rows};

rows! {
    h13_bad_digests_on_one_path;
    h30_refused_logins_on_one_path;
    h31_redirections_in_a_circle_on_one_path;
    h01_a_stream_that_ends_in_a_pdu_on_one_path;
    h70_data_in_out_of_range_on_one_path;
    h74_wrong_task_tags_on_one_path;
    h82_r2ts_out_of_range_on_one_path;
    h98_a_flood_of_pings_on_one_path;
    h02_a_pdu_that_never_ends_on_one_path;
    h106_rejects_on_one_path;
}

/// What the target of the second path does instead of what it should, to each read and write, or to each login after
/// the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offence {
    Digest,
    Tag,
    DataIn,
    R2t,
    Cut,
    Flood,
    Silence,
    RefusedLogin,
    Redirect,
    Reject,
}

impl Offence {
    /// Whether this is an answer that it is done with.
    fn wants(self, pdu: &Pdu) -> bool {
        match pdu {
            Pdu::DataIn(_) => self != Self::R2t,
            Pdu::R2t(_) => self != Self::DataIn && self != Self::Reject,
            Pdu::ScsiResponse(_) => self != Self::R2t && self != Self::DataIn,
            _ => false,
        }
    }

    const fn is_of_logins(self) -> bool {
        matches!(self, Self::RefusedLogin | Self::Redirect)
    }
}

/// The offence is committed how often at least.
const TIMES: u32 = 3;

/// Until the next answer to a read or write that the offence is done with; the header of the command, and the answer.
async fn next_io(
    peer: &mut Peer,
    offence: Offence,
) -> Result<(Frame, iscsi_testkit::scripted::Held), End> {
    let mut commands: BTreeMap<u32, Frame> = BTreeMap::new();
    let held = peer
        .relay_until(|said, frame| {
            let Ok(pdu) = frame.pdu() else { return false };
            match &pdu {
                Pdu::ScsiCommand(command) if !said && cdb::is_io(&command.cdb) => {
                    commands.insert(command.itt.0, frame.clone());
                    false
                }
                pdu if said => {
                    let itt = frame.bhs.initiator_task_tag();
                    commands.contains_key(&itt.0) && offence.wants(pdu)
                }
                _ => false,
            }
        })
        .await?;
    let itt = held.frame.bhs.initiator_task_tag();
    Ok((commands.remove(&itt.0).expect("it was heard"), held))
}

/// One connection of the second path.
async fn misbehave(
    world: &World,
    peer: &mut Peer,
    offence: Offence,
    count: &Cell<u32>,
) -> Result<(), End> {
    if offence.is_of_logins() && count.get() > 0 {
        peer.take_over();
        let exchange = peer.hear_login().await?;
        let (class, detail, text) = match offence {
            Offence::Redirect => (1, 1, format!("TargetAddress={},1\0", world.portal())),
            // Service unavailable, and authorization failure.
            _ if count.get() % 2 == 0 => (3, 1, String::new()),
            _ => (2, 2, String::new()),
        };
        let refused = exchange.refused(LoginStatus { class, detail });
        peer.say(refused, text.into_bytes()).await?;
        count.set(count.get() + 1);
        return Err(peer.hear_the_end().await);
    }
    loop {
        let (command, mut held) = next_io(peer, offence).await?;
        count.set(count.get() + 1);
        match offence {
            Offence::Digest => {
                let mut bytes = held.frame.to_bytes(peer.digests());
                // Of the header, or of the data if there are any.
                let at = if held.frame.data.is_empty() { 50 } else { 60 };
                bytes[at] ^= 0x10;
                peer.bytes(&bytes).await?;
            }
            Offence::Tag => {
                let tag = held.frame.bhs.initiator_task_tag();
                let tag = InitiatorTaskTag(tag.0 ^ 0x0055_0000);
                held.frame.set_field(16, tag.0);
                peer.pass(held).await?;
            }
            Offence::DataIn | Offence::R2t => {
                held.frame.set_field(40, 0x4000_0000);
                peer.pass(held).await?;
            }
            Offence::Cut => {
                let bytes = held.frame.to_bytes(peer.digests());
                peer.bytes(&bytes[..bytes.len() / 2]).await?;
                peer.finish().await?;
            }
            Offence::Flood => loop {
                peer.say(Say::ping(7), vec![7; 8192]).await?;
            },
            Offence::Silence => {
                let bytes = held.frame.to_bytes(peer.digests());
                peer.bytes(&bytes[..bytes.len() / 2]).await?;
            }
            // The connection is lost first; then come the logins.
            Offence::RefusedLogin | Offence::Redirect => return Ok(()),
            Offence::Reject => {
                let header = command.bhs.as_bytes().to_vec();
                peer.swallow(&held);
                let reason = RejectReason::InvalidPduField;
                peer.say(Say::reject(reason), header).await?;
                continue;
            }
        }
        return Err(peer.hear_the_end().await);
    }
}

/// In virtual time the default settings but for the selector, which would else prefer the better path too soon; over
/// TCP nobody waits for seconds.
fn config(world: &World) -> Config {
    let builder = Config::builder().path_selector(PathSelector::RoundRobin);
    if world.is_simulated() {
        return builder.build().unwrap();
    }
    let ms = Duration::from_millis;
    let builder = builder
        .quiet_time(Some(ms(200)))
        .suspicion(ms(20), 4, ms(100))
        .nop_timeout(ms(50))
        .tear_down(ms(200));
    builder.build().unwrap()
}

const SLOTS: u64 = 16;
const SLOT: usize = 4096;

/// What slot `slot` holds after round `round`.
fn stamp(slot: u64, round: u64) -> Vec<u8> {
    let stamp = [slot.to_le_bytes(), round.to_le_bytes()].concat();
    stamp.repeat(SLOT / stamp.len())
}

/// Reads and writes while the second path's target does this: each ends well, and the data are right.
async fn carries_on(world: &World, offence: Offence) {
    let paths = TwoPaths::with_core(world, 0, |world| {
        world.core_with(|mut config| {
            if offence == Offence::R2t {
                config.limits.initial_r2t = true;
                config.limits.immediate_data = false;
            }
            if offence == Offence::Digest {
                config = config.with_digests(DigestPolicy::Require, DigestPolicy::Require);
            }
            config
        })
    })
    .await;
    let count = Cell::new(0);
    let bad = async |peer: &mut Peer| {
        let _ended = misbehave(paths.bad_portal(), peer, offence, &count).await;
    };
    let client = async |device: &MultipathDevice| {
        let mut events = device.events();
        let bad = paths.bad_path(device).id;
        let mut round = 0;
        while round < 8 || count.get() < TIMES {
            round += 1;
            let slots = (0..SLOTS).map(async |slot| {
                let (at, bytes) = (slot * SLOT as u64, stamp(slot, round));
                let case = format!("{offence:?}, slot {slot}, round {round}");
                let write = device.write_bytes(at, bytes.clone().into()).await;
                write.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                let read = device.read_bytes(at, SLOT).await;
                let read = read.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                assert!(read == bytes, "{case}: {:?}", &read[..16]);
            });
            join_all(slots).await;
            assert!(round < 100_000, "{offence:?}: {} times only", count.get());
        }
        for slot in 0..SLOTS {
            let mut found = vec![0; SLOT];
            paths.core.peek(0, slot * SLOT as u64, &mut found);
            assert_eq!(found, stamp(slot, round), "{offence:?}, slot {slot}");
        }
        // The good path had no part in it.
        while let Some(event) = events.try_next() {
            match event.event {
                Event::PathDown { path, .. } => assert_eq!(path, bad, "{offence:?}"),
                Event::AllPathsDown => panic!("{offence:?}: no path"),
                _ => {}
            }
        }
    };
    paths.run(config(world), bad, client).await;
    assert!(count.get() >= TIMES);
}

async fn h13_bad_digests_on_one_path(world: &World) {
    carries_on(world, Offence::Digest).await;
}

async fn h30_refused_logins_on_one_path(world: &World) {
    carries_on(world, Offence::RefusedLogin).await;
}

async fn h31_redirections_in_a_circle_on_one_path(world: &World) {
    carries_on(world, Offence::Redirect).await;
}

async fn h01_a_stream_that_ends_in_a_pdu_on_one_path(world: &World) {
    carries_on(world, Offence::Cut).await;
}

async fn h70_data_in_out_of_range_on_one_path(world: &World) {
    carries_on(world, Offence::DataIn).await;
}

async fn h74_wrong_task_tags_on_one_path(world: &World) {
    carries_on(world, Offence::Tag).await;
}

async fn h82_r2ts_out_of_range_on_one_path(world: &World) {
    carries_on(world, Offence::R2t).await;
}

async fn h98_a_flood_of_pings_on_one_path(world: &World) {
    carries_on(world, Offence::Flood).await;
}

async fn h02_a_pdu_that_never_ends_on_one_path(world: &World) {
    carries_on(world, Offence::Silence).await;
}

async fn h106_rejects_on_one_path(world: &World) {
    carries_on(world, Offence::Reject).await;
}
