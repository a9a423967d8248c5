//! From where to where: what becomes one session.

use std::{fmt, sync::Arc};

use iscsi_client::{bind::Bind, device::DeviceInfo};
use iscsi_proto::{
    name::IscsiName,
    portal::{Host, Portal},
    scsi::{Lun, StandardInquiry},
};

/// A way to a target: from a local end to a portal. An inventory has one session for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Route {
    /// The target.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
    pub target: IscsiName,
    /// Its portal, as it was discovered or configured.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
    pub portal: Portal,
    /// The local end.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::text"))]
    pub bind: Bind,
}

impl Route {
    pub(super) const fn new(target: IscsiName, portal: Portal, bind: Bind) -> Self {
        Self {
            target,
            portal,
            bind,
        }
    }

    /// What a path through it is called, as those of [`MultipathBuilder`](crate::MultipathBuilder) are.
    pub(super) fn path_name(&self) -> Arc<str> {
        format!("{} -> {}", self.bind, Address(&self.portal)).into()
    }
}

/// `eth0 -> 10.0.0.1:3260 iqn.2024-01.com.example:disk`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bind, target) = (&self.bind, &self.target);
        write!(f, "{bind} -> {} {target}", Address(&self.portal))
    }
}

/// A logical unit, as found through one route: what filters and settings go by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FoundUnit {
    /// Through which route.
    pub route: Arc<Route>,
    /// Under which number there.
    pub lun: Lun,
    /// Size, limits and identity: world wide identifier, serial number, vendor, product, revision.
    pub info: Arc<DeviceInfo>,
    /// The rest of the standard INQUIRY data.
    pub inquiry: StandardInquiry,
}

/// Host and port of a portal, without its group.
pub(super) struct Address<'a>(pub(super) &'a Portal);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

/// A portal of a target, whatever its group is called today.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    #[test]
    fn a_route_is_shown_without_the_portal_group() {
        let portal = "[fe80::1%eth0]:3261,7".parse().unwrap();
        let target = "iqn.2026-01.example:disk".parse().unwrap();
        let route = Route::new(target, portal, "eth0".parse().unwrap());
        assert_eq!(
            route.to_string(),
            "eth0 -> [fe80::1%eth0]:3261 iqn.2026-01.example:disk"
        );
    }
}
