//! Commands that move, compare or flush blocks of the medium (SBC-3).

use super::{Action, Inventory, Purpose, Sense, be16, be32, be64};
use crate::target::lun::LogicalUnit;

/// The most blocks of a COMPARE AND WRITE (VPD B0).
pub(super) const MAX_COMPARE_BLOCKS: u8 = 128;
/// The most blocks of a WRITE SAME (VPD B0).
pub(super) const MAX_SAME_BLOCKS: u32 = 65_535;

/// A range of blocks that lies on the unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) count: u32,
}

impl Place {
    /// Reads the range out of a CDB of any length, by its group code.
    fn read(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Self, Sense> {
        let (block, count) = match cdb[0] >> 5 {
            0 => (
                (be32(cdb, 0) & 0x1f_ffff).into(),
                // The only size at which 0 means something.
                if cdb[4] == 0 { 256 } else { cdb[4].into() },
            ),
            5 => (be32(cdb, 2).into(), be32(cdb, 6)),
            4 => (be64(cdb, 2), be32(cdb, 10)),
            _ => (be32(cdb, 2).into(), be16(cdb, 7)),
        };
        Self::on(lun, block, count)
    }

    pub(super) fn on(lun: &LogicalUnit, block: u64, count: u32) -> Result<Self, Sense> {
        if block
            .checked_add(count.into())
            .is_none_or(|end| end > lun.blocks())
        {
            return Err(Sense::LBA_OUT_OF_RANGE);
        }
        Ok(Self { block, count })
    }

    /// Bytes, if a transfer may be that long.
    fn transfer(self, lun: &LogicalUnit, inventory: Inventory<'_>) -> Result<u32, Sense> {
        let len = u64::from(self.count) * u64::from(lun.config.block_size);
        u32::try_from(len)
            .ok()
            .filter(|len| *len <= inventory.max_transfer_length)
            .ok_or(Sense::INVALID_FIELD)
    }
}

/// RDPROTECT, WRPROTECT, VRPROTECT or ORPROTECT, which is for protection information.
const PROTECT: u8 = 0xe0;
/// DPO and FUA, which are for units that set DPOFUA in MODE SENSE. Where a command has no FUA, its bit
/// is reserved.
const DPO_FUA: u8 = 0x18;

/// The checks that every command on blocks has in common. The six-byte commands have no flags.
fn place(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Place, Sense> {
    let refused = if lun.config.fua {
        PROTECT
    } else {
        PROTECT | DPO_FUA
    };
    if cdb[0] >> 5 != 0 && cdb[1] & refused != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    Place::read(cdb, lun)
}

fn writable(lun: &LogicalUnit) -> Result<(), Sense> {
    if lun.config.read_only {
        Err(Sense::WRITE_PROTECTED)
    } else {
        Ok(())
    }
}

pub(super) fn read(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    let place = place(cdb, lun)?;
    let len = place.transfer(lun, inventory)?;
    let at = place.block * u64::from(lun.config.block_size);
    Ok(if len == 0 {
        Action::Good
    } else {
        Action::Read(at, len)
    })
}

/// WRITE, and WRITE AND VERIFY: what was written to memory needs no second look.
pub(super) fn write(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    let is_and_verify = matches!(cdb[0], 0x2e | 0xae | 0x8e);
    if is_and_verify && cdb[1] & 0x06 > 0x02 {
        // BYTCHK 10b and 11b.
        return Err(Sense::INVALID_FIELD);
    }
    let place = place(cdb, lun)?;
    let len = place.transfer(lun, inventory)?;
    writable(lun)?;
    let block_size = lun.config.block_size;
    let block = place.block;
    // WRITE(6) has no flags, and WRITE AND VERIFY is on the medium when it ends.
    let fua = is_and_verify || (cdb[0] >> 5 != 0 && cdb[1] & 0x08 != 0);
    let purpose = Purpose::Write {
        block,
        block_size,
        fua,
    };
    Ok(take(len, purpose))
}

fn take(len: u32, purpose: Purpose) -> Action {
    if len == 0 {
        Action::Good
    } else {
        Action::Take(len, purpose)
    }
}

pub(super) fn verify(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    let place = place(cdb, lun)?;
    let (block, count) = (place.block, u64::from(place.count));
    let verify = Purpose::Verify { block, count };
    match cdb[1] >> 1 & 3 {
        // The medium is never bad.
        0 => Ok(Action::Good),
        1 => Ok(take(place.transfer(lun, inventory)?, verify)),
        3 if count > 0 => Ok(take(lun.config.block_size, verify)),
        3 => Ok(Action::Good),
        _ => Err(Sense::INVALID_FIELD),
    }
}

pub(super) fn or_write(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    let place = place(cdb, lun)?;
    let len = place.transfer(lun, inventory)?;
    writable(lun)?;
    let block = place.block;
    Ok(take(len, Purpose::Or { block }))
}

pub(super) fn compare_and_write(
    cdb: &[u8; 16],
    lun: &LogicalUnit,
    inventory: Inventory<'_>,
) -> Result<Action, Sense> {
    if cdb[13] > MAX_COMPARE_BLOCKS {
        return Err(Sense::INVALID_FIELD);
    }
    // The flags, and the same block; the number of blocks is elsewhere in this command.
    let mut same = *cdb;
    same[10..14].fill(0);
    let block = place(&same, lun)?.block;
    let mut place = Place::on(lun, block, cdb[13].into())?;
    writable(lun)?;
    place.count *= 2;
    let len = place.transfer(lun, inventory)?;
    Ok(take(len, Purpose::CompareAndWrite { block }))
}

/// WRITE SAME, both sizes. A number of blocks of 0 is refused (WSNZ), and so are ANCHOR, since nothing
/// is ever anchored here, the obsolete PBDATA and LBDATA, and NDOB, which is an option.
pub(super) fn write_same(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Action, Sense> {
    let unmap = cdb[1] & 0x08 != 0;
    if cdb[1] & PROTECT != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let place = Place::read(cdb, lun)?;
    if cdb[1] & 0x17 != 0 || (unmap && !lun.config.thin) {
        return Err(Sense::INVALID_FIELD);
    }
    if place.count == 0 || place.count > MAX_SAME_BLOCKS {
        return Err(Sense::INVALID_FIELD);
    }
    writable(lun)?;
    let same = Purpose::Same {
        block: place.block,
        count: place.count.into(),
        unmap,
    };
    Ok(Action::Take(lun.config.block_size, same))
}

/// PRE-FETCH and SYNCHRONIZE CACHE, which may always do more than was asked for.
pub(super) fn cache(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Action, Sense> {
    Place::read(cdb, lun)?;
    if matches!(cdb[0], 0x35 | 0x91) {
        lun.make_durable();
    }
    Ok(Action::Good)
}
