//! What targets, portals, local ends and units are like: what filters, settings and priorities go by.

mod pattern;
mod priorities;
mod route;

use std::{fmt, sync::Arc};

use iscsi_proto::scsi::Lun;

pub use route::{FoundUnit, Route};

pub(crate) use self::{pattern::Pattern, priorities::Priorities, route::Address};

/// What a [`Rule`] goes by. In this order they are looked at, and the first that rejects is the one that is
/// told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Criterion {
    /// The target's name. A target that is rejected is never logged in to.
    Target,
    /// A portal. One that is rejected is never connected to.
    Portal,
    /// A local end. There is no session with a target from one that is rejected, though portals are asked for targets from
    /// there.
    Bind,
    /// Local end and portal together. There is no session between two that are rejected.
    Path,
    /// The number of the logical unit. One that is rejected is sent no command.
    Lun,
    /// Anything that the unit tells of itself.
    Property,
    /// Vendor and product.
    Device,
    /// The world wide identifier.
    Wwid,
}

impl Criterion {
    pub(crate) const OF_PORTALS: [Self; 2] = [Self::Target, Self::Portal];
    pub(crate) const OF_ROUTES: [Self; 2] = [Self::Bind, Self::Path];
    pub(crate) const OF_UNITS: [Self; 3] = [Self::Property, Self::Device, Self::Wwid];
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Portal => "portal",
            Self::Bind => "bind",
            Self::Path => "path",
            Self::Lun => "lun",
            Self::Property => "property",
            Self::Device => "device",
            Self::Wwid => "wwid",
        })
    }
}

/// Something that a target, a portal or a unit can be like.
///
/// In names `*` stands for any characters, or none, and `?` for one; `!` before all of it means every name but
/// those. The whole name has to match, and upper and lower case differ.
#[derive(Clone)]
pub struct Rule(Test);

#[derive(Clone)]
enum Test {
    Target(Pattern),
    Portal(Pattern),
    Bind(Pattern),
    Path(Pattern),
    Lun(Lun),
    Property(Arc<str>, Arc<Property>),
    Device(Pattern, Pattern),
    Wwid(Pattern),
}

type Property = dyn Fn(&FoundUnit) -> bool + Send + Sync;

/// As much as is known.
pub(crate) struct Subject<'a> {
    pub(crate) route: &'a Route,
    pub(crate) lun: Option<Lun>,
    pub(crate) unit: Option<&'a FoundUnit>,
}

impl<'a> Subject<'a> {
    pub(crate) const fn of(route: &'a Route) -> Self {
        Self {
            route,
            lun: None,
            unit: None,
        }
    }
}

impl Rule {
    /// Targets of this name.
    #[must_use]
    pub fn target(name: &str) -> Self {
        Self(Test::Target(Pattern::new(name)))
    }

    /// Portals of this host (`10.0.0.*`, `[2001:db8::1]`) at whatever port, or of this host and port.
    #[must_use]
    pub fn portal(address: &str) -> Self {
        Self(Test::Portal(Pattern::new(address)))
    }

    /// Local ends of this name, as they were [given](crate::inventory::InventoryBuilder::bind): `eth1`, `10.0.0.9`,
    /// `00:1b:21:*`, or `any` where none was.
    #[must_use]
    pub fn bind(name: &str) -> Self {
        Self(Test::Bind(Pattern::new(name)))
    }

    /// Paths of this name, without a portal group and a session's number: `eth1 -> 10.0.1.*`. For what is true of a local
    /// end with a portal and of neither alone.
    #[must_use]
    pub fn path(name: &str) -> Self {
        Self(Test::Path(Pattern::new(name)))
    }

    /// Logical units of this number.
    #[must_use]
    pub const fn lun(lun: Lun) -> Self {
        Self(Test::Lun(lun))
    }

    /// Units of this vendor and product, as INQUIRY tells them, without the blanks at the end.
    #[must_use]
    pub fn device(vendor: &str, product: &str) -> Self {
        Self(Test::Device(Pattern::new(vendor), Pattern::new(product)))
    }

    /// Units with this [world wide identifier](iscsi_client::device::Identity::wwid). One that has none
    /// matches no such rule.
    #[must_use]
    pub fn wwid(wwid: &str) -> Self {
        Self(Test::Wwid(Pattern::new(wwid)))
    }

    /// Units of which `holds` is true; `name` is what the rule is called. It must not block.
    ///
    /// ```
    /// use mpio::inventory::Rule;
    /// let _removable = Rule::property("removable", |unit| unit.inquiry.removable);
    /// ```
    #[must_use]
    pub fn property(
        name: &str,
        holds: impl Fn(&FoundUnit) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Test::Property(name.into(), Arc::new(holds)))
    }

    /// What it goes by.
    #[must_use]
    pub const fn criterion(&self) -> Criterion {
        match &self.0 {
            Test::Target(_) => Criterion::Target,
            Test::Portal(_) => Criterion::Portal,
            Test::Bind(_) => Criterion::Bind,
            Test::Path(_) => Criterion::Path,
            Test::Lun(_) => Criterion::Lun,
            Test::Property(..) => Criterion::Property,
            Test::Device(..) => Criterion::Device,
            Test::Wwid(_) => Criterion::Wwid,
        }
    }

    /// Whether it is about this unit.
    #[must_use]
    pub fn matches(&self, unit: &FoundUnit) -> bool {
        self.is_about(&Subject {
            route: &unit.route,
            lun: Some(unit.lun),
            unit: Some(unit),
        })
    }

    pub(crate) fn is_about(&self, subject: &Subject<'_>) -> bool {
        let identity = || subject.unit.map(|unit| &unit.info.identity);
        match &self.0 {
            Test::Target(name) => name.matches(subject.route.target.as_str()),
            Test::Portal(address) => {
                let portal = &subject.route.portal;
                address.matches(&portal.host.to_string())
                    || address.matches(&Address(portal).to_string())
            }
            Test::Bind(name) => name.matches(&subject.route.bind.to_string()),
            Test::Path(name) => name.matches(&subject.route.ends()),
            Test::Lun(lun) => subject.lun == Some(*lun),
            Test::Property(_, holds) => subject.unit.is_some_and(|unit| holds(unit)),
            Test::Device(vendor, product) => identity().is_some_and(|identity| {
                vendor.matches(&identity.vendor) && product.matches(&identity.product)
            }),
            Test::Wwid(wwid) => identity()
                .and_then(|identity| identity.wwid.as_ref())
                .is_some_and(|name| wwid.matches(name)),
        }
    }
}

/// As `device DGC,LUNZ`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let criterion = self.criterion();
        match &self.0 {
            Test::Target(name)
            | Test::Portal(name)
            | Test::Bind(name)
            | Test::Path(name)
            | Test::Wwid(name) => write!(f, "{criterion} {name}"),
            Test::Lun(lun) => write!(f, "{criterion} {lun}"),
            Test::Property(name, _) => write!(f, "{criterion} {name}"),
            Test::Device(vendor, product) => write!(f, "{criterion} {vendor},{product}"),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({self})")
    }
}
