//! Somebody who has nothing to do with it.

use iscsi_client::{
    initiator::Initiator,
    session::{Execute, Session, SessionEventKind},
};
use iscsi_proto::pdu::{DataOut, ScsiCommand};
use iscsi_testkit::scripted::{Peer, Say};

use crate::{
    conformance::talk::{
        bytes_of, expect_good, fence, hear_command, logged_in_by, pattern, quiet, say_good, start,
    },
    support::{World, read, write},
};

/// Another session of the initiator that a row is about, to another target, with a read and a write under way: half
/// of what is read has come, and none of what is written was asked for yet.
pub(super) struct Bystander {
    peer: Peer,
    session: Session,
    reading: (Execute, ScsiCommand),
    writing: (Execute, ScsiCommand),
}

impl Bystander {
    /// Logs in at a portal beside that of `world`. One for each world.
    pub(super) async fn new(world: &World, initiator: &Initiator) -> Self {
        let mut options = quiet();
        options.command_timeout = None;
        let beside = world.beside().await;
        let keys = [("ImmediateData", "No")];
        let (mut peer, session) = logged_in_by(initiator, &beside, options, &keys).await;
        let reading = start(&session, read(0, 2));
        let read_command = hear_command(&mut peer).await;
        let writing = start(&session, write(8, pattern(1024)));
        let write_command = hear_command(&mut peer).await;
        let half = Say::data_in(&read_command, 0, 0);
        peer.say(half, &pattern(1024)[..512]).await.unwrap();
        Self {
            peer,
            session,
            reading: (reading, read_command),
            writing: (writing, write_command),
        }
    }

    /// Whatever became of the other session: both commands go on where they were, on the same connection.
    pub(super) async fn lost_nothing(self) {
        let Self {
            mut peer, session, ..
        } = self;
        let (writing, command) = self.writing;
        let r2t = Say::r2t(&command, 1, 0, 0, 1024);
        peer.say(r2t, []).await.unwrap();
        let (data, bytes) = peer.hear_pdu::<DataOut>().await.unwrap();
        assert!(data.is_final && data.itt == command.itt, "{data}");
        assert_eq!(bytes, pattern(1024));
        say_good(&mut peer, command.itt).await;
        expect_good(writing, 1024).await;
        let (reading, command) = self.reading;
        let rest = Say::last_data_in(&command, 1, 512);
        peer.say(rest, &pattern(1024)[512..]).await.unwrap();
        assert_eq!(bytes_of(&expect_good(reading, 1024).await), pattern(1024));
        fence(&session, &mut peer).await;
        assert_eq!(session.logins(), 1);
        let losses = session.events(0).into_iter();
        let losses = losses.filter(|event| matches!(event.kind, SessionEventKind::Down { .. }));
        assert_eq!(losses.count(), 0);
    }
}
