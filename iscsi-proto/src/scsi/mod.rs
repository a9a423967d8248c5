//! The SCSI structures that iSCSI carries (SAM-5, SPC-4, SBC-3), parsed and emitted.
//!
//! The parsers are tolerant of devices and strict with lengths: what a device says about a length is
//! never believed beyond the bytes that came, and a structure that was cut short says so.

pub mod lun;
pub mod status;

pub use lun::Lun;
pub use status::ScsiStatus;
