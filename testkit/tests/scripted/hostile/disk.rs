//! A disk that lies: the strict target behind a connection on which some answers to SCSI commands are others.

use std::{cell::RefCell, error::Error as _, pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use iscsi_client::{
    error::{Error, ErrorKind},
    logical_unit::LogicalUnit,
    session::{Session, SessionOptions},
};
use iscsi_proto::{DecodeError, pdu::ScsiCommand, scsi::Lun};
use iscsi_testkit::{scripted::Told, target::TargetCore};

use crate::support::World;

/// The first bytes of the commands that are lied to.
pub(super) mod cdb {
    pub(in super::super) const INQUIRY: &[u8] = &[0x12, 0x00];
    pub(in super::super) const REPORT_LUNS: &[u8] = &[0xa0];
    pub(in super::super) const READ_CAPACITY_10: &[u8] = &[0x25];
    pub(in super::super) const READ_CAPACITY_16: &[u8] = &[0x9e, 0x10];
    pub(in super::super) const MODE_SENSE_6: &[u8] = &[0x1a];
    pub(in super::super) const MODE_SENSE_10: &[u8] = &[0x5a];
    pub(in super::super) const REPORT_TARGET_PORT_GROUPS: &[u8] = &[0xa3];
    pub(in super::super) const PERSISTENT_RESERVE_IN: &[u8] = &[0x5e];
    pub(in super::super) const READ_16: &[u8] = &[0x88];

    /// INQUIRY for a vital product data page.
    pub(in super::super) const fn page(page: u8) -> [u8; 3] {
        [0x12, 0x01, page]
    }

    /// READ and WRITE of any length.
    pub(in super::super) fn is_io(cdb: &[u8; 16]) -> bool {
        matches!(
            cdb[0],
            0x08 | 0x28 | 0xa8 | 0x88 | 0x0a | 0x2a | 0xaa | 0x8a
        )
    }
}

type Lie = Box<dyn FnMut(&ScsiCommand, &[u8]) -> Option<Told>>;

/// What is lied about at the moment, and what was asked for.
#[derive(Default)]
pub(super) struct Lies {
    lies: RefCell<Vec<(Vec<u8>, Lie)>>,
    heard: RefCell<Vec<[u8; 16]>>,
}

impl Lies {
    /// From now on commands that begin with `cdb` are answered with what `lie` makes of the truth.
    pub(super) fn about<T: Into<Option<Told>>>(
        &self,
        cdb: &[u8],
        mut lie: impl FnMut(&ScsiCommand, &[u8]) -> T + 'static,
    ) {
        self.truth_about(cdb);
        let lie = move |command: &ScsiCommand, truth: &[u8]| lie(command, truth).into();
        self.lies.borrow_mut().push((cdb.to_vec(), Box::new(lie)));
    }

    /// From now on they are answered with these bytes.
    pub(super) fn data(&self, cdb: &[u8], bytes: Vec<u8>) {
        self.about(cdb, move |_, _| Told::Data(bytes.clone()));
    }

    /// From now on they get this answer.
    pub(super) fn told(&self, cdb: &[u8], told: Told) {
        self.about(cdb, move |_, _| told.clone());
    }

    /// No more lies about these commands.
    pub(super) fn truth_about(&self, cdb: &[u8]) {
        self.lies.borrow_mut().retain(|(old, _)| old != cdb);
    }

    /// No more lies.
    pub(super) fn end(&self) {
        self.lies.borrow_mut().clear();
    }

    /// The commands that were heard since this was asked last and begin with `cdb`.
    pub(super) fn heard(&self, cdb: &[u8]) -> Vec<[u8; 16]> {
        let heard = std::mem::take(&mut *self.heard.borrow_mut());
        let begins = |heard: &[u8; 16]| heard.starts_with(cdb);
        heard.into_iter().filter(begins).collect()
    }

    pub(super) fn answer(&self, command: &ScsiCommand, truth: &[u8]) -> Option<Told> {
        self.heard.borrow_mut().push(command.cdb);
        let mut lies = self.lies.borrow_mut();
        let begins = |(cdb, _): &&mut (Vec<u8>, Lie)| command.cdb.starts_with(cdb);
        let (_, lie) = lies.iter_mut().find(begins)?;
        lie(command, truth)
    }
}

/// Lets a client use a disk that lies, through any number of connections, one after the other. `core` must not
/// have found fault with it in the end.
pub(super) async fn lying(
    world: &World,
    core: &Arc<TargetCore>,
    lies: &Lies,
    client: impl AsyncFnOnce(Session),
) {
    lying_with(world, core, lies, SessionOptions::default(), client).await;
}

/// The same with other options.
pub(super) async fn lying_with(
    world: &World,
    core: &Arc<TargetCore>,
    lies: &Lies,
    options: SessionOptions,
    client: impl AsyncFnOnce(Session),
) {
    let target = async {
        loop {
            let mut peer = world.accept_before(core).await;
            peer.relay_lying(|command, truth| lies.answer(command, truth))
                .await;
        }
    };
    let initiator = world.initiator();
    let client = async {
        let to = world.to_with(options);
        client(initiator.connect_spawned(&to).await.unwrap()).await;
    };
    match select(pin!(target), pin!(client)).await {
        Either::Left(((), _)) => unreachable!("it accepts for ever"),
        Either::Right(((), _)) => {}
    }
    assert_eq!(core.violations(), []);
}

/// Opens LUN 0.
pub(super) async fn open(session: &Session) -> Result<LogicalUnit, Error> {
    LogicalUnit::open(session.clone(), Lun::ZERO).await
}

/// What made an answer one that cannot be.
#[track_caller]
pub(super) fn malformed(error: &Error) -> DecodeError {
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error:#}");
    let cause = error.source().and_then(|source| source.downcast_ref());
    *cause.unwrap_or_else(|| panic!("{error:?}"))
}
