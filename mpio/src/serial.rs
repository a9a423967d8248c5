//! How values are serialised that have no shape of their own: the rules are at the top of the crate.

use std::{fmt, sync::Arc, time::Duration};

use iscsi_client::{
    device::{DeviceInfo, ProvisioningType, RotationRate},
    isid::SessionSlot,
};
use iscsi_proto::scsi::Lun;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::inventory::UnitState;

pub(crate) fn text<T: fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(crate) fn text_or_none<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// An error with its causes.
pub(crate) fn causes<T: fmt::Display, S: Serializer>(error: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{error:#}"))
}

pub(crate) fn causes_or_none<T: fmt::Display, S: Serializer>(
    error: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => causes(error, to),
        None => to.serialize_none(),
    }
}

/// 2^64 ns are 584 years.
pub(crate) fn nanos<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn nanos_or_none<S: Serializer>(
    time: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => nanos(time, to),
        None => to.serialize_none(),
    }
}

/// Data of a variant beside its `kind`.
pub(crate) fn error<T: fmt::Display, S: Serializer>(error: &T, to: S) -> Result<S::Ok, S::Error> {
    one(to, "error", &format_args!("{error:#}"))
}

pub(crate) fn rejection<T: fmt::Display, S: Serializer>(why: &T, to: S) -> Result<S::Ok, S::Error> {
    one(to, "rejection", &format_args!("{why}"))
}

fn one<S: Serializer>(to: S, key: &str, text: &fmt::Arguments<'_>) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(key, text)?;
    map.end()
}

#[derive(Serialize)]
struct Remark<'a> {
    path: &'a str,
    text: &'a str,
}

/// What there is to say of some paths.
pub(crate) fn remarks<T: AsRef<str>, S: Serializer>(
    remarks: &[(Arc<str>, T)],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(remarks.iter().map(|(path, text)| Remark {
        path,
        text: text.as_ref(),
    }))
}

#[derive(Serialize)]
struct Unit<'a> {
    #[serde(serialize_with = "text")]
    lun: Lun,
    state: &'a UnitState,
}

pub(crate) fn units<S: Serializer>(units: &[(Lun, UnitState)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(units.iter().map(|(lun, state)| Unit { lun: *lun, state }))
}

#[derive(Serialize)]
struct Slot {
    bind: u16,
    portal: u16,
    number: u16,
}

pub(crate) fn slot<S: Serializer>(slot: &SessionSlot, to: S) -> Result<S::Ok, S::Error> {
    let SessionSlot {
        bind,
        portal,
        number,
    } = *slot;
    let slot = Slot {
        bind,
        portal,
        number,
    };
    slot.serialize(to)
}

#[derive(Serialize)]
struct Info<'a> {
    generation: u64,
    size: u64,
    block_size: u32,
    physical_block_size: u32,
    request_alignment: u32,
    optimal_transfer: u32,
    max_transfer: u32,
    read_only: bool,
    write_cache: bool,
    fua: bool,
    provisioning: Tagged,
    unmap: bool,
    unmapped_reads_zeros: bool,
    rotation: Tagged,
    identity: Identity<'a>,
}

#[derive(Serialize)]
struct Identity<'a> {
    wwid: Option<&'a str>,
    serial: Option<&'a str>,
    vendor: &'a str,
    product: &'a str,
    revision: &'a str,
}

/// An enum of which some variant has a number.
#[derive(Serialize)]
struct Tagged {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u16>,
}

pub(crate) fn device_info<S: Serializer>(info: &Arc<DeviceInfo>, to: S) -> Result<S::Ok, S::Error> {
    let tagged = |kind, value| Tagged { kind, value };
    let identity = &info.identity;
    let info = Info {
        generation: info.generation.0,
        size: info.size,
        block_size: info.block_size,
        physical_block_size: info.physical_block_size,
        request_alignment: info.request_alignment,
        optimal_transfer: info.optimal_transfer,
        max_transfer: info.max_transfer,
        read_only: info.read_only,
        write_cache: info.write_cache,
        fua: info.fua,
        provisioning: match info.provisioning {
            ProvisioningType::NotReported => tagged("not_reported", None),
            ProvisioningType::Resource => tagged("resource", None),
            ProvisioningType::Thin => tagged("thin", None),
            ProvisioningType::Unknown(value) => tagged("unknown", Some(value.into())),
            _ => tagged("unknown", None),
        },
        unmap: info.unmap,
        unmapped_reads_zeros: info.unmapped_reads_zeros,
        rotation: match info.rotation {
            RotationRate::NotReported => tagged("not_reported", None),
            RotationRate::NonRotating => tagged("non_rotating", None),
            RotationRate::Rpm(value) => tagged("rpm", Some(value)),
            RotationRate::Unknown(value) => tagged("unknown", Some(value)),
            _ => tagged("unknown", None),
        },
        identity: Identity {
            wwid: identity.wwid.as_deref(),
            serial: identity.serial.as_deref(),
            vendor: &identity.vendor,
            product: &identity.product,
            revision: &identity.revision,
        },
    };
    info.serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Whole(#[serde(serialize_with = "device_info")] Arc<DeviceInfo>);

    /// The shape is a second list of the fields, since the first one is another crate's.
    #[test]
    fn every_field_of_a_device_info_is_there() {
        let info = DeviceInfo::new(1 << 20, 512);
        let debug = format!("{info:#?}");
        let fields = debug.lines().filter_map(|line| {
            let (name, _) = line.split_once(": ")?;
            Some(name.trim().to_owned())
        });
        let json = serde_json::to_value(Whole(Arc::new(info))).unwrap();
        let mut count = 0;
        for field in fields {
            let found = json.get(&field).or_else(|| json["identity"].get(&field));
            assert!(found.is_some(), "{field} is missing in {json}");
            count += 1;
        }
        assert_eq!(count, 20, "{debug}");
    }
}
