//! Deallocating blocks, and asking which are: UNMAP, GET LBA STATUS (SBC-3).

use super::{Action, Purpose, Sense, be16, be32, be64, data, medium::Place};
use crate::target::{lun::LogicalUnit, medium::Medium};

/// The most blocks of an UNMAP, in all its descriptors (VPD B0).
pub(super) const MAX_BLOCKS: u32 = 1 << 20;
/// The most descriptors of an UNMAP (VPD B0).
pub(super) const MAX_DESCRIPTORS: u32 = 256;

const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

pub(super) fn unmap(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Action, Sense> {
    if !lun.config.thin {
        return Err(Sense::INVALID_OPCODE);
    }
    // ANCHOR: nothing is ever anchored here.
    if cdb[1] & 1 != 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let length = be16(cdb, 7);
    if lun.config.read_only {
        return Err(Sense::WRITE_PROTECTED);
    }
    match length as usize {
        0 => Ok(Action::Good),
        1..HEADER => Err(Sense::PARAMETER_LIST_LENGTH),
        _ => Ok(Action::Take(length, Purpose::Unmap)),
    }
}

/// Carries out a parameter list, all of it or nothing.
pub(super) fn apply(lun: &LogicalUnit, medium: &mut Medium, list: &[u8]) -> Result<(), Sense> {
    let length = list
        .get(2..4)
        .map_or(0, |l| usize::from(u16::from_be_bytes([l[0], l[1]])));
    let descriptors = list.get(HEADER..).unwrap_or_default();
    let descriptors = descriptors[..length.min(descriptors.len())].chunks_exact(DESCRIPTOR);
    if descriptors.len() > MAX_DESCRIPTORS as usize {
        return Err(Sense::INVALID_FIELD_IN_LIST);
    }
    let mut places = Vec::with_capacity(descriptors.len());
    let mut blocks = 0;
    for descriptor in descriptors {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(descriptor);
        let place = Place::on(lun, be64(&bytes, 0), be32(&bytes, 8))?;
        blocks += u64::from(place.count);
        places.push(place);
    }
    if blocks > MAX_BLOCKS.into() {
        return Err(Sense::INVALID_FIELD_IN_LIST);
    }
    for place in places.iter().filter(|place| place.count > 0) {
        // A request, not an order: where it would cost too much, the blocks stay as they are.
        let _left_mapped = medium.deallocate(place.block, place.count.into());
    }
    Ok(())
}

/// GET LBA STATUS: descriptors from the starting block to the end of the unit, or to the end of the
/// allocation length.
pub(super) fn get_lba_status(cdb: &[u8; 16], lun: &LogicalUnit) -> Result<Action, Sense> {
    let allocation_length = be32(cdb, 10);
    let mut block = be64(cdb, 2);
    if block >= lun.blocks() {
        return Err(Sense::LBA_OUT_OF_RANGE);
    }
    let mut bytes = vec![0; HEADER];
    // More than this is not worth the memory: the initiator asks again from where the answer ends.
    let room = (allocation_length as usize).min(64 * 1024);
    lun.look(|medium| {
        while block < lun.blocks() && bytes.len() + DESCRIPTOR <= room {
            let (deallocated, next) = medium.provisioning(block);
            let next = next.unwrap_or(u64::MAX).min(lun.blocks());
            let count = u32::try_from(next - block).unwrap_or(u32::MAX);
            bytes.extend(block.to_be_bytes());
            bytes.extend(count.to_be_bytes());
            bytes.extend([u8::from(deallocated), 0, 0, 0]);
            block += u64::from(count);
        }
    });
    // PARAMETER DATA LENGTH counts what follows itself.
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(data(bytes, allocation_length))
}
