//! The built-in rows.
//!
//! A retry there is one check of five seconds here, so 24 are 120 s.

use std::{borrow::Cow::Borrowed, time::Duration};

use super::{Array, ArraySettings};
use crate::core::{NoPathRetry, PathGroupingPolicy, Prioritizer};

const fn row(
    name: &'static str,
    vendor: &'static str,
    product: &'static str,
    settings: ArraySettings,
    source: &'static str,
) -> Array {
    Array {
        name: Borrowed(name),
        vendor: Borrowed(vendor),
        product: Borrowed(product),
        settings,
        source: Borrowed(source),
    }
}

const NONE: ArraySettings = ArraySettings::NONE;

const fn queue_for(seconds: u64) -> NoPathRetry {
    NoPathRetry::QueueFor(Duration::from_secs(seconds))
}

/// What the table begins with. Each row names who says so; the names are those of
/// [`ArrayTable::without`](super::ArrayTable::without).
pub static BUILT_IN: &[Array] = &[
    row(
        "lunz",
        "DGC",
        "LUNZ",
        NONE.no_disk(),
        "LUN 0 of a CLARiiON, VNX or Unity to a host that has no LUN 0; multipath-tools blacklists it",
    ),
    row(
        "lunz-emc",
        "EMC",
        "LUNZ",
        NONE.no_disk(),
        "as lunz, by another vendor's name",
    ),
    row(
        "universal-xport",
        "*",
        "Universal Xport",
        NONE.no_disk(),
        "the access LUN of E-Series and its relatives (NetApp, LSI, IBM, Dell, Lenovo, Fujitsu and others); \
         Linux attaches no disk driver to it (scsi_devinfo.c)",
    ),
    row(
        "solidfire",
        "SolidFir",
        "SSD SAN",
        NONE.path_grouping_policy(PathGroupingPolicy::Multibus)
            .no_path_retry(queue_for(120)),
        "multibus and 24 retries, as SolidFire's users set them for Linux, and multipath-tools has them",
    ),
    row(
        "equallogic",
        "EQLOGIC",
        "100E-00",
        NONE.path_grouping_policy(PathGroupingPolicy::Multibus)
            .no_path_retry(queue_for(150)),
        "multibus and 30 retries: what multipath-tools has for it",
    ),
    row(
        "qsan",
        "Qsan",
        "*",
        NONE.prioritizer(Prioritizer::Alua {
            exclusive_pref_bit: true,
        })
        .no_path_retry(queue_for(150)),
        "PREF tells of two optimized controllers the better one: exclusive_pref_bit in multipath-tools",
    ),
    row(
        "vstorage",
        "VSTORAGE",
        "VSTOR-DISK",
        NONE.path_grouping_policy(PathGroupingPolicy::GroupByNodeName),
        "each node is a target (Virtuozzo Hybrid Infrastructure, administrator's guide, block storage), and \
         multipath-tools groups by it",
    ),
    row(
        "nexenta",
        "NEXENTA",
        "COMSTAR",
        NONE.path_grouping_policy(PathGroupingPolicy::GroupBySerial)
            .no_path_retry(queue_for(150)),
        "group_by_serial and 30 retries: what multipath-tools has for it",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{arrays::ArrayTable, core::Config};

    #[test]
    fn each_row_has_a_name_of_its_own_and_a_source_and_changes_something() {
        let mut names = BTreeSet::new();
        for array in BUILT_IN {
            assert!(names.insert(array.name()), "{}", array.name());
            assert!(!array.source().is_empty(), "{}", array.name());
            let changes = array.apply(Config::default()) != Config::default();
            assert!(changes || array.settings().is_no_disk, "{}", array.name());
        }
    }

    #[test]
    fn arrays_are_found_as_they_tell_of_themselves() {
        let table = ArrayTable::default();
        for (vendor, product, name) in [
            ("DGC", "LUNZ", Some("lunz")),
            ("DGC", "RAID 5", None),
            ("EMC", "LUNZ", Some("lunz-emc")),
            ("NETAPP", "Universal Xport", Some("universal-xport")),
            ("NETAPP", "LUN C-Mode", None),
            ("SolidFir", "SSD SAN", Some("solidfire")),
            ("EQLOGIC", "100E-00", Some("equallogic")),
            ("DellEMC", "PowerStore", None),
            ("DellEMC", "ME5", None),
            ("QSAN", "XS5226", Some("qsan")),
            ("VSTORAGE", "VSTOR-DISK", Some("vstorage")),
            ("NEXENTA", "COMSTAR", Some("nexenta")),
            ("LIO-ORG", "disk", None),
            ("", "", None),
        ] {
            let found = table.find(vendor, product).map(Array::name);
            assert_eq!(found, name, "{vendor} {product}");
        }
    }
}
