//! Portals of targets, and from where they can be reached.

use std::sync::Arc;

use iscsi_client::bind::Bind;
use iscsi_proto::{
    name::IscsiName,
    portal::{Host, Portal},
};

/// A portal of a target, whatever its group is called today.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Endpoint {
    pub(super) target: IscsiName,
    pub(super) host: Host,
    pub(super) port: u16,
}

impl Endpoint {
    pub(super) fn new(target: &IscsiName, portal: &Portal) -> Self {
        Self {
            target: target.clone(),
            host: portal.host.clone(),
            port: portal.port,
        }
    }

    /// What comes before all portals of the target.
    pub(super) fn first_of_target(&self) -> Self {
        Self {
            target: self.target.clone(),
            host: Host::Name(Arc::from("")),
            port: 0,
        }
    }
}

/// A place of a session at a portal: its local end, and whether it is the spare there. Spares come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seat {
    pub(super) is_spare: bool,
    /// The position among the local ends.
    pub(super) bind: usize,
}

impl Seat {
    pub(super) const fn at(bind: usize) -> Self {
        let is_spare = false;
        Self { is_spare, bind }
    }

    pub(super) const fn spare(self) -> Self {
        let is_spare = true;
        Self { is_spare, ..self }
    }

    /// Its own, if it is no spare.
    pub(super) const fn principal(self) -> Self {
        Self::at(self.bind)
    }
}

/// Whether the address means something on one link only.
pub(super) fn is_link_local(portal: &Portal) -> bool {
    matches!(&portal.host, Host::V6 { addr, .. } if addr.is_unicast_link_local())
}

/// Whether a connection from `bind` to `portal` is possible at all, as far as can be told without asking
/// the operating system: the families are the same, and the device is the one of the portal's zone.
pub(super) fn fits(bind: &Bind, portal: &Portal) -> bool {
    match (bind, &portal.host) {
        (Bind::Address(local), host) => host
            .address()
            .is_none_or(|remote| local.is_ipv4() == remote.is_ipv4()),
        (
            Bind::Device(device),
            Host::V6 {
                zone: Some(zone), ..
            },
        ) if is_link_local(portal) => {
            // A zone by number is for the operating system to compare.
            zone.parse::<u32>().is_ok() || zone == device
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_portal_is_reached_from_its_own_link_only() {
        for (bind, portal, expected) in [
            ("eth0", "10.0.0.1", true),
            ("any", "[fe80::1%eth0]", true),
            ("eth0", "[fe80::1%eth0]", true),
            ("eth1", "[fe80::1%eth0]", false),
            ("eth1", "[fe80::1%3]", true),
            ("eth1", "[2001:db8::1]", true),
            ("10.0.0.9", "[2001:db8::1]", false),
            ("2001:db8::9", "[2001:db8::1]", true),
            ("2001:db8::9", "10.0.0.1", false),
            ("10.0.0.9", "storage.example", true),
        ] {
            let fitting = fits(&bind.parse().unwrap(), &portal.parse().unwrap());
            assert_eq!(fitting, expected, "{bind} {portal}");
        }
    }
}
