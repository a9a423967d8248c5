//! Paths that an inventory finds one by one, for devices that it makes of them.

use std::sync::Arc;

use iscsi_client::{
    error::Error,
    initiator::{Initiator, SessionTarget},
    logical_unit::{LogicalUnit, LogicalUnitOptions},
    runtime::Runtime,
};
use iscsi_proto::scsi::Lun;

use super::{JoinError, MultipathDevice, MultipathDriver, connect::open, join::Candidate};
use crate::{
    arrays::ArrayTable,
    core::{Config, PathAttributes, PathId},
};

/// A unit that was opened over its session, and may become a path.
#[derive(Debug)]
pub(crate) struct Found(Candidate<LogicalUnit>);

impl Found {
    /// Opens a unit over the session of `to`, as a user of its own, so that the path can be closed without
    /// the others of the session.
    pub(crate) async fn open(
        initiator: Initiator,
        to: SessionTarget,
        lun: Lun,
        options: LogicalUnitOptions,
        name: Arc<str>,
    ) -> Result<Self, Error> {
        // Registered by the device, which is not known yet.
        let attributes = PathAttributes::new(name);
        open(initiator, to, (lun, None), options, attributes)
            .await
            .map(Self)
    }

    pub(crate) const fn unit(&self) -> &LogicalUnit {
        &self.0.path
    }

    /// What the device is to be told of the path.
    pub(crate) fn describe(&mut self, describe: impl FnOnce(PathAttributes) -> PathAttributes) {
        let usual = PathAttributes::new(Arc::clone(&self.0.attributes.name));
        self.0.attributes = describe(usual);
    }

    /// A device with this path.
    pub(crate) fn into_device(
        self,
        runtime: Arc<dyn Runtime>,
        config: Config,
        arrays: &ArrayTable,
    ) -> Result<(MultipathDevice, MultipathDriver, PathId), JoinError> {
        let path = Arc::clone(&self.0.attributes.name);
        let (device, driver) = MultipathDevice::assemble(runtime, config, arrays, vec![self.0])?;
        let first = device.snapshot().paths().next().map(|path| path.id);
        // A device is made of a path.
        let first = first.ok_or(JoinError::NoIdentity { path })?;
        Ok((device, driver, first))
    }

    /// A further path of a device.
    pub(crate) fn join(self, device: &MultipathDevice) -> Result<PathId, JoinError> {
        device.shared().act(|state, now| state.join(now, self.0))
    }
}
