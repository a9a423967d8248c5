//! The device: what a program holds.

mod attentions;
mod connect;
mod driver;
mod events;
mod found;
mod info;
mod io;
mod job;
mod join;
mod keys;
mod log;
mod members;
mod outcome;
mod paths;
mod places;
mod reserve;
mod resize;
mod shared;
mod spares;
mod ticket;
mod topology;
mod vessel;

use std::{fmt, sync::Arc, time::Instant};

use iscsi_client::{
    buf::{Completion, ReadBuf, WriteBuf},
    device::{BlockDevice, DeviceInfo, FlushOptions, Generation, ReadOptions, WriteOptions},
    error::{Error, ErrorKind},
    logical_unit::LogicalUnit,
    runtime::Runtime,
};

pub use connect::{ConnectError, MultipathBuilder, PathFailure};
pub use driver::MultipathDriver;
pub use events::EventReader;
pub(crate) use found::Found;
pub use join::JoinError;
pub use log::DeviceEvent;
pub use paths::{PathLine, Paths};
pub use reserve::{
    PathRegistration, RegistrationKeys, RegistrationOutcome, Registrations, ReserveError,
};
pub use resize::ResizeError;
pub use topology::Topology;

use self::{join::Candidate, shared::Shared};
use crate::{
    arrays::ArrayTable,
    core::{Config, Multipath, PathAttributes, PathId, Snapshot, UnknownPath, trace::Trace},
    path::Path,
};

/// One device behind several paths. Cheap to clone; all clones are the same device.
///
/// It keeps working while paths go and come: what a lost path had under way moves to another one, and no
/// write ever lands late: not over a later one of this device, and not over one of another host if the
/// [`WriterMode`](crate::core::WriterMode) says that others write too. What the settings
/// mean, and their defaults, is said at [`ConfigBuilder`](crate::core::ConfigBuilder).
///
/// Its [`MultipathDriver`] has to be polled. When the last handle is dropped the device is closed in
/// the background.
///
/// # Ordering
///
/// Writes that overlap and are under way at the same time are carried out one after the other, in the
/// order in which they were submitted.
pub struct MultipathDevice<P: Path = LogicalUnit>(Arc<Handle<P>>);

/// What all clones share; dropped with the last of them.
struct Handle<P: Path> {
    shared: Arc<Shared<P>>,
}

impl<P: Path> Drop for Handle<P> {
    fn drop(&mut self) {
        self.shared.act(|state, now| state.close(now));
    }
}

impl<P: Path> Clone for MultipathDevice<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Path> MultipathDevice<P> {
    /// A device from paths that are open. [`MultipathBuilder`] opens them too, and looks whether the
    /// [table of arrays](crate::arrays) has something for what is left unset.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if a path has no identity, or the paths do not lead to one and the same logical
    /// unit, or if there is none.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        config: Config,
        paths: impl IntoIterator<Item = (PathAttributes, P)>,
    ) -> Result<(Self, MultipathDriver<P>), JoinError> {
        let candidates = paths.into_iter().map(|(attributes, path)| Candidate {
            attributes,
            status: path.status(),
            registered: None,
            local_end: path.local_end(),
            path,
        });
        let (device, driver) =
            Self::assemble(runtime, config, &ArrayTable::none(), candidates.collect())?;
        let shared = device.shared();
        shared.act(|state, now| state.notice_all_open(now));
        Ok((device, driver))
    }

    fn assemble(
        runtime: Arc<dyn Runtime>,
        config: Config,
        arrays: &ArrayTable,
        candidates: Vec<Candidate<P>>,
    ) -> Result<(Self, MultipathDriver<P>), JoinError> {
        if candidates.is_empty() {
            return Err(JoinError::NoPath);
        }
        // The first one that can says who the device is, the others have to agree.
        let has_access = |candidate: &&Candidate<P>| candidate.path.info().size > 0;
        let first = candidates.iter().find(has_access);
        let (_, info) = first.ok_or(JoinError::NoAccess)?.identity()?;
        for candidate in &candidates {
            candidate.check(&info, false)?;
        }
        let identity = &info.identity;
        let array = arrays.find(&identity.vendor, &identity.product).cloned();
        let config = match &array {
            Some(array) => array.apply(config),
            None => config,
        };
        let mut seed = [0; 8];
        runtime.fill_random(&mut seed);
        let mut core = Multipath::new(runtime.now(), config, u64::from_ne_bytes(seed));
        core.set_beat(runtime.beat());
        let shared = Arc::new(Shared::new(runtime, core, info, array));
        shared.act(|state, now| {
            candidates
                .into_iter()
                .try_for_each(|candidate| state.join(now, candidate).map(drop))
        })?;
        let driver = MultipathDriver::new(Arc::clone(&shared));
        Ok((Self(Arc::new(Handle { shared })), driver))
    }

    fn shared(&self) -> &Arc<Shared<P>> {
        &self.0.shared
    }

    /// Adds a path that is open.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if it does not belong here; the path is dropped.
    pub fn add_path(&self, attributes: PathAttributes, path: P) -> Result<PathId, JoinError> {
        let candidate = Candidate {
            attributes,
            status: path.status(),
            registered: None,
            local_end: path.local_end(),
            path,
        };
        self.shared().act(|state, now| state.join(now, candidate))
    }

    /// Takes a path out: no new I/O there, and once nothing is in flight on it, it is closed.
    ///
    /// # Errors
    ///
    /// [`UnknownPath`] if it is gone already.
    pub fn remove_path(&self, path: PathId) -> Result<(), UnknownPath> {
        self.with_path(path, |core, now| core.remove_path(now, path))
    }

    fn with_path(
        &self,
        path: PathId,
        act: impl FnOnce(&mut Multipath, Instant),
    ) -> Result<(), UnknownPath> {
        self.shared().act(|state, now| {
            if state.core.path_name(path).is_none() {
                return Err(UnknownPath { path });
            }
            act(&mut state.core, now);
            Ok(())
        })
    }

    /// Uses the best path group again, whatever the failback policy says.
    pub fn fail_back(&self) {
        self.shared().act(|state, now| state.core.fail_back(now));
    }

    /// Takes a path out of use until [`reinstate_path`](Self::reinstate_path): no new I/O there, its reads move, its
    /// writes may end. Its session stays, and it is checked as before.
    ///
    /// # Errors
    ///
    /// [`UnknownPath`].
    pub fn fail_path(&self, path: PathId) -> Result<(), UnknownPath> {
        self.with_path(path, |core, now| core.fail_path(now, path))
    }

    /// Uses a path as the last resort until [`reinstate_path`](Self::reinstate_path): it takes I/O only while no sound
    /// path can, be it one of a lower priority, however well it works and whatever the
    /// [settings](crate::core::MarginalConfig) are. For one that is known to be bad, and better than none.
    ///
    /// # Errors
    ///
    /// [`UnknownPath`].
    pub fn mark_marginal(&self, path: PathId) -> Result<(), UnknownPath> {
        self.with_path(path, |core, now| core.mark_marginal(now, path))
    }

    /// Uses a path again that was taken out of use. One that its checker has found not to work is asked at once, and one
    /// that is marginal is sound again.
    ///
    /// # Errors
    ///
    /// [`UnknownPath`].
    pub fn reinstate_path(&self, path: PathId) -> Result<(), UnknownPath> {
        self.with_path(path, |core, now| core.reinstate_path(now, path))
    }

    /// Uses the group of this path, whatever the priorities say, for as long as one of its paths works or until
    /// [`fail_back`](Self::fail_back). False, and nothing is changed, if none of them works.
    pub fn switch_group(&self, path: PathId) -> bool {
        self.shared()
            .act(|state, now| state.core.switch_group(now, path))
    }

    /// Holds all I/O back, and is ready when nothing is in flight any more: for a snapshot of the array, or a change of
    /// its configuration. What comes meanwhile waits for [`resume`](Self::resume), or for its own timeout. Writes of lost
    /// paths that are not proven dead may still land: see [`ghosts`](crate::core::Snapshot::ghosts) of the snapshot.
    ///
    /// A device is suspended or not, however often it was asked for: one `resume` ends it for all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Aborted`] if the device was resumed before nothing was in flight, [`ErrorKind::Closed`] if it has ended.
    /// Then there is no quiet.
    ///
    /// # Cancel safety
    ///
    /// The device is suspended from the first poll on, and stays so if the future is dropped, until `resume`.
    pub async fn suspend(&self) -> Result<(), Error> {
        self.shared().act(|state, now| state.core.suspend(now));
        let outcome = |state: &shared::State<P>| {
            if state.ended {
                Some(Err(Error::not_executed(ErrorKind::Closed)))
            } else if !state.core.is_suspended() {
                Some(Err(Error::not_executed(ErrorKind::Aborted)))
            } else {
                state.core.is_quiesced().then_some(Ok(()))
            }
        };
        self.shared().until(outcome).await
    }

    /// Lets I/O go on.
    pub fn resume(&self) {
        self.shared().act(|state, now| state.core.resume(now));
    }

    /// I/O without a path fails at once, whatever is configured, what waits for one now included; until
    /// [`restore_queueing`](Self::restore_queueing). For the shutdown of a host whose storage is gone.
    pub fn disable_queueing(&self) {
        self.shared()
            .act(|state, now| state.core.disable_queueing(now));
    }

    /// The configured no-path policy counts again. A wait that is limited begins anew.
    pub fn restore_queueing(&self) {
        self.shared()
            .act(|state, now| state.core.restore_queueing(now));
    }

    /// The settings as they are now. To change one: `device.reconfigure(device.config().to_builder()...build()?)`.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared().look(|state| state.core.config().clone())
    }

    /// Changes the settings, without a logout and without a loss of I/O. What concerns the fence stays as it was, and so
    /// does what the [table of arrays](crate::arrays) has for what is left unset.
    pub fn reconfigure(&self, config: Config) {
        self.shared().act(|state, now| {
            let config = match &state.array {
                Some(array) => array.apply(config),
                None => config,
            };
            state.core.reconfigure(now, config);
            info::update(state, now, info::Size::ByItself);
        });
    }

    /// Size, limits and identity as last seen. Never I/O.
    #[must_use]
    pub fn info(&self) -> Arc<DeviceInfo> {
        self.shared().look(|state| Arc::clone(&state.info))
    }

    /// Groups, paths and counters.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared().runtime.now();
        self.shared().look(|state| state.core.snapshot(now))
    }

    /// The device as `multipath -ll` would show it.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let snapshot = self.snapshot();
        let (info, array, size_not_taken, missing, paths) = self.shared().look(|state| {
            let members = state.members.iter().flatten();
            let paths: Vec<_> = members
                .map(|member| {
                    let device = state
                        .shares_cable(member.local_end.as_ref())
                        .and(member.local_end.as_ref());
                    let shared = device.map(|end| Arc::clone(&end.device));
                    (member.id, Arc::clone(&member.path), shared)
                })
                .collect();
            (
                Arc::clone(&state.info),
                state.array.as_ref().map(|array| array.name().into()),
                state.size_not_taken,
                state
                    .missing
                    .iter()
                    .cloned()
                    .chain(state.refused_spares())
                    .collect(),
                paths,
            )
        });
        let mut warnings = Vec::new();
        for (id, path, shared) in paths {
            // As the device calls it: one of several sessions has a number.
            let entry = snapshot.paths().find(|entry| entry.id == id);
            let name = entry.map_or_else(|| path.name(), |entry| Arc::clone(&entry.name));
            let warning = path.warning();
            warnings.extend(warning.map(|warning| (Arc::clone(&name), warning)));
            warnings.extend(shared.map(|device| {
                let warning = format!("leaves through {device}, and so does another local end");
                (name, warning.into())
            }));
        }
        Topology {
            info,
            array,
            size_not_taken,
            snapshot,
            missing,
            warnings,
        }
    }

    /// The paths as `multipathd show paths` would list them.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let snapshot = self.snapshot();
        let line = |path: &crate::core::PathSnapshot| PathLine {
            lun: self.path(path.id).and_then(|path| path.lun()),
            path: path.clone(),
        };
        Paths {
            lines: snapshot.paths().map(line).collect(),
        }
    }

    /// A path by its id, as long as it is part of the device.
    #[must_use]
    pub fn path(&self, path: PathId) -> Option<Arc<P>> {
        self.shared()
            .look(|state| state.member(path).map(|member| Arc::clone(&member.path)))
    }

    /// Whether the device is open, and takes nothing to this path any more.
    pub(crate) fn has_removed(&self, path: PathId) -> bool {
        let state =
            |state: &mut shared::State<P>| (!state.core.is_closing(), state.core.is_removed(path));
        self.shared().look(state) == (true, true)
    }

    /// Whether a spare is of no use, as one nexus has reserved the unit for itself.
    pub(crate) fn keeps_spares_out(&self) -> bool {
        self.shared().look(|state| state.keeps_spares_out())
    }

    /// Whether nothing is lost if this path, which is a spare, is closed. One that is gone may leave.
    pub(crate) fn may_spare_leave(&self, path: PathId) -> bool {
        self.shared()
            .look(|state| state.core.is_removed(path) || state.may_leave(path))
    }

    /// The id of a path by its name; of several the first in the order of the groups.
    #[must_use]
    pub fn path_named(&self, name: &str) -> Option<PathId> {
        self.snapshot().path_named(name).map(|path| path.id)
    }

    /// The last decisions and what they looked at, if [`decision_trace`](crate::core::ConfigBuilder::decision_trace) is
    /// set: why an I/O went where it went, and why a path was not there for it.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.shared().look(|state| state.core.trace())
    }

    /// What happens from now on. Events name paths by id; [`snapshot`](Self::snapshot) has the names.
    #[must_use]
    pub fn events(&self) -> EventReader<P> {
        let seen = self.shared().look(|state| state.log.last());
        EventReader::new(Arc::clone(self.shared()), seen)
    }

    /// Closes the device: what waits ends as closed, what is in flight may end, then all paths are
    /// closed. Ready when that is done.
    ///
    /// It does not wait for lost writes to be proven dead. Where the snapshot says that there are
    /// [ghosts](crate::core::Snapshot::ghosts), open the device again with
    /// [`FormerLife::Fence`](crate::core::FormerLife::Fence) only.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the device is closed from the first poll on, what remains is done in the
    /// background.
    pub async fn close(&self) {
        self.shared().act(|state, now| state.close(now));
        self.shared().until(|state| state.ended.then_some(())).await;
    }
}

#[async_trait::async_trait]
impl<P: Path> BlockDevice for MultipathDevice<P> {
    fn info(&self) -> Arc<DeviceInfo> {
        self.info()
    }

    async fn info_changed(&self, seen: Generation) -> Result<Arc<DeviceInfo>, Error> {
        self.shared()
            .until(|state| {
                if state.core.is_closing() {
                    return Some(Err(Error::not_executed(ErrorKind::Closed)));
                }
                let changed = state.info.generation != seen;
                changed.then(|| Ok(Arc::clone(&state.info)))
            })
            .await
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

    async fn close(&self) -> Result<(), Error> {
        self.close().await;
        Ok(())
    }
}

impl<P: Path> fmt::Debug for MultipathDevice<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        f.debug_struct("MultipathDevice")
            .field("wwid", &info.identity.wwid)
            .field("size", &info.size)
            .finish_non_exhaustive()
    }
}
