//! What an answer says about its unit.

use iscsi_proto::scsi::AdditionalSenseCode;

/// What the answer says about the unit, besides the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The capacity may be another one.
    pub(crate) capacity: bool,
    /// The LUN may lead to another logical unit now.
    pub(crate) identity: bool,
}

/// What a unit attention says about the unit.
pub(crate) const fn attention_notice(code: AdditionalSenseCode) -> Notice {
    let (capacity, identity) = match (code.0, code.1) {
        // Power on, reset, nexus loss: who knows what is behind this LUN now. The same after the
        // list of LUNs, the names or the firmware changed.
        (0x29, _) | (0x3f, 0x01 | 0x03 | 0x05 | 0x0e) => (true, true),
        // Another medium, another capacity, other mode parameters.
        (0x28, _) | (0x2a, 0x01 | 0x09) => (true, false),
        _ => (false, false),
    };
    Notice { capacity, identity }
}
