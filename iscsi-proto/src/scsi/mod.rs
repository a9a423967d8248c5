//! The SCSI structures that iSCSI carries (SAM-5, SPC-4, SBC-3), parsed and emitted.
//!
//! The parsers are tolerant of devices and strict with lengths: what a device says about a length is
//! never believed beyond the bytes that came, and a structure that was cut short says so.

pub mod capacity;
pub mod cdb;
mod field;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
mod fuzz;
pub mod inquiry;
pub mod lun;
pub mod mode_sense;
pub mod persistent_reserve;
pub mod report_luns;
pub mod sense;
pub mod sense_code;
pub mod status;
pub mod target_port_groups;
pub mod vpd;

pub use capacity::{Capacity, ReadCapacity10, ReadCapacity16};
pub use cdb::{Cdb, Command};
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use fuzz::fuzz_all;
pub use inquiry::StandardInquiry;
pub use lun::Lun;
pub use mode_sense::{ControlMode, DiskModes};
pub use persistent_reserve::{
    CurrentReservation, FullStatus, PersistentReserveOut, Registration, ReservationCapabilities,
    ReservationKey, ReservationKeys, ReservationType, ReserveAction, ReserveReport, TransportId,
};
pub use report_luns::ReportLuns;
pub use sense::{SenseData, SenseKey};
pub use sense_code::AdditionalSenseCode;
pub use status::ScsiStatus;
pub use target_port_groups::{AccessState, SetTargetPortGroups, TargetPortGroup, TargetPortGroups};
pub use vpd::LogicalUnitIdentity;
