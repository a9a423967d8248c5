//! Settings that single arrays need and others do not: the device table of multipath-tools, as far as it matters here.
//!
//! Most arrays need no row: they tell the access states of their ports, and the default settings (`Detect`) go by that,
//! with paths grouped by priority and used again at once when they are back. A row is there where what the array's
//! users are told to set differs from what the defaults come to, and each says [whence](Array::source) that is.
//!
//! The table is on by default, and touches only what the program has left unset: a setting that was made by
//! [`ConfigBuilder`](crate::core::ConfigBuilder) stays, whatever the table says. Which row a device goes by is part of its
//! [topology](crate::Topology::array). Both [`MultipathBuilder::arrays`](crate::MultipathBuilder::arrays) and
//! [`InventoryBuilder::arrays`](crate::inventory::InventoryBuilder::arrays) take another table, or none.
//!
//! Not in it, though `multipath.conf` of many vendors has them: to queue for ever where no path is left, which is for the
//! program to say; to queue for less long than the default, which a program that relies on that would not expect;
//! checkers, of which the default is right for all of them; hardware handlers, of which there is one kind here; timeouts of
//! transports, which are those of sessions ([quirks](iscsi_client::quirks)).

mod table;

pub use table::BUILT_IN;

use std::borrow::Cow;

use crate::{
    core::{Config, Failback, NoPathRetry, PathGroupingPolicy, Prioritizer},
    rule::Pattern,
};

/// What a row sets where the program has not. `None` sets nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ArraySettings {
    /// How its paths are grouped.
    pub path_grouping_policy: Option<PathGroupingPolicy>,
    /// What makes one of its paths better than another.
    pub prioritizer: Option<Prioritizer>,
    /// When a better group is used again.
    pub failback: Option<Failback>,
    /// What happens to I/O while there is no path.
    pub no_path_retry: Option<NoPathRetry>,
    /// It is a way to manage the array and no disk to use, though it looks like one: an inventory leaves it out, unless its
    /// [filter](crate::inventory::Filter::except) has an exception by vendor and product.
    pub is_no_disk: bool,
}

impl ArraySettings {
    const NONE: Self = Self {
        path_grouping_policy: None,
        prioritizer: None,
        failback: None,
        no_path_retry: None,
        is_no_disk: false,
    };

    /// Sets [`path_grouping_policy`](Self::path_grouping_policy).
    pub const fn path_grouping_policy(mut self, policy: PathGroupingPolicy) -> Self {
        self.path_grouping_policy = Some(policy);
        self
    }

    /// Sets [`prioritizer`](Self::prioritizer). Its parameters are for
    /// [`ConfigBuilder::build`](crate::core::ConfigBuilder::build) to check, which a table does not go through: out of their
    /// range they count as the nearest that is in it.
    pub const fn prioritizer(mut self, prioritizer: Prioritizer) -> Self {
        self.prioritizer = Some(prioritizer);
        self
    }

    /// Sets [`failback`](Self::failback).
    pub const fn failback(mut self, failback: Failback) -> Self {
        self.failback = Some(failback);
        self
    }

    /// Sets [`no_path_retry`](Self::no_path_retry).
    pub const fn no_path_retry(mut self, policy: NoPathRetry) -> Self {
        self.no_path_retry = Some(policy);
        self
    }

    /// Sets [`is_no_disk`](Self::is_no_disk).
    pub const fn no_disk(mut self) -> Self {
        self.is_no_disk = true;
        self
    }
}

/// A row: of whom it is true, what it sets, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    name: Cow<'static, str>,
    vendor: Cow<'static, str>,
    product: Cow<'static, str>,
    settings: ArraySettings,
    source: Cow<'static, str>,
}

impl Array {
    /// A row for the units of this vendor and product as INQUIRY tells them, without the blanks at the end. `*` stands for
    /// any characters, or none, and `?` for one; upper and lower case are the same.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        vendor: impl Into<Cow<'static, str>>,
        product: impl Into<Cow<'static, str>>,
        settings: ArraySettings,
    ) -> Self {
        Self {
            name: name.into(),
            vendor: vendor.into(),
            product: product.into(),
            settings,
            source: Cow::Borrowed(""),
        }
    }

    /// Says where that comes from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Cow<'static, str>>) -> Self {
        self.source = source.into();
        self
    }

    /// What the row is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it sets.
    pub const fn settings(&self) -> ArraySettings {
        self.settings
    }

    /// Where that comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn is_about(&self, vendor: &str, product: &str) -> bool {
        let matches = |pattern: &str, text: &str| {
            Pattern::new(&pattern.to_lowercase()).matches(&text.to_lowercase())
        };
        matches(&self.vendor, vendor) && matches(&self.product, product)
    }

    pub(crate) fn apply(&self, config: Config) -> Config {
        let settings = &self.settings;
        config.where_unset(
            settings.path_grouping_policy,
            settings.prioritizer,
            settings.failback,
            settings.no_path_retry,
        )
    }
}

/// Rows by vendor and product. The default has those of [`BUILT_IN`].
///
/// ```
/// use mpio::{
///     arrays::{Array, ArraySettings, ArrayTable},
///     core::{Config, PathGroupingPolicy},
/// };
///
/// let settings = ArraySettings::default().path_grouping_policy(PathGroupingPolicy::GroupBySerial);
/// let table = ArrayTable::default()
///     .without("equallogic")
///     .with(Array::new("our-filer", "ACME", "FILER*", settings));
/// assert_eq!(table.find("ACME", "FILER 9000").map(Array::name), Some("our-filer"));
/// assert!(table.find("EQLOGIC", "100E-00").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ArrayTable(Vec<Array>);

impl Default for ArrayTable {
    fn default() -> Self {
        Self(BUILT_IN.to_vec())
    }
}

impl ArrayTable {
    /// No rows: every device has the settings that it was given, and the defaults for the rest.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a row, which counts before all that are there; one of its name is replaced.
    pub fn with(mut self, array: Array) -> Self {
        self.0.retain(|other| other.name != array.name);
        self.0.insert(0, array);
        self
    }

    /// Removes the row of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|array| array.name != name);
        self
    }

    /// The rows, in the order in which they count.
    #[must_use]
    pub fn rows(&self) -> &[Array] {
        &self.0
    }

    /// The first row that is about a unit.
    #[must_use]
    pub fn find(&self, vendor: &str, product: &str) -> Option<&Array> {
        self.0.iter().find(|array| array.is_about(vendor, product))
    }

    /// The settings with what the table has for a unit, where the program has set nothing. For a device that is made by
    /// [`MultipathDevice::new`](crate::MultipathDevice::new), which looks into no table.
    #[must_use]
    pub fn apply(&self, config: Config, vendor: &str, product: &str) -> Config {
        match self.find(vendor, product) {
            Some(array) => array.apply(config),
            None => config,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::LatencyClasses;

    #[test]
    fn what_the_program_has_set_stays() {
        let table = ArrayTable::none().with(Array::new(
            "all",
            "*",
            "*",
            ArraySettings::default()
                .path_grouping_policy(PathGroupingPolicy::GroupBySerial)
                .prioritizer(Prioritizer::Given)
                .failback(Failback::Immediate)
                .no_path_retry(NoPathRetry::Queue),
        ));
        let applied = |config: Config| table.apply(config, "ACME", "DISK");
        // Also where it has set what is the default.
        let builder = Config::builder()
            .path_grouping_policy(PathGroupingPolicy::Detect)
            .prioritizer(Prioritizer::Detect)
            .failback(Failback::Manual)
            .no_path_retry(NoPathRetry::QueueFor(Duration::from_secs(60)));
        let set = builder.build().unwrap();
        assert_eq!(applied(set.clone()), set);
        let config = applied(Config::default());
        assert_eq!(config.no_path_retry(), NoPathRetry::Queue);
        let words = format!("{config:?}");
        for word in [
            "path_grouping_policy: GroupBySerial",
            "prioritizer: Given",
            "failback: Some(Immediate)",
        ] {
            assert!(words.contains(word), "{words}");
        }
        // And one by one.
        let one = Config::builder().no_path_retry(NoPathRetry::Fail);
        let config = applied(one.build().unwrap());
        assert_eq!(config.no_path_retry(), NoPathRetry::Fail);
        assert!(format!("{config:?}").contains("GroupBySerial"));
        // What a table has set is still unset by the program.
        let other = ArraySettings::default().no_path_retry(NoPathRetry::Fail);
        let other = ArrayTable::none().with(Array::new("other", "*", "*", other));
        let config = other.apply(applied(Config::default()), "ACME", "DISK");
        assert_eq!(config.no_path_retry(), NoPathRetry::Fail);
    }

    #[test]
    fn a_row_of_the_program_counts_before_those_that_are_there_and_none_is_none() {
        let own = |name: &'static str| {
            Array::new(name, "SolidFir", "*", ArraySettings::default().no_disk())
        };
        let found = |table: &ArrayTable| {
            let row = table.find("SolidFir", "SSD SAN");
            row.map(|row| (row.name().to_owned(), row.settings().is_no_disk))
        };
        let table = ArrayTable::default();
        assert_eq!(found(&table), Some(("solidfire".into(), false)));
        assert_eq!(
            found(&table.clone().with(own("ours"))),
            Some(("ours".into(), true))
        );
        let replaced = table.clone().with(own("solidfire"));
        assert_eq!(found(&replaced), Some(("solidfire".into(), true)));
        assert_eq!(replaced.rows().len(), table.rows().len());
        assert_eq!(found(&ArrayTable::none()), None);
    }

    #[test]
    fn parameters_out_of_range_are_brought_into_it() {
        let classes = LatencyClasses::DEFAULT.io_num(0).base_tenths(1_000);
        let settings = ArraySettings::default()
            .prioritizer(Prioritizer::PathLatency(classes))
            .no_path_retry(NoPathRetry::QueueFor(Duration::MAX))
            .failback(Failback::After(Duration::MAX));
        let table = ArrayTable::none().with(Array::new("wild", "*", "*", settings));
        let config = table.apply(Config::default(), "ACME", "DISK");
        config.to_builder().build().expect("in range");
    }
}
