//! Sessions: the handle, the driver, and what passes between them.
//!
//! ```text
//!  Session, Execute (any task)          Driver (one task)
//!    submit, revoke  --> queue::Shared -->  ops::Ops --> link::Link: core + transport
//!    poll result     <--  (one lock)   <--  store::Store: buffers by task tag
//! ```
//!
//! The handles push onto a bounded table under one short lock (`queue`); the driver takes the whole
//! batch, and gives a whole batch of results back. It alone owns the protocol core, the buffers of
//! commands under way and the socket, so no lock is ever held across I/O. Nothing here knows which
//! runtime it runs on.
//!
//! One file, one purpose: `slot` is the table, `queue` its lock, `work` what passes through;
//! `execute` and `request` are the futures, `ring` is the queue for loops; `driver` decides what a session does next, `link`
//! moves bytes while it is up, `connect` brings it up, `redirect` and `reflection` judge on the way,
//! `backoff` says when, `repeat` asks before TCP does, `nexus` whether somebody else has our place.

mod alarm;
mod backoff;
pub(crate) mod connect;
mod driver;
mod execute;
pub(crate) mod handle;
mod link;
mod login_info;
mod nexus;
pub(crate) mod notice;
mod op_id;
mod ops;
mod options;
mod outcome;
mod progress;
mod queue;
mod redirect;
pub(crate) mod reflection;
mod repeat;
mod request;
mod ring;
mod slot;
mod state;
mod stats;
mod store;
pub(crate) mod tether;
pub(crate) mod units;
mod work;

use std::sync::Arc;

use iscsi_proto::name::IscsiName;

pub use driver::Driver;
pub use execute::{Execute, Executed, QueueFull, ScsiRequest};
pub use handle::Session;
pub use login_info::LoginInfo;
pub use options::SessionOptions;
pub(crate) use options::clamp_timeout;
pub use redirect::{RedirectFilter, RedirectPolicy, Redirection};
pub use request::{ManageTasks, Ping, Renegotiate};
pub use ring::{Ring, RingCompletion};
pub use state::{DownReason, SessionEvent, SessionEventKind, SessionState, SessionStatus};
pub use stats::SessionStats;
pub use units::{UnitAttention, UnitEvent};
pub use work::Payload;

use self::{
    connect::{Connected, Connector},
    queue::Shared,
    tether::Identity,
};
use crate::{
    error::{LoginError, LoginFailure},
    runtime::Runtime,
};

/// Puts a session on top of a connection that is logged in.
pub(crate) fn establish(
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    options: Arc<SessionOptions>,
    connector: Connector,
    connected: Connected,
) -> Result<(Session, Driver), LoginError> {
    let options = match &identity.target {
        Some(target) => heed_quirks(target, options),
        None => options,
    };
    let shared = Arc::new(Shared::new(runtime, &options));
    let portal = identity.portal.clone();
    let driver = Driver::new(
        Arc::clone(&shared),
        Arc::clone(&options),
        connector,
        connected,
    )?;
    // Nobody can have closed it yet.
    let session = Session::new(shared, identity, options)
        .ok_or_else(|| LoginError::new(portal, LoginFailure::Closed))?;
    Ok((session, driver))
}

/// The options with what the target is known to need.
fn heed_quirks(target: &IscsiName, mut options: Arc<SessionOptions>) -> Arc<SessionOptions> {
    let quirks = Arc::clone(&options.quirks);
    quirks.apply(target, &mut Arc::make_mut(&mut options).core);
    options
}
