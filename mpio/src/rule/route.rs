//! From where to where: what becomes one session, and a unit that was found through it.

use std::{fmt, sync::Arc};

use iscsi_client::{bind::Bind, device::DeviceInfo};
use iscsi_proto::{
    name::IscsiName,
    portal::Portal,
    scsi::{Lun, StandardInquiry},
};

/// A way to a target: from a local end to a portal. An inventory has one session for each, and with
/// [spares](crate::inventory::InventoryBuilder::spares) a second one.
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
    /// It is the way of a spare: one more between two ends that have one already.
    pub is_spare: bool,
}

impl Route {
    pub(crate) const fn new(target: IscsiName, portal: Portal, bind: Bind) -> Self {
        Self {
            target,
            portal,
            bind,
            is_spare: false,
        }
    }

    /// That of its spare.
    pub(crate) fn spare(&self) -> Self {
        Self {
            is_spare: true,
            ..self.clone()
        }
    }

    /// Both ends, which a spare has as well.
    pub(crate) fn ends(&self) -> Arc<str> {
        format!("{} -> {}", self.bind, Address(&self.portal)).into()
    }

    /// What a path through it is called, as those of [`MultipathBuilder`](crate::MultipathBuilder) are.
    pub(crate) fn path_name(&self) -> Arc<str> {
        match self.is_spare {
            true => format!("{} spare", self.ends()).into(),
            false => self.ends(),
        }
    }
}

/// `eth0 -> 10.0.0.1:3260 iqn.2024-01.com.example:disk`, and `(spare)` after that of a spare.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bind, target) = (&self.bind, &self.target);
        write!(f, "{bind} -> {} {target}", Address(&self.portal))?;
        f.write_str(if self.is_spare { " (spare)" } else { "" })
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
pub(crate) struct Address<'a>(pub(crate) &'a Portal);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
