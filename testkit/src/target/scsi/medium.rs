//! Commands that move or flush blocks of the medium.

use super::{Action, Inventory, Sense};
use crate::target::lun::LogicalUnit;

pub(super) fn medium(
    write: bool,
    lun: &LogicalUnit,
    lba: u64,
    blocks: u32,
    inventory: Inventory<'_>,
) -> Action {
    let size = u64::from(lun.config.block_size);
    if lba
        .checked_add(blocks.into())
        .is_none_or(|end| end > lun.blocks())
    {
        return Action::Fail(Sense::LBA_OUT_OF_RANGE);
    }
    let len = u64::from(blocks) * size;
    if len > inventory.max_transfer_length.into() {
        return Action::Fail(Sense::INVALID_FIELD);
    }
    match (write, blocks) {
        (true, _) if lun.config.read_only => Action::Fail(Sense::WRITE_PROTECTED),
        (_, 0) => Action::Good,
        (true, _) => Action::Write(lba * size, len as u32),
        (false, _) => Action::Read(lba * size, len as u32),
    }
}

pub(super) fn synchronize(lun: &LogicalUnit, lba: u64, blocks: u32) -> Action {
    if lba
        .checked_add(blocks.into())
        .is_none_or(|end| end > lun.blocks())
    {
        return Action::Fail(Sense::LBA_OUT_OF_RANGE);
    }
    Action::Good
}
