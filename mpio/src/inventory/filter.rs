//! Which routes and units are taken: the blacklist of multipath.conf and its exceptions.

use std::{fmt, sync::Arc};

use iscsi_proto::scsi::Lun;

use crate::rule::{Criterion, FoundUnit, Route, Rule, Subject};

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

    pub(super) fn portal(&self, route: &Route) -> Result<(), Rejection> {
        self.judge(&Subject::of(route), &Criterion::OF_PORTALS)
    }

    /// What the local end has to do with.
    pub(super) fn route(&self, route: &Route) -> Result<(), Rejection> {
        self.judge(&Subject::of(route), &Criterion::OF_ROUTES)
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

    /// Whether an exception is about its vendor and product.
    pub(super) fn excepts_device(&self, unit: &FoundUnit) -> bool {
        let of = |rule: &&Rule| rule.criterion() == Criterion::Device;
        let mut except = self.except.iter().filter(of);
        except.any(|rule| rule.matches(unit))
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
    /// By its vendor and product it is no disk to use: the row of the [table of arrays](crate::arrays) that says so.
    NoDisk(Arc<str>),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded(rule) => write!(f, "excluded by the rule {rule}"),
            Self::NotAmong(criterion) => write!(f, "by {criterion} only others are taken"),
            Self::NoDisk(row) => write!(f, "no disk, by the row {row} of the table of arrays"),
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
                .portal(&unit.route)
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

    #[test]
    fn local_ends_and_paths_are_left_out_by_their_names() {
        let unit = unit("ACME", None);
        let reject = |rule| Filter::new().exclude(rule).route(&unit.route).is_err();
        assert!(reject(Rule::bind("eth*")));
        assert!(!reject(Rule::bind("eth1")));
        assert!(reject(Rule::path("eth0 -> 10.0.0.1:*")));
        assert!(!reject(Rule::path("eth0 -> 10.0.0.2:*")));
        let filter = Filter::new().only(Rule::bind("eth1"));
        assert!(
            filter.portal(&unit.route).is_ok(),
            "another one may reach it"
        );
        let rejection = filter.route(&unit.route).unwrap_err().to_string();
        assert_eq!(rejection, "by bind only others are taken");
    }
}
