//! One logical unit over one session.

mod classify;
mod command;
mod events;
mod identity;
mod info_cell;
mod io;
mod list;
mod open;
mod options;
mod planted;
mod ports;
mod recall;
mod reservations;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use futures_util::lock::Mutex;
pub use iscsi_proto::scsi::LogicalUnitIdentity;
use iscsi_proto::scsi::{
    Cdb, Lun, StandardInquiry, TargetPortGroups, inquiry::Peripheral, vpd::DeviceIdentification,
};
pub use options::LogicalUnitOptions;
pub use recall::Recall;

use self::{
    command::{Commander, StaleGuard, stale},
    info_cell::InfoCell,
    open::{Pages, is_kept_out},
};
use crate::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{BlockDevice, DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind, Outcome, Retry},
    quirks::Effects,
    session::Session,
};

/// A disk behind one session. Cheap to clone; all clones are the same device.
///
/// Requests of any length are taken and split by the unit's limits. Unit attentions, aborted
/// commands and (see [`LogicalUnitOptions::ride_out`]) a target that is busy are repeated here
/// within the request's time; every failure that reaches the caller is one that repeating here would
/// not have mended.
///
/// When the unit says that something has changed, it is looked at before the next command: the
/// capacity is read again, and the identity is compared with the one at opening. If another logical
/// unit answers now, requests fail with [`ErrorKind::WrongUnit`] until the old one is back.
///
/// What the unit reports on its own account is told by [`events`](Self::events) and
/// [`next_event`](Self::next_event), beside all this.
///
/// The futures of [`read`](Self::read), [`write`](Self::write) and [`flush`](Self::flush) are not
/// boxed; [`BlockDevice`] is implemented on top of them.
#[derive(Clone, Debug)]
pub struct LogicalUnit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commander: Commander,
    inquiry: StandardInquiry,
    /// What is compared after a login.
    peripheral: Peripheral,
    identification: DeviceIdentification,
    identity: Option<LogicalUnitIdentity>,
    pages: Pages,
    info: InfoCell,
    /// The target refuses the extended header of REPORT TARGET PORT GROUPS.
    plain_port_groups: AtomicBool,
    /// One looks at what has changed, the others wait for the answer.
    attending: Mutex<()>,
}

/// How often it is looked who a unit is that tells of a change each time.
const LOOKS: u32 = 8;

/// The source of a [`ErrorKind::WrongUnit`] error of a unit that was formatted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block length has changed")]
struct BlockLengthChanged;

impl LogicalUnit {
    /// Opens a LUN of a session with default options: asks what it is, collects its unit
    /// attentions, reads capacity and limits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchUnit`] where there is no disk at this LUN, [`ErrorKind::Unsupported`] for
    /// something other than a disk, [`ErrorKind::NotReady`] where the medium cannot be accessed
    /// (now, or through this port; but see [`open_without_access`](LogicalUnitOptions::open_without_access)), [`ErrorKind::Protocol`] for answers that cannot be, and those of
    /// the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing but queries is sent.
    pub async fn open(session: Session, lun: Lun) -> Result<Self, Error> {
        Self::open_with(session, lun, LogicalUnitOptions::default()).await
    }

    /// Opens a LUN of a session, see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing but queries is sent.
    pub async fn open_with(
        session: Session,
        lun: Lun,
        options: LogicalUnitOptions,
    ) -> Result<Self, Error> {
        let mut commander = Commander::new(session, lun, options);
        let probed = commander.probe().await?;
        commander.heed(&probed.inquiry);
        let max_transfer = commander.options.max_transfer;
        let geometry = probed.geometry.as_ref();
        let info = probed.pages.describe(geometry, max_transfer);
        if geometry.is_none() {
            commander.mark_stale(stale::CAPACITY);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                commander,
                inquiry: probed.inquiry,
                peripheral: probed.peripheral,
                identification: probed.identification,
                identity: probed.identity,
                pages: probed.pages,
                info: InfoCell::new(info),
                plain_port_groups: AtomicBool::new(false),
                attending: Mutex::new(()),
            }),
        })
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.inner.commander.session
    }

    /// The LUN, in the encoding that is used on the wire.
    #[must_use]
    pub fn lun(&self) -> Lun {
        self.inner.commander.lun
    }

    /// How it is used.
    #[must_use]
    pub fn options(&self) -> &LogicalUnitOptions {
        &self.inner.commander.options
    }

    /// The name of the unit as it was at opening, the same through every path to it; `None` if the
    /// unit reports none that identifies it.
    #[must_use]
    pub fn identity(&self) -> Option<&LogicalUnitIdentity> {
        self.inner.identity.as_ref()
    }

    /// Standard INQUIRY data, as it was at opening.
    #[must_use]
    pub fn inquiry(&self) -> &StandardInquiry {
        &self.inner.inquiry
    }

    /// The Device Identification page, as it was at opening: names of the unit, and which target
    /// port and port group this session leads to. Empty if the unit has no such page.
    #[must_use]
    pub fn identification(&self) -> &DeviceIdentification {
        &self.inner.identification
    }

    /// Size, limits and identity as last seen. Never I/O.
    #[must_use]
    pub fn info(&self) -> Arc<DeviceInfo> {
        self.inner.info.get()
    }

    /// Asks whether the unit can be accessed through this session: TEST UNIT READY, with `timeout`
    /// or the default one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotReady`] with sense data that says why, or those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn test_unit_ready(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.info.with(|_| Ok(()))?;
        let commander = &self.inner.commander;
        commander.test_unit_ready(commander.deadline(timeout)).await
    }

    /// Asks whether the unit can be used through this session: [`test_unit_ready`](Self::test_unit_ready),
    /// and a read of its first block where that is known to prove nothing (see
    /// [`Effects::readiness_is_no_proof`](crate::quirks::Effects::readiness_is_no_proof)). For health
    /// checks. If the unit has reported a change, to this command or to an earlier one, capacity and
    /// identity are read again: on a path that stands by nobody else would do that.
    ///
    /// # Errors
    ///
    /// Those of either command, and [`ErrorKind::WrongUnit`] if it is another unit now.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn check(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let reads = self.inner.commander.quirks.readiness_is_no_proof;
        self.check_with(reads, timeout).await
    }

    /// As [`check`](Self::check), and reads the first block whatever is known of the unit.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn check_by_read(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.check_with(true, timeout).await
    }

    /// As [`check`](Self::check), but by [`target_port_groups`](Self::target_port_groups) instead of TEST UNIT READY:
    /// the answer of one command shows that the unit is reached, and tells the access states. A port that stands by
    /// answers as well; whether this one takes I/O is in the answer.
    ///
    /// # Errors
    ///
    /// Those of [`target_port_groups`](Self::target_port_groups), and of [`check`](Self::check).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn check_by_port_groups(
        &self,
        timeout: Option<Duration>,
    ) -> Result<TargetPortGroups, Error> {
        let deadline = self.inner.commander.deadline(timeout);
        let groups = self.target_port_groups(timeout).await?;
        let reads = self.inner.commander.quirks.readiness_is_no_proof;
        self.end_check(reads, deadline).await?;
        Ok(groups)
    }

    async fn check_with(&self, reads: bool, timeout: Option<Duration>) -> Result<(), Error> {
        let commander = &self.inner.commander;
        let deadline = commander.deadline(timeout);
        self.inner.info.with(|_| Ok(()))?;
        commander.test_unit_ready(deadline).await?;
        self.end_check(reads, deadline).await
    }

    async fn end_check(&self, reads: bool, deadline: Instant) -> Result<(), Error> {
        let commander = &self.inner.commander;
        if reads {
            let len = self.inner.info.with(|info| Ok(info.block_size as usize))?;
            let read = commander.data_in(Cdb::read(0, 1, false), len, deadline);
            read.await?;
        }
        if commander.stale() != 0 {
            self.attend(deadline).await?;
        }
        Ok(())
    }

    /// What this unit needs that others do not, as the
    /// [table of the session](crate::session::SessionOptions::quirks) says.
    #[must_use]
    pub fn quirks(&self) -> Effects {
        self.inner.commander.quirks
    }

    /// Reads again what kind of device it is and its name, and compares. The serial number is compared too
    /// where the name is none that is assigned world wide. After a re-login this belongs before the first
    /// write: the target may serve something else under this LUN now. Capacity and mode parameters are read again
    /// where a login has made them out of date, and the port's state lets that be; else they stay so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongUnit`] if one of them is another one, [`ErrorKind::NoSuchUnit`] if there is
    /// no unit any more, or those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn verify_identity(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.info.with(|_| Ok(()))?;
        let commander = &self.inner.commander;
        commander.mark_stale(stale::IDENTITY);
        let deadline = commander.deadline(timeout);
        let mut looks = 0;
        loop {
            match self.attend(deadline).await {
                // The identity came first, and any port tells it. But the unit may have told of a change only after
                // that, as it does after a login: then it is looked at again.
                Err(error) if is_kept_out(&error) => {
                    if commander.stale() & stale::IDENTITY == 0 {
                        return Ok(());
                    }
                    looks += 1;
                    if looks == LOOKS {
                        return Err(error);
                    }
                }
                attended => return attended,
            }
        }
    }

    /// Reads capacity and mode parameters again. Done by itself when the unit reports a change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongUnit`] if the block length has changed, or those of the session.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn refresh(&self, timeout: Option<Duration>) -> Result<Arc<DeviceInfo>, Error> {
        self.inner.info.with(|_| Ok(()))?;
        let commander = &self.inner.commander;
        commander.mark_stale(stale::CAPACITY);
        self.attend(commander.deadline(timeout)).await?;
        Ok(self.info())
    }

    /// Looks at whatever is out of date. What could not be looked at stays out of date, so a unit
    /// that has become another one is found out by every request, and forgiven by the first one
    /// after it is back.
    async fn attend(&self, deadline: Instant) -> Result<(), Error> {
        let inner = &*self.inner;
        let _turn = inner.attending.lock().await;
        // Taken *before* the look, so that what changes meanwhile is not missed; put back as far as the
        // look fails or is dropped.
        let mut stale = StaleGuard::take(&inner.commander);
        let looked = self.look(&mut stale.what, deadline).await;
        // Nothing of the request itself was sent.
        looked.map_err(|error| error.with_outcome(Outcome::NotExecuted).with_dead(true))
    }

    async fn look(&self, what: &mut u8, deadline: Instant) -> Result<(), Error> {
        let inner = &*self.inner;
        let commander = &inner.commander;
        if *what & stale::IDENTITY != 0 {
            self.compare_identity(deadline).await?;
            *what &= !stale::IDENTITY;
        }
        if *what & stale::CAPACITY != 0 {
            let geometry = commander.geometry(deadline).await?;
            if !geometry.fits(&inner.info.get()) {
                return Err(wrong_unit().with_source(BlockLengthChanged));
            }
            inner.info.update(|info| match info.size {
                0 => {
                    let generation = info.generation;
                    let max_transfer = commander.options.max_transfer;
                    *info = inner.pages.describe(Some(&geometry), max_transfer);
                    info.generation = generation;
                }
                _ => geometry.apply(info),
            });
            *what &= !stale::CAPACITY;
        }
        Ok(())
    }
}

fn wrong_unit() -> Error {
    Error::not_executed(ErrorKind::WrongUnit).with_retry(Retry::OtherPath)
}

#[async_trait::async_trait]
impl BlockDevice for LogicalUnit {
    fn info(&self) -> Arc<DeviceInfo> {
        self.info()
    }

    async fn info_changed(&self, seen: Generation) -> Result<Arc<DeviceInfo>, Error> {
        self.inner.info.changed(seen).await
    }

    async fn read(&self, offset: u64, buf: ReadBuf, options: ReadOptions) -> Completion<ReadBuf> {
        self.read(offset, buf, options).await
    }

    async fn write(
        &self,
        offset: u64,
        buf: WriteBuf,
        options: WriteOptions,
    ) -> Completion<WriteBuf> {
        self.write(offset, buf, options).await
    }

    async fn flush(&self, options: FlushOptions) -> Result<(), Error> {
        self.flush(options).await
    }

    /// Closes the unit, not the session: that may serve other units. It logs out when its last
    /// handle is dropped, of which this is one.
    async fn close(&self) -> Result<(), Error> {
        self.inner.info.close();
        Ok(())
    }
}
