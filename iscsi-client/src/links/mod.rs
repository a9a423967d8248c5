//! The carrier of network devices: a cable that is pulled is known within milliseconds, and not by silence.
//!
//! A [`LinkMonitor`] is given to the initiator ([`InitiatorBuilder::links`]); each session that is bound to
//! a device, by its name, hardware address or source address, then follows that device. What the monitor
//! knows comes from a source: with the feature `link-events` from the Linux kernel (rtnetlink, without
//! root), or from the program itself by a [`LinkFeed`].
//!
//! * **Carrier lost**: an event ([`SessionEventKind::LinkDown`]), and
//!   [`SessionStatus::has_carrier`] is false. A session that is up does nothing: its connection may survive a
//!   short loss. A multipath device moves its I/O to other paths. One that is down does not try to log in
//!   meanwhile, and drops an attempt that nobody has answered: the next one comes 30 s later than it would, for a
//!   monitor that is wrong, or at once if it is [asked for](crate::session::Session::reconnect).
//! * **Carrier back**: an event, and where the session is down a connection is tried for at once, whatever the
//!   back-off says. DefaultTime2Wait and [`LoginRate`](crate::initiator::LoginRate) hold all the same, and a carrier that comes
//!   and goes is heeded once a second.
//!
//! A device that is set down, or is gone (unplugged, or moved to another network namespace), has no carrier. One that
//! comes back is known by its name. News say nothing of what is behind the cable: a bridge or a hypervisor's
//! switch keeps the carrier up.
//!
//! [`InitiatorBuilder::links`]: crate::initiator::InitiatorBuilder::links
//! [`SessionEventKind::LinkDown`]: crate::session::SessionEventKind::LinkDown
//! [`SessionStatus::has_carrier`]: crate::session::SessionStatus::has_carrier

#[cfg(feature = "link-events")]
mod error;
#[cfg(all(
    feature = "link-events",
    any(target_os = "linux", target_os = "android"),
    any(feature = "tokio", feature = "smol")
))]
mod message;
#[cfg(all(
    feature = "link-events",
    any(target_os = "linux", target_os = "android"),
    any(feature = "tokio", feature = "smol")
))]
mod rtnetlink;
#[cfg(feature = "link-events")]
mod source;
mod table;

use std::sync::{Arc, Weak};

use self::table::Table;
pub(crate) use self::table::{LinkListener, Subscription};
#[cfg(feature = "link-events")]
pub use self::{error::LinkError, source::LinkDriver};

/// A network device, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The kernel's number; another one after the device was gone.
    pub index: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it can carry anything: it is set up and has a carrier.
    pub has_carrier: bool,
}

/// Knows which network devices have a carrier, and tells the sessions. Clones are the same.
#[derive(Clone, Debug)]
pub struct LinkMonitor(Arc<Table>);

impl LinkMonitor {
    /// A monitor that knows what its feed is told.
    #[must_use]
    pub fn new() -> (Self, LinkFeed) {
        let table = Arc::new(Table::default());
        (Self(Arc::clone(&table)), LinkFeed(table))
    }

    /// The devices that are known, by index.
    #[must_use]
    pub fn links(&self) -> Vec<LinkState> {
        self.0.links()
    }

    /// Whether the device of this name has a carrier; `None` if no such device is known.
    #[must_use]
    pub fn has_carrier(&self, device: &str) -> Option<bool> {
        self.0.has_carrier(device)
    }

    /// How many carriers were lost so far, for [`is_lost_since`](Self::is_lost_since).
    pub(crate) fn losses(&self) -> u64 {
        self.0.losses()
    }

    /// Whether this device has no carrier, and lost it after so many `losses`.
    pub(crate) fn is_lost_since(&self, device: &str, losses: u64) -> bool {
        self.0.is_lost_since(device, losses)
    }

    pub(crate) fn subscribe(
        &self,
        device: Arc<str>,
        listener: Weak<dyn LinkListener>,
    ) -> Subscription {
        Table::subscribe(&self.0, device, listener)
    }
}

/// Tells a [`LinkMonitor`] what there is. Sessions are told before a call returns.
///
/// Once it is dropped nobody knows anything: no device is known any more, and sessions count their carriers as there.
#[derive(Debug)]
pub struct LinkFeed(Arc<Table>);

impl LinkFeed {
    /// A device is there, or is another one than it was. One with the same index is replaced.
    pub fn set(&mut self, link: LinkState) {
        self.0
            .change(|links| links.set(link.index, link.name, link.has_carrier));
    }

    /// The device with this index is gone.
    pub fn remove(&mut self, index: u32) {
        self.0.change(|links| links.remove(index));
    }

    /// Only devices with an index that `keep` likes are still there.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        // Whoever decides may ask a session, which asks the table: not within its lock.
        let known = self.0.links().into_iter().map(|link| link.index);
        let gone: Vec<u32> = known.filter(|index| !keep(*index)).collect();
        self.0
            .change(|links| gone.into_iter().for_each(|index| links.remove(index)));
    }
}

impl Drop for LinkFeed {
    fn drop(&mut self) {
        self.0.end();
    }
}
