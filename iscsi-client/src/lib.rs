//! iSCSI sessions from user space, over a runtime of the caller's choice.
//!
//! From the outside in:
//!
//! * [`device`]: the [`BlockDevice`](device::BlockDevice) trait, and what a device is.
//! * [`logical_unit`]: one LUN over one session, as such a device.
//! * [`initiator`]: who we are; opens sessions and discovers targets ([`discovery`]).
//! * [`session`]: the handle, the requests, and the driver that owns the socket.
//! * [`buf`]: owned buffers and guest memory. [`error`]: what went wrong, what it may have done at the
//!   target, and what to do.
//! * [`bind`] and [`runtime`]: the network card, and all that is needed of the world. The features
//!   `tokio` and `smol` bring an adapter each; neither is on by default.
//! * [`quirks`]: what single targets need that others do not, as a table that can be changed.
//! * [`url`]: `iscsi://` URLs that never show a secret. [`isid`]: why a re-login is the same session.
//! * [`credentials`]: secrets that change.
//! * [`links`]: cables that are pulled, and plugged in again.
//! * [`tap`]: watching what is sent and received; captures for Wireshark.
//! * [`blocking`]: for hosts without a runtime.
//!
//! Nothing here keeps process-global state or spawns a task that was not asked for.

pub mod bind;
pub mod blocking;
pub mod buf;
pub mod credentials;
pub mod device;
pub mod discovery;
pub mod error;
pub mod initiator;
pub mod isid;
pub mod links;
pub mod logical_unit;
mod login_rate;
mod mac;
#[cfg(all(
    any(
        all(
            feature = "link-events",
            any(target_os = "linux", target_os = "android")
        ),
        all(feature = "tcp-progress", target_os = "linux")
    ),
    any(feature = "tokio", feature = "smol")
))]
mod netlink;
pub mod quirks;
pub mod runtime;
pub mod session;
pub mod tap;
pub mod url;

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
