//! Which paths may come to a device, and those that are still to be opened.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use iscsi_client::{device::DeviceInfo, error::Error, runtime::Runtime};
use iscsi_proto::name::IscsiName;

use crate::{
    backoff::Backoff,
    core::{PathAttributes, Registered},
    path::{LocalEnd, Path, PathStatus},
};

/// Why a path does not belong to a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A device needs a path to begin with.
    #[error("no path is given: name at least one")]
    NoPath,
    /// A logical unit without a name of its own cannot be told from another one.
    #[error(
        "{path} leads to a logical unit that reports no identity (VPD page 83h): \
         use it as a single path"
    )]
    NoIdentity {
        /// The path.
        path: Arc<str>,
    },
    /// It leads to another logical unit.
    #[error(
        "{path} leads to logical unit {found}, not to {expected}: \
         check the target's LUN mapping for this portal"
    )]
    OtherUnit {
        /// The path.
        path: Arc<str>,
        /// The device's identity.
        expected: Arc<str>,
        /// The path's.
        found: Arc<str>,
    },
    /// It leads to a unit of that identity at another target, which only an inventory can find.
    #[error(
        "{path} leads to target {found}, and the device to {expected}: if both are one array's, \
         set `InventoryBuilder::across_targets`"
    )]
    OtherTarget {
        /// The path.
        path: Arc<str>,
        /// The target of the device's first path.
        expected: IscsiName,
        /// The path's.
        found: IscsiName,
    },
    /// Same identity, other geometry.
    #[error("{path} reports {found} bytes and not {expected}: rescan the target")]
    OtherSize {
        /// The path.
        path: Arc<str>,
        /// The device's size in bytes.
        expected: u64,
        /// The path's.
        found: u64,
    },
    /// No path has access to the medium.
    #[error("no path has access to the medium: have the target make one of its port groups active")]
    NoAccess,
    /// The device is closed.
    #[error("the device is closed")]
    Closed,
}

/// A path that was opened, and its status from before its identity was read.
#[derive(Debug)]
pub(super) struct Candidate<P> {
    pub(super) attributes: PathAttributes,
    pub(super) path: P,
    pub(super) status: PathStatus,
    /// What became of its registration, if one was tried.
    pub(super) registered: Option<Registered>,
    /// Looked up before the device's lock is taken: it asks the operating system.
    pub(super) local_end: Option<LocalEnd>,
}

impl<P: Path> Candidate<P> {
    /// Identity and size, or why it cannot be part of any device.
    pub(super) fn identity(&self) -> Result<(Arc<str>, Arc<DeviceInfo>), JoinError> {
        let info = self.path.info();
        let path = Arc::clone(&self.attributes.name);
        let wwid = info.identity.wwid.clone();
        Ok((wwid.ok_or(JoinError::NoIdentity { path })?, info))
    }

    /// Whether it belongs to the device with this identity and block size, and with this size unless it may
    /// be another one by now.
    pub(super) fn check(&self, device: &DeviceInfo, may_be_resized: bool) -> Result<(), JoinError> {
        let (found, info) = self.identity()?;
        let path = Arc::clone(&self.attributes.name);
        let expected = device.identity.wwid.clone().unwrap_or_default();
        if found != expected {
            return Err(JoinError::OtherUnit {
                path,
                expected,
                found,
            });
        }
        if info.size == 0 {
            // It stands by, and says how large it is once it does not.
            return Ok(());
        }
        let same_size = info.size == device.size || may_be_resized;
        if !same_size || info.block_size != device.block_size {
            return Err(JoinError::OtherSize {
                path,
                expected: device.size,
                found: info.size,
            });
        }
        Ok(())
    }
}

type Open<P> = dyn Fn() -> BoxFuture<'static, Result<Candidate<P>, Error>> + Send + Sync;

/// A path that is to be opened, again and again until that succeeds.
pub(super) struct Opening<P> {
    pub(super) name: Arc<str>,
    open: Box<Open<P>>,
    backoff: Backoff,
}

impl<P> Opening<P> {
    pub(super) fn new(
        name: Arc<str>,
        open: impl Fn() -> BoxFuture<'static, Result<Candidate<P>, Error>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            open: Box::new(open),
            backoff: Backoff::default(),
        }
    }

    pub(super) fn open(&self) -> BoxFuture<'static, Result<Candidate<P>, Error>> {
        (self.open)()
    }

    pub(super) fn next_delay(&mut self, runtime: &dyn Runtime) -> Duration {
        self.backoff.next_delay(runtime)
    }
}

impl<P> fmt::Debug for Opening<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.backoff.failures();
        write!(f, "Opening({}, {failures} failures)", self.name)
    }
}
