//! REPORT SUPPORTED OPERATION CODES (SPC-4 section 6.35), and the list that it reports.

use super::{Action, Sense, be16, be32, data};
use crate::target::lun::LogicalUnit;

/// A command: its service action, if it has some, and CDB USAGE DATA, which is as long as the CDB and
/// begins with the operation code.
struct Command {
    action: Option<u16>,
    usage: &'static [u8],
}

const fn plain(usage: &'static [u8]) -> Command {
    let action = None;
    Command { action, usage }
}

const fn with_action(action: u16, usage: &'static [u8]) -> Command {
    let action = Some(action);
    Command { action, usage }
}

const ALL: u8 = 0xff;

/// Usage of a command of ten, twelve or sixteen bytes on a range of blocks.
macro_rules! blocks {
    (10, $opcode:literal, $flags:literal) => {
        plain(&[$opcode, $flags, ALL, ALL, ALL, ALL, 0, ALL, ALL, 0])
    };
    (12, $opcode:literal, $flags:literal) => {
        plain(&[
            $opcode, $flags, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, 0, 0,
        ])
    };
    (16, $opcode:literal, $flags:literal) => {
        plain(&[
            $opcode, $flags, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, 0, 0,
        ])
    };
}

/// A service action of PERSISTENT RESERVE OUT.
macro_rules! reserve_out {
    ($action:literal) => {
        with_action($action, &[0x5f, 0x1f, ALL, 0, 0, ALL, ALL, ALL, ALL, 0])
    };
}

/// A service action of PERSISTENT RESERVE IN.
macro_rules! reserve_in {
    ($action:literal) => {
        with_action($action, &[0x5e, 0x1f, 0, 0, 0, 0, 0, ALL, ALL, 0])
    };
}

const COMMANDS: &[Command] = &[
    plain(&[0x00, 0, 0, 0, 0, 0]),
    plain(&[0x03, 0x01, 0, 0, ALL, 0]),
    plain(&[0x08, 0x1f, ALL, ALL, ALL, 0]),
    plain(&[0x0a, 0x1f, ALL, ALL, ALL, 0]),
    plain(&[0x12, 0x01, ALL, ALL, ALL, 0]),
    plain(&[0x1a, 0x08, ALL, ALL, ALL, 0]),
    plain(&[0x1b, 0, 0, 0, 0x02, 0]),
    plain(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    blocks!(10, 0x28, 0xf8),
    blocks!(10, 0x2a, 0xf8),
    blocks!(10, 0x2e, 0xf6),
    blocks!(10, 0x2f, 0xf6),
    blocks!(10, 0x34, 0x00),
    blocks!(10, 0x35, 0x00),
    plain(&[0x37, 0, 0x1f, 0, 0, 0, 0, ALL, ALL, 0]),
    blocks!(10, 0x41, 0xff),
    plain(&[0x42, 0x01, 0, 0, 0, 0, 0, ALL, ALL, 0]),
    plain(&[0x5a, 0x18, ALL, ALL, 0, 0, 0, ALL, ALL, 0]),
    reserve_in!(0x00),
    reserve_in!(0x01),
    reserve_in!(0x02),
    reserve_in!(0x03),
    reserve_out!(0x00),
    reserve_out!(0x01),
    reserve_out!(0x02),
    reserve_out!(0x03),
    reserve_out!(0x04),
    reserve_out!(0x05),
    reserve_out!(0x06),
    blocks!(16, 0x88, 0xf8),
    plain(&[
        0x89, 0xf8, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, 0, 0, 0, ALL, 0, 0,
    ]),
    blocks!(16, 0x8a, 0xf8),
    blocks!(16, 0x8b, 0xf8),
    blocks!(16, 0x8e, 0xf6),
    blocks!(16, 0x8f, 0xf6),
    blocks!(16, 0x90, 0x00),
    blocks!(16, 0x91, 0x00),
    blocks!(16, 0x93, 0xff),
    with_action(
        0x10,
        &[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, ALL, ALL, ALL, ALL, 0, 0],
    ),
    with_action(
        0x12,
        &[
            0x9e, 0x1f, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, 0, 0,
        ],
    ),
    plain(&[0xa0, 0, ALL, 0, 0, 0, ALL, ALL, ALL, ALL, 0, 0]),
    with_action(0x0a, &[0xa3, ALL, 0, 0, 0, 0, ALL, ALL, ALL, ALL, 0, 0]),
    with_action(
        0x0c,
        &[0xa3, 0x1f, 0x87, ALL, ALL, ALL, ALL, ALL, ALL, ALL, 0, 0],
    ),
    with_action(0x0a, &[0xa4, 0x1f, 0, 0, 0, 0, ALL, ALL, ALL, ALL, 0, 0]),
    blocks!(12, 0xa8, 0xf8),
    blocks!(12, 0xaa, 0xf8),
    blocks!(12, 0xae, 0xf6),
    blocks!(12, 0xaf, 0xf6),
    plain(&[0xb7, 0x1f, 0, 0, 0, 0, ALL, ALL, ALL, ALL, 0, 0]),
];

/// Commands that are there only where the target or the unit is made for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) thin: bool,
    pub(super) report_groups: bool,
    pub(super) set_groups: bool,
    /// Whether DPO and FUA mean something.
    pub(super) fua: bool,
}

fn supported(options: Options) -> impl Iterator<Item = &'static Command> {
    COMMANDS
        .iter()
        .filter(move |command| match command.usage[0] {
            0x42 => options.thin,
            0xa3 if command.action == Some(0x0a) => options.report_groups,
            0xa4 => options.set_groups,
            _ => true,
        })
}

/// No command has a timeout worth naming: lengths and zeros.
const TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn report(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    (report_groups, set_groups): (bool, bool),
) -> Result<Action, Sense> {
    let options = Options {
        thin: lun.config.thin,
        report_groups,
        set_groups,
        fua: lun.config.fua,
    };
    let with_timeouts = cdb[2] & 0x80 != 0;
    let (opcode, action) = (cdb[3], be16(cdb, 4) as u16);
    let of_opcode = |command: &&Command| command.usage[0] == opcode;
    let has_actions = supported(options).any(|c| of_opcode(&c) && c.action.is_some());
    let is_known = supported(options).any(|c| of_opcode(&c));
    let found = supported(options)
        .filter(of_opcode)
        .find(|command| command.action.is_none_or(|own| own == action));
    let bytes = match cdb[2] & 0x07 {
        0 => all(options, with_timeouts),
        // A command with service actions has to be asked for with one, another without.
        1 if has_actions => return Err(Sense::INVALID_FIELD),
        2 if is_known && !has_actions => return Err(Sense::INVALID_FIELD),
        1 | 2 => one(found, options, with_timeouts),
        3 => one(
            found.filter(|c| c.action.is_some() || action == 0),
            options,
            with_timeouts,
        ),
        _ => return Err(Sense::INVALID_FIELD),
    };
    Ok(data(bytes, be32(cdb, 6)))
}

fn all(options: Options, with_timeouts: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for command in supported(options) {
        let flags = u8::from(with_timeouts) << 1 | u8::from(command.action.is_some());
        bytes.extend([command.usage[0], 0]);
        bytes.extend(command.action.unwrap_or(0).to_be_bytes());
        bytes.extend([0, flags]);
        bytes.extend((command.usage.len() as u16).to_be_bytes());
        if with_timeouts {
            bytes.extend(TIMEOUTS);
        }
    }
    let length = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn one(command: Option<&Command>, options: Options, with_timeouts: bool) -> Vec<u8> {
    let Some(command) = command else {
        // Not supported.
        return vec![0, 0x01, 0, 0];
    };
    // Supported as a standard says.
    let mut bytes = vec![0, u8::from(with_timeouts) << 7 | 0x03];
    bytes.extend((command.usage.len() as u16).to_be_bytes());
    bytes.extend(command.usage);
    // Of the flags that start like this, DPO and FUA are the lower ones.
    if !options.fua && command.usage[1] & 0xf0 == 0xf0 && command.usage[1] != ALL {
        bytes[5] &= !0x18;
    }
    if let Some(action) = command.action {
        // Here the map holds the service action itself.
        let at = bytes.len() - command.usage.len() + 1;
        bytes[at] = bytes[at] & 0xe0 | action as u8;
    }
    if with_timeouts {
        bytes.extend(TIMEOUTS);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{
        AluaConfig, LunConfig,
        scsi::{Inventory, alua::Alua, decode},
    };

    /// What is reported is what the decoder knows, for every operation code and service action.
    #[test]
    fn the_list_is_what_the_decoder_takes() {
        let lun = LogicalUnit::new(LunConfig::new(0, 1 << 20).with_thin_provisioning());
        let alua = AluaConfig {
            explicit: true,
            ..AluaConfig::default()
        };
        let alua = Alua::new(Some(&alua), &[]);
        let inventory = Inventory {
            luns: &[],
            max_transfer_length: 1 << 20,
            alua: &alua,
            name: "iqn.2026-01.example:disk",
            port: 1,
            group: 1,
        };
        let options = Options {
            thin: true,
            report_groups: true,
            set_groups: true,
            fua: true,
        };
        for opcode in 0..=u8::MAX {
            let with_actions = matches!(opcode, 0x5e | 0x5f | 0x9e | 0xa3 | 0xa4);
            for action in 0..if with_actions { 0x20 } else { 1 } {
                let mut cdb = [0; 16];
                (cdb[0], cdb[1]) = (opcode, action);
                let refused = match decode(&cdb, Some(&lun), inventory) {
                    Action::Fail(sense) if with_actions => {
                        sense == Sense::INVALID_OPCODE || sense == Sense::INVALID_FIELD
                    }
                    Action::Fail(sense) => sense == Sense::INVALID_OPCODE,
                    _ => false,
                };
                let action = with_actions.then_some(u16::from(action));
                let listed = supported(options)
                    .any(|command| command.usage[0] == opcode && command.action == action);
                assert_eq!(listed, !refused, "{opcode:#x} {action:?}");
            }
        }
    }
}
