//! The built-in entries.

use std::{borrow::Cow::Borrowed, time::Duration};

use super::{Effects, Quirk};

/// A flush of a slow cache. Disk drivers give it twice the time of other commands, and small filers
/// with one pool of rotating disks were seen to take more.
const SLOW_FLUSH: Option<Duration> = Some(Duration::from_secs(120));

/// What the table begins with. Each entry names who reported it; the names are those of
/// [`QuirkTable::without`](super::QuirkTable::without).
pub static BUILT_IN: &[Quirk] = &[
    Quirk {
        name: Borrowed("lio"),
        target: None,
        vendor: Some(Borrowed("LIO-ORG")),
        product: None,
        effects: Effects {
            readiness_is_no_proof: true,
            ..Effects::NONE
        },
        source: Borrowed(
            "TEST UNIT READY is GOOD whatever the backing store: opensvc/multipath-tools#54",
        ),
    },
    Quirk {
        name: Borrowed("ceph-iscsi"),
        target: None,
        vendor: Some(Borrowed("LIO-ORG")),
        product: Some(Borrowed("TCMU device")),
        effects: Effects {
            one_path_at_a_time: true,
            ..Effects::NONE
        },
        source: Borrowed(
            "the exclusive lock bounces between gateways: open-iscsi/tcmu-runner#244, #356, #420",
        ),
    },
    Quirk {
        name: Borrowed("equallogic"),
        target: Some(Borrowed("iqn.2001-05.com.equallogic:")),
        vendor: None,
        product: None,
        effects: Effects {
            missing_unit_has_moved: true,
            ..Effects::NONE
        },
        source: Borrowed(
            "firmware 7 answers 05/25/00 while a volume moves: sahlberg/libiscsi#140, #23",
        ),
    },
    Quirk {
        name: Borrowed("nimble"),
        target: Some(Borrowed("iqn.2007-11.com.nimblestorage:")),
        vendor: None,
        product: None,
        effects: Effects {
            nop_interval: Some(Duration::from_secs(10)),
            nop_timeout: Some(Duration::from_secs(10)),
            ..Effects::NONE
        },
        source: Borrowed("the vendor's recommendation: hpe-storage/csi-driver#269"),
    },
    Quirk {
        name: Borrowed("synology"),
        target: None,
        vendor: Some(Borrowed("SYNOLOGY")),
        product: None,
        effects: Effects {
            flush_timeout: SLOW_FLUSH,
            ..Effects::NONE
        },
        source: Borrowed("slow SYNCHRONIZE CACHE: iscsi-osx/iSCSIInitiator#98, #65"),
    },
    Quirk {
        name: Borrowed("qnap"),
        target: None,
        vendor: Some(Borrowed("QNAP")),
        product: None,
        effects: Effects {
            flush_timeout: SLOW_FLUSH,
            ..Effects::NONE
        },
        source: Borrowed("slow SYNCHRONIZE CACHE: iscsi-osx/iSCSIInitiator#76"),
    },
];
