//! Binding a connection to a network interface.

use std::{fmt, io, net::IpAddr, str::FromStr, sync::Arc};

use iscsi_proto::portal::{Host, Portal};

pub use crate::mac::MacAddress;

/// The local end of a path: which NIC its bytes leave through.
///
/// As text: `any`, a device name (`eth0`), a hardware address (`52:54:00:12:34:56`, or with `-`), or an
/// address of this host (`192.0.2.7`, `2001:db8::7`).
///
/// A link-local IPv6 address needs no zone here, since the device that has it is looked up; where
/// several have it, bind to the device. A portal with a link-local address names its zone
/// ([`Host::V6`]), unless the session is bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// The routing table decides.
    #[default]
    Any,
    /// A network device by name (`SO_BINDTODEVICE`, unprivileged on Linux since 5.7).
    Device(Arc<str>),
    /// The one network device that has this hardware address, looked up for each connection: a NIC
    /// that was unplugged may come back under another name. Linux only.
    Mac(MacAddress),
    /// A local address. On Linux the device that has it is bound as well: with two NICs in one
    /// subnet a source address alone sends everything down one cable.
    Address(IpAddr),
}

/// Why a connection could not be bound as its [`Bind`] says.
///
/// Adapters carry it inside the [`io::Error`] of a failed connect; `get_ref` and a downcast find it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The text is neither `any`, nor an address, nor a possible device name.
    #[error(
        "{text:?} is neither an IP address nor a hardware address nor a network device name nor \"any\""
    )]
    Syntax {
        /// What was given.
        text: Arc<str>,
    },
    /// No such device here.
    #[error("this host has no network device {device:?}; `ip link` lists those it has")]
    UnknownDevice {
        /// The name that was asked for.
        device: Arc<str>,
    },
    /// The kernel refused `SO_BINDTODEVICE`.
    #[error(
        "binding to device {device} is not permitted: it takes Linux 5.7 or CAP_NET_RAW; \
         bind to a source address of the device instead"
    )]
    NotPermitted {
        /// The device.
        device: Arc<str>,
    },
    /// This platform has no way to bind to a device by name.
    #[error("binding to device {device} needs Linux; bind to a source address of it instead")]
    Unsupported {
        /// The device.
        device: Arc<str>,
    },
    /// No device has the hardware address.
    #[error("no network device of this host has the address {mac}; `ip link` lists those it has")]
    UnknownMac {
        /// The address that was asked for.
        mac: MacAddress,
    },
    /// Several devices have the hardware address: a bond has that of its members, a VLAN or a bridge
    /// that of the device below.
    #[error(
        "{mac} is the address of more than one device ({devices}); bind to one of them by name"
    )]
    AmbiguousMac {
        /// The address that was asked for.
        mac: MacAddress,
        /// The names of the devices, with commas between.
        devices: Arc<str>,
    },
    /// This platform has no way to find a device by its hardware address.
    #[error("binding to {mac} needs Linux; bind to a source address of the device instead")]
    MacUnsupported {
        /// The address that was asked for.
        mac: MacAddress,
    },
    /// The operating system did not list its devices.
    #[error("cannot list the network devices of this host: {reason}")]
    Devices {
        /// In the operating system's words.
        reason: Arc<str>,
    },
    /// The source address belongs to no device of this host.
    #[error("{address} is not an address of this host; `ip address` lists those it has")]
    AddressNotLocal {
        /// The address that was asked for.
        address: IpAddr,
    },
    /// The source address is on more than one device, so it does not say which cable is meant.
    #[error("{address} is on more than one device ({devices}); bind to one of them by name")]
    AmbiguousAddress {
        /// The address that was asked for.
        address: IpAddr,
        /// The names of the devices, with commas between.
        devices: Arc<str>,
    },
    /// An IPv4 source and an IPv6 portal, or the reverse.
    #[error("a portal at {portal} cannot be reached from {address}: IPv4 and IPv6 do not mix")]
    FamilyMismatch {
        /// The source address that was asked for.
        address: IpAddr,
        /// The portal's address.
        portal: IpAddr,
    },
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match error {
            BindError::UnknownDevice { .. } | BindError::UnknownMac { .. } => {
                io::ErrorKind::NotFound
            }
            BindError::NotPermitted { .. } => io::ErrorKind::PermissionDenied,
            BindError::Unsupported { .. } | BindError::MacUnsupported { .. } => {
                io::ErrorKind::Unsupported
            }
            BindError::Devices { .. } => io::ErrorKind::Other,
            BindError::AddressNotLocal { .. } => io::ErrorKind::AddrNotAvailable,
            BindError::Syntax { .. }
            | BindError::AmbiguousAddress { .. }
            | BindError::AmbiguousMac { .. }
            | BindError::FamilyMismatch { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl Bind {
    /// The device that connections leave through: the one named, or the one that has the
    /// address.
    ///
    /// `None` for [`Bind::Any`], and where no device or more than one has the address. Two paths
    /// with the same answer share a cable, which an administrator wants to be told. Asks the
    /// operating system every time, since addresses move; not for the path of an I/O.
    #[must_use]
    pub fn device(&self) -> Option<Arc<str>> {
        match self {
            Self::Any => None,
            Self::Device(name) => Some(name.clone()),
            Self::Mac(mac) => mac.device().ok(),
            Self::Address(address) => match Interfaces::read().ok()?.owner(*address) {
                Ok(owner) => Some(owner.name),
                Err(_) => None,
            },
        }
    }
}

impl Bind {
    /// Through which interface link-local addresses in an answer of `portal` are meant: they are of
    /// the link on which it was asked.
    pub(crate) fn zone_at(&self, portal: &Portal) -> Option<Arc<str>> {
        match (&portal.host, self) {
            (Host::V6 { zone, .. }, _) if zone.is_some() => zone.clone(),
            (_, Self::Device(device)) => Some(Arc::clone(device)),
            _ => None,
        }
    }
}

/// The scope of an RFC 4007 zone (`eth0` or `2`), for the [`SocketAddrV6`](std::net::SocketAddrV6)
/// of a link-local portal. A name is looked up among the devices that have an IPv6 address.
///
/// # Errors
///
/// [`BindError::UnknownDevice`] as [`io::ErrorKind::NotFound`], or what listing the devices said.
pub fn scope_id(zone: &str) -> io::Result<u32> {
    // A device may be named `2`. A name wins over a number, as in `if_nametoindex` users before us.
    let interfaces = Interfaces::read()?;
    let named = interfaces.0.iter().find(|i| device_name(&i.name) == zone);
    named
        .and_then(|interface| interface.index)
        .or_else(|| zone.parse().ok())
        .ok_or_else(|| {
            io::Error::from(BindError::UnknownDevice {
                device: zone.into(),
            })
        })
}

/// Linux allows 15 bytes. It would cut a longer name short and so perhaps bind another device.
const MAX_DEVICE_NAME: usize = 15;

/// Whether a device could have this name (the rules of `dev_valid_name` in Linux). The empty name
/// matters most: to `SO_BINDTODEVICE` it means "any device", so that nothing would be bound at all.
pub(crate) fn is_device_name(name: &str) -> bool {
    let clean = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':');
    (1..=MAX_DEVICE_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(clean)
}

impl FromStr for Bind {
    type Err = BindError;

    /// [`BindError::Syntax`] for what cannot be any of these. Whether the device or the address
    /// exists is only known when a connection is made: it may appear later.
    fn from_str(text: &str) -> Result<Self, BindError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // Neither an IPv6 address, which has eight groups, nor a device name, which has no colons and
        // fewer characters.
        if let Ok(mac) = text.parse() {
            return Ok(Self::Mac(mac));
        }
        // A mistyped IPv4 address is better refused here than looked for among the devices.
        let mistyped = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.contains('.');
        if is_device_name(text) && !mistyped {
            return Ok(Self::Device(text.into()));
        }
        Err(BindError::Syntax { text: text.into() })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::Device(name) => f.pad(name),
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A device that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: Arc<str>,
    pub(crate) index: Option<u32>,
    pub(crate) is_loopback: bool,
}

/// The addresses of this host at one moment.
pub(crate) struct Interfaces(Vec<if_addrs::Interface>);

impl Interfaces {
    pub(crate) fn read() -> io::Result<Self> {
        if_addrs::get_if_addrs().map(Self)
    }

    /// The one device that has `address`.
    pub(crate) fn owner(&self, address: IpAddr) -> Result<Owner, BindError> {
        let mut owners: Vec<Owner> = Vec::new();
        for interface in self.0.iter().filter(|i| has_address(i, address)) {
            let name = device_name(&interface.name);
            if owners.iter().all(|owner| *owner.name != *name) {
                owners.push(Owner {
                    name: name.into(),
                    index: interface.index,
                    is_loopback: interface.is_loopback() || name == "lo",
                });
            }
        }
        match owners.pop() {
            None => Err(BindError::AddressNotLocal { address }),
            Some(owner) if owners.is_empty() => Ok(owner),
            Some(last) => {
                owners.push(last);
                let names: Vec<&str> = owners.iter().map(|owner| &*owner.name).collect();
                Err(BindError::AmbiguousAddress {
                    address,
                    devices: names.join(", ").into(),
                })
            }
        }
    }

    /// Whether `address` is this host itself.
    #[cfg(any(feature = "smol", feature = "tokio"))]
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.0.iter().any(|i| i.ip() == address)
    }
}

/// The list shows IPv4 aliases by their label, `eth0:1`; the device is `eth0`.
fn device_name(label: &str) -> &str {
    label.split_once(':').map_or(label, |(device, _)| device)
}

/// Of the loopback network only `127.0.0.1/8` is listed, but all of it is local.
fn has_address(interface: &if_addrs::Interface, address: IpAddr) -> bool {
    let whole_loopback = matches!(address, IpAddr::V4(v4) if v4.is_loopback())
        && interface.is_loopback()
        && interface.ip().is_ipv4();
    interface.ip() == address || whole_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_bind_parses_back() {
        for (text, bind) in [
            ("any", Bind::Any),
            ("eth0", Bind::Device("eth0".into())),
            ("eth0.100", Bind::Device("eth0.100".into())),
            (
                "52:54:00:12:34:56",
                Bind::Mac(MacAddress::new([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
            ),
            ("192.0.2.7", Bind::Address("192.0.2.7".parse().unwrap())),
            ("2001:db8::7", Bind::Address("2001:db8::7".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(bind.clone()));
            assert_eq!(bind.to_string(), text);
        }
    }

    #[test]
    fn what_no_device_can_be_called_is_refused() {
        for text in [
            "",
            "192.0.2.256",
            "10.1",
            "a b",
            "a/b",
            "eth0:1",
            "..",
            "a-name-with-16-b",
        ] {
            let refused = BindError::Syntax { text: text.into() };
            assert_eq!(text.parse::<Bind>(), Err(refused));
        }
    }

    fn interface(name: &str, ip: &str, index: u32) -> if_addrs::Interface {
        let ip = ip.parse().unwrap();
        if_addrs::Interface {
            name: name.into(),
            addr: if_addrs::IfAddr::V4(if_addrs::Ifv4Addr {
                ip,
                netmask: [255, 0, 0, 0].into(),
                prefixlen: 8,
                broadcast: None,
            }),
            index: Some(index),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        }
    }

    #[test]
    fn the_device_of_an_address_is_found_and_ambiguity_is_an_error() {
        let interfaces = Interfaces(vec![
            interface("lo", "127.0.0.1", 1),
            interface("eth0", "10.0.0.1", 2),
            interface("eth0:1", "10.0.0.2", 2),
            interface("eth1", "10.0.0.1", 3),
        ]);
        let owner = |text: &str| interfaces.owner(text.parse().unwrap());
        assert_eq!(&*owner("10.0.0.2").unwrap().name, "eth0");
        assert!(owner("127.0.0.2").unwrap().is_loopback);
        let address = "10.0.0.1".parse().unwrap();
        let devices = "eth0, eth1".into();
        let ambiguous = BindError::AmbiguousAddress { address, devices };
        assert_eq!(owner("10.0.0.1"), Err(ambiguous));
        let address = "10.0.0.3".parse().unwrap();
        let elsewhere = BindError::AddressNotLocal { address };
        assert_eq!(owner("10.0.0.3"), Err(elsewhere));
    }
}
