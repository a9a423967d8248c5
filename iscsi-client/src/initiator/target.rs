//! With whom a session is opened, and how.

use iscsi_proto::{login::Authentication, name::IscsiName, portal::Portal};

use crate::{bind::Bind, isid::SessionSlot, session::SessionOptions};

/// With whom to open a session, and from where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionTarget {
    /// The target's name.
    pub target: IscsiName,
    /// One of its portals.
    pub portal: Portal,
    /// The local end.
    pub bind: Bind,
    /// What makes this session differ from others with the same target; see [`SessionSlot`].
    pub slot: SessionSlot,
    /// Instead of the initiator's.
    pub authentication: Option<Authentication>,
    /// Instead of the initiator's.
    pub options: Option<SessionOptions>,
}

impl SessionTarget {
    /// A session with `target`, through `portal`, from anywhere, in the first slot. A second session
    /// with the same target, through another portal say, needs a [slot](Self::with_slot) of its own.
    #[must_use]
    pub fn new(target: IscsiName, portal: Portal) -> Self {
        Self {
            target,
            portal,
            bind: Bind::Any,
            slot: SessionSlot::default(),
            authentication: None,
            options: None,
        }
    }

    /// From this local end.
    #[must_use]
    pub fn with_bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// In this slot.
    #[must_use]
    pub const fn with_slot(mut self, slot: SessionSlot) -> Self {
        self.slot = slot;
        self
    }

    /// With credentials of its own.
    #[must_use]
    pub fn with_authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// With options of its own.
    #[must_use]
    pub fn with_options(mut self, options: SessionOptions) -> Self {
        self.options = Some(options);
        self
    }
}
