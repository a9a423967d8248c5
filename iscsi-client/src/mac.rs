//! Hardware addresses, by which a NIC is found again whatever its name has become.

use std::{fmt, str::FromStr, sync::Arc};

use crate::bind::BindError;

/// The hardware address of a NIC (EUI-48).
///
/// As text six bytes of two hexadecimal digits, with `:` or `-` between them; written in lower case
/// with `:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of these bytes, as they stand on the wire.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// The one device of this host that has the address now.
    pub(crate) fn device(self) -> Result<Arc<str>, BindError> {
        select(self, &devices(self)?)
    }
}

/// One device, or an error that names them all.
fn select(mac: MacAddress, devices: &[String]) -> Result<Arc<str>, BindError> {
    match devices {
        [] => Err(BindError::UnknownMac { mac }),
        [device] => Ok(device.as_str().into()),
        several => Err(BindError::AmbiguousMac {
            mac,
            devices: several.join(", ").into(),
        }),
    }
}

/// The names of the devices that have `mac`, with or without an IP address.
///
/// By getifaddrs(3), which asks the network namespace that the calling thread is in. The files under
/// `/sys/class/net` show the one for which `/sys` was mounted, which after setns(2) is another.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn devices(mac: MacAddress) -> Result<Vec<String>, BindError> {
    let failed = |error: nix::Error| BindError::Devices {
        reason: error.to_string().into(),
    };
    let mut names = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().map_err(failed)? {
        let address = interface.address;
        let link = address.as_ref().and_then(|address| address.as_link_addr());
        // The first six bytes of a longer address (InfiniBand's has 20) do not identify anything.
        let found = link.is_some_and(|link| link.halen() == 6 && link.addr() == Some(mac.0));
        if found && !names.contains(&interface.interface_name) {
            names.push(interface.interface_name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn devices(mac: MacAddress) -> Result<Vec<String>, BindError> {
    Err(BindError::MacUnsupported { mac })
}

impl FromStr for MacAddress {
    type Err = BindError;

    /// [`BindError::Syntax`] for anything else than six bytes with one kind of separator.
    fn from_str(text: &str) -> Result<Self, BindError> {
        parse(text).ok_or_else(|| BindError::Syntax { text: text.into() })
    }
}

fn parse(text: &str) -> Option<MacAddress> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut parts = text.split(separator);
    let mut bytes = [0; 6];
    for byte in &mut bytes {
        let digits = parts.next()?;
        // `from_str_radix` alone would take "+f".
        if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddress(bytes))
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_both_ways_and_written_in_one() {
        for text in ["52:54:00:ab:CD:0f", "52-54-00-ab-cd-0F"] {
            let mac: MacAddress = text.parse().unwrap();
            assert_eq!(mac.bytes(), [0x52, 0x54, 0, 0xab, 0xcd, 0x0f]);
            assert_eq!(mac.to_string(), "52:54:00:ab:cd:0f");
        }
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:0f:00",
            "52:54:00:ab:cd:f",
            "52:54:00:ab:cd:+f",
            "52:54-00:ab:cd:0f",
            "525400abcd0f",
            "52:54:00:ab:cd:0g",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_several_devices_names_them() {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        assert_eq!(&*select(mac, &names(&["eth1"])).unwrap(), "eth1");
        let none = select(mac, &[]);
        assert_eq!(none, Err(BindError::UnknownMac { mac }));
        let devices = "bond0, eth0, eth1".into();
        let several = select(mac, &names(&["bond0", "eth0", "eth1"]));
        assert_eq!(several, Err(BindError::AmbiguousMac { mac, devices }));
    }
}
