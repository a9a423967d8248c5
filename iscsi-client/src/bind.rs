//! Binding a connection to a network interface.

use std::{net::IpAddr, sync::Arc};

/// The local end of a path: which NIC its bytes leave through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// The routing table decides.
    #[default]
    Any,
    /// A network device by name (`SO_BINDTODEVICE`, unprivileged on Linux since 5.7).
    Device(Arc<str>),
    /// A local address. On Linux the device that has it is bound as well: with two NICs in one
    /// subnet a source address alone sends everything down one cable.
    Address(IpAddr),
}
