//! What keeps a session open.

use std::sync::Arc;

use iscsi_proto::{Isid, name::IscsiName, portal::Portal};

use super::{options::SessionOptions, queue::Shared};
use crate::bind::Bind;

/// What all handles of a session and all its commands under way share. Dropped with the last of
/// them, which closes the session.
#[derive(Debug)]
pub(super) struct Tether {
    pub(super) shared: Arc<Shared>,
    pub(super) identity: Identity,
    pub(super) options: Arc<SessionOptions>,
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.shared.request_close();
    }
}

/// Between whom a session is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) initiator: IscsiName,
    /// `None` for a discovery session.
    pub(crate) target: Option<IscsiName>,
    pub(crate) portal: Portal,
    pub(crate) bind: Bind,
    pub(crate) isid: Isid,
}
