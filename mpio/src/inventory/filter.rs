//! Which routes and units are taken: the blacklist of multipath.conf and its exceptions.

use std::{fmt, sync::Arc};

use iscsi_proto::scsi::Lun;

use super::{
    pattern::Pattern,
    route::{Address, FoundUnit, Route},
};

/// What a [`Rule`] goes by. In this order they are looked at, and the first that rejects is the one that is
/// told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Criterion {
    /// The target's name. A target that is rejected is never logged in to.
    Target,
    /// A portal. One that is rejected is never connected to.
    Portal,
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
    const OF_ROUTES: [Self; 2] = [Self::Target, Self::Portal];
    const OF_UNITS: [Self; 3] = [Self::Property, Self::Device, Self::Wwid];
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Portal => "portal",
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
    Lun(Lun),
    Property(Arc<str>, Arc<Property>),
    Device(Pattern, Pattern),
    Wwid(Pattern),
}

type Property = dyn Fn(&FoundUnit) -> bool + Send + Sync;

/// As much as is known.
struct Subject<'a> {
    route: &'a Route,
    lun: Option<Lun>,
    unit: Option<&'a FoundUnit>,
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

    fn is_about(&self, subject: &Subject<'_>) -> bool {
        let identity = || subject.unit.map(|unit| &unit.info.identity);
        match &self.0 {
            Test::Target(name) => name.matches(subject.route.target.as_str()),
            Test::Portal(address) => {
                let portal = &subject.route.portal;
                address.matches(&portal.host.to_string())
                    || address.matches(&Address(portal).to_string())
            }
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
            Test::Target(name) | Test::Portal(name) | Test::Wwid(name) => {
                write!(f, "{criterion} {name}")
            }
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

/// Which targets, portals and units an inventory takes. Without rules it takes all.
///
/// As in multipath.conf, each [`Criterion`] is asked for itself, and there an exception wins: what is
/// [excluded](Self::exclude) by its vendor is taken only if its vendor is [excepted](Self::except), whatever is
/// said of its identifier.
///
/// ```
/// use mpio::inventory::{Filter, Rule};
///
/// let filter = Filter::new()
///     .exclude(Rule::device("DGC", "LUNZ"))
///     .exclude(Rule::target("iqn.*:backup*"))
///     .only(Rule::wwid("36001405*"));
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filter {
    exclude: Vec<Rule>,
    except: Vec<Rule>,
    only: Vec<Rule>,
}

impl Filter {
    /// Takes all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Does not take what `rule` is about.
    #[must_use]
    pub fn exclude(mut self, rule: Rule) -> Self {
        self.exclude.push(rule);
        self
    }

    /// Takes what `rule` is about, though it is excluded by another rule of the same criterion, or by an
    /// [`only`](Self::only) of it.
    #[must_use]
    pub fn except(mut self, rule: Rule) -> Self {
        self.except.push(rule);
        self
    }

    /// Takes only what `rule` is about, or another rule of the same criterion that was given so.
    #[must_use]
    pub fn only(mut self, rule: Rule) -> Self {
        self.only.push(rule);
        self
    }

    pub(super) fn route(&self, route: &Route) -> Result<(), Rejection> {
        let subject = Subject {
            route,
            lun: None,
            unit: None,
        };
        self.judge(&subject, &Criterion::OF_ROUTES)
    }

    pub(super) fn lun(&self, route: &Route, lun: Lun) -> Result<(), Rejection> {
        let subject = Subject {
            route,
            lun: Some(lun),
            unit: None,
        };
        self.judge(&subject, &[Criterion::Lun])
    }

    pub(super) fn unit(&self, unit: &FoundUnit) -> Result<(), Rejection> {
        let subject = Subject {
            route: &unit.route,
            lun: Some(unit.lun),
            unit: Some(unit),
        };
        self.judge(&subject, &Criterion::OF_UNITS)
    }

    fn judge(&self, subject: &Subject<'_>, criteria: &[Criterion]) -> Result<(), Rejection> {
        for criterion in criteria {
            let of = |rule: &&Rule| rule.criterion() == *criterion;
            let about = |rule: &&Rule| rule.is_about(subject);
            if self.except.iter().filter(of).any(|rule| about(&rule)) {
                continue;
            }
            if let Some(rule) = self.exclude.iter().filter(of).find(about) {
                return Err(Rejection::Excluded(rule.clone()));
            }
            let mut only = self.only.iter().filter(of).peekable();
            if only.peek().is_some() && !only.any(|rule| about(&rule)) {
                return Err(Rejection::NotAmong(*criterion));
            }
        }
        Ok(())
    }
}

/// Why something is not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// By this rule.
    Excluded(Rule),
    /// Only others are, by this criterion.
    NotAmong(Criterion),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded(rule) => write!(f, "excluded by the rule {rule}"),
            Self::NotAmong(criterion) => write!(f, "by {criterion} only others are taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use iscsi_client::device::DeviceInfo;

    use super::*;

    fn unit(vendor: &str, wwid: Option<&str>) -> FoundUnit {
        let mut info = DeviceInfo::new(1 << 20, 512);
        info.identity.vendor = vendor.into();
        info.identity.product = "DISK".into();
        info.identity.wwid = wwid.map(Into::into);
        FoundUnit {
            route: Arc::new(Route::new(
                "iqn.2026-01.example:disk".parse().unwrap(),
                "10.0.0.1:3260,1".parse().unwrap(),
                "eth0".parse().unwrap(),
            )),
            lun: Lun::new(3),
            info: Arc::new(info),
            inquiry: Default::default(),
        }
    }

    fn said(filter: &Filter, unit: &FoundUnit) -> String {
        filter
            .unit(unit)
            .map_or_else(|why| why.to_string(), |()| "taken".into())
    }

    #[test]
    fn an_exception_wins_within_its_criterion_and_not_beyond() {
        let unit = unit("ACME", Some("3600a"));
        let excluded = Filter::new().exclude(Rule::device("AC*", "*"));
        assert_eq!(said(&excluded, &unit), "excluded by the rule device AC*,*");
        let by_wwid = excluded.clone().except(Rule::wwid("3600a"));
        assert_eq!(said(&by_wwid, &unit), "excluded by the rule device AC*,*");
        let by_device = excluded.except(Rule::device("ACME", "DISK"));
        assert_eq!(said(&by_device, &unit), "taken");
    }

    #[test]
    fn only_takes_the_union_of_its_rules_for_each_criterion() {
        let filter = Filter::new()
            .only(Rule::wwid("3600a"))
            .only(Rule::wwid("3600b*"));
        assert_eq!(said(&filter, &unit("ACME", Some("3600b1"))), "taken");
        let others = "by wwid only others are taken";
        assert_eq!(said(&filter, &unit("ACME", Some("3600c"))), others);
        assert_eq!(said(&filter, &unit("ACME", None)), others);
        let filter = filter.only(Rule::device("OTHER", "*"));
        let others = "by device only others are taken";
        assert_eq!(said(&filter, &unit("ACME", Some("3600a"))), others);
    }

    #[test]
    fn a_unit_without_a_name_is_not_excluded_by_a_name() {
        let filter = Filter::new().exclude(Rule::wwid("*"));
        assert_eq!(said(&filter, &unit("ACME", None)), "taken");
    }

    #[test]
    fn properties_are_what_the_unit_says_of_itself() {
        let large = Rule::property("of less than a GiB", |unit| unit.info.size < 1 << 30);
        let filter = Filter::new().exclude(large);
        let expected = "excluded by the rule property of less than a GiB";
        assert_eq!(said(&filter, &unit("ACME", None)), expected);
    }

    #[test]
    fn portals_match_with_and_without_their_port() {
        let unit = unit("ACME", None);
        let reject = |address| {
            Filter::new()
                .exclude(Rule::portal(address))
                .route(&unit.route)
        };
        for address in ["10.0.0.1", "10.0.0.*", "10.0.0.1:3260", "*:3260"] {
            assert!(reject(address).is_err(), "{address}");
        }
        for address in ["10.0.0.1:3261", "10.0.0.10", "10.0.0"] {
            assert!(reject(address).is_ok(), "{address}");
        }
        let lun = Filter::new().only(Rule::lun(Lun::new(3)));
        assert!(lun.lun(&unit.route, Lun::new(3)).is_ok());
        assert!(lun.lun(&unit.route, Lun::ZERO).is_err());
    }
}
