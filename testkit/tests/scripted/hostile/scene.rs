//! Commands under way, and a target that does something for which its connection has to end.

use std::error::Error as _;

use iscsi_client::{
    error::{Error, ErrorKind, Outcome},
    initiator::Initiator,
    session::{Execute, ManageTasks, Payload, Ping, ScsiRequest, Session, SessionOptions},
};
use iscsi_proto::{
    Error as CoreError,
    error::PeerMisbehaved,
    pdu::{NopOut, ScsiCommand, TaskManagementRequest},
    scsi::Lun,
    session::TaskManagement,
};
use iscsi_testkit::scripted::{End, Peer};

use super::bystander::Bystander;
use crate::{
    conformance::talk::{fence, hear_command, logged_in_by, start},
    support::World,
};

/// A session with commands that were all heard.
pub(super) struct Scene {
    pub(super) peer: Peer,
    pub(super) session: Session,
    pub(super) commands: Vec<ScsiCommand>,
    pub(super) executes: Vec<Execute>,
    bystander: Option<Bystander>,
}

/// A ping and a LOGICAL UNIT RESET that are under way, and what was heard of them.
pub(super) struct Asked {
    pub(super) ping: Ping,
    pub(super) heard: NopOut,
    pub(super) reset: ManageTasks,
    pub(super) function: TaskManagementRequest,
}

impl Scene {
    /// Asks for what is no command.
    pub(super) async fn ask(&mut self) -> Asked {
        let ping = self.session.ping();
        let (heard, _) = self.peer.hear_pdu::<NopOut>().await.unwrap();
        let reset = TaskManagement::LogicalUnitReset(Lun::new(1));
        let reset = self.session.task_management(reset, None);
        let (function, _) = self.peer.hear_pdu().await.unwrap();
        Asked {
            ping,
            heard,
            reset,
            function,
        }
    }

    /// Logs in and sends these commands.
    pub(super) async fn new<const N: usize>(
        world: &World,
        options: SessionOptions,
        keys: &[(&str, &str)],
        requests: [ScsiRequest; N],
    ) -> Self {
        Self::of(&world.initiator(), world, options, keys, requests).await
    }

    /// The same, while another session of the same initiator is at work, which loses nothing.
    pub(super) async fn beside_another<const N: usize>(
        world: &World,
        options: SessionOptions,
        keys: &[(&str, &str)],
        requests: [ScsiRequest; N],
    ) -> Self {
        let initiator = world.initiator();
        let bystander = Bystander::new(world, &initiator).await;
        let scene = Self::of(&initiator, world, options, keys, requests).await;
        Self {
            bystander: Some(bystander),
            ..scene
        }
    }

    async fn of<const N: usize>(
        initiator: &Initiator,
        world: &World,
        options: SessionOptions,
        keys: &[(&str, &str)],
        requests: [ScsiRequest; N],
    ) -> Self {
        let (mut peer, session) = logged_in_by(initiator, world, options, keys).await;
        let executes = requests.map(|request| start(&session, request)).into();
        let mut commands = Vec::new();
        for _ in 0..N {
            commands.push(hear_command(&mut peer).await);
        }
        Self {
            peer,
            session,
            commands,
            executes,
            bystander: None,
        }
    }

    /// The connection ends for this reason, and nothing more is said on it; every command ends with it, once. In
    /// virtual time also: the session comes back. A session beside it has lost nothing. The result is the commands'
    /// memory.
    pub(super) async fn expect_broken(mut self, world: &World, case: &str) -> Breach {
        let mut breach = Breach {
            reasons: Vec::new(),
            payloads: Vec::new(),
        };
        for execute in self.executes {
            let executed = execute.await;
            let error = executed.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{case}: {error:#}");
            assert_eq!(error.outcome(), Outcome::Unknown, "{case}: {error:#}");
            breach.reasons.push(core_error(&error));
            breach.payloads.push(executed.payload);
        }
        let end = self.peer.hear().await;
        assert!(
            matches!(end, Err(End::Closed | End::Failed(_))),
            "{case}: {end:?}"
        );
        if world.is_simulated() {
            let mut peer = world.accept().await;
            peer.log_in(&[]).await.unwrap();
            self.session.wait_up().await.unwrap();
            fence(&self.session, &mut peer).await;
            assert_eq!(self.session.logins(), 2, "{case}");
        }
        others_lost_nothing(self.bystander).await;
        breach
    }

    /// For rows that look at the end of the connection by themselves.
    pub(super) async fn others_lost_nothing(self) {
        others_lost_nothing(self.bystander).await;
    }
}

async fn others_lost_nothing(bystander: Option<Bystander>) {
    if let Some(bystander) = bystander {
        bystander.lost_nothing().await;
    }
}

/// What became of the commands.
pub(super) struct Breach {
    reasons: Vec<CoreError>,
    pub(super) payloads: Vec<Payload>,
}

impl Breach {
    /// That was the reason, for all of them.
    pub(super) fn was(self, expected: impl Into<CoreError>, case: &str) -> Self {
        let expected = expected.into();
        for reason in &self.reasons {
            assert_eq!(*reason, expected, "{case}");
        }
        self
    }

    /// The reason was a task tag for which nothing of the kind may come.
    pub(super) fn was_an_unknown_task(self, case: &str) {
        for reason in &self.reasons {
            let same = matches!(
                reason,
                CoreError::PeerMisbehaved(PeerMisbehaved::UnknownTask(_))
            );
            assert!(same, "{case}: {reason}");
        }
    }
}

/// What the core had to say about it.
pub(super) fn core_error(error: &Error) -> CoreError {
    let source = error.source().expect("a reason");
    *source.downcast_ref().expect("the core's reason")
}
