//! What the data of a command is for, and what is done with it once all of it is there.

use super::{End, Sense, unmap};
use crate::target::{core::Nexus, lun::LogicalUnit, medium::Medium, medium::NoSpace};

/// What the data that comes with a command is for. Positions and counts are in blocks of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::target) enum Purpose {
    /// WRITE, WRITE AND VERIFY: whole blocks.
    Write {
        block: u64,
        block_size: u32,
        fua: bool,
    },
    /// VERIFY with BYTCHK 01b (a block each) or 11b (one for all).
    Verify { block: u64, count: u64 },
    /// ORWRITE.
    Or { block: u64 },
    /// COMPARE AND WRITE: as many blocks to compare with as to write.
    CompareAndWrite { block: u64 },
    /// WRITE SAME: one block, for all.
    Same { block: u64, count: u64, unmap: bool },
    /// UNMAP: a parameter list.
    Unmap,
    /// SET TARGET PORT GROUPS: a parameter list, which concerns the target and not the unit.
    PortGroups,
    /// PERSISTENT RESERVE OUT: a parameter list, for a service action with its SCOPE and TYPE.
    Reserve { action: u8, scope_type: u8 },
}

impl Purpose {
    /// How many of the `expected` bytes that the initiator announced are used, by a command whose CDB
    /// asks for `length`; `None` where that cannot be reconciled, and nothing is done.
    ///
    /// A write of fewer bytes writes those, if they are blocks; the residual tells of the others.
    pub(in crate::target) const fn usable(self, length: u32, expected: u32) -> Option<u32> {
        match self {
            Self::Write { block_size, .. } if expected < length => {
                if expected % block_size == 0 {
                    Some(expected)
                } else {
                    None
                }
            }
            // Their data has one meaning only as a whole.
            Self::Same { .. } | Self::CompareAndWrite { .. } if expected != length => None,
            _ if expected < length => None,
            _ => Some(length),
        }
    }

    /// Whether it concerns the medium, and nothing else.
    pub(in crate::target) const fn is_of_medium(self) -> bool {
        !matches!(self, Self::PortGroups | Self::Reserve { .. })
    }

    /// Does it for `nexus`; `None` if its tasks were ended since `generation`.
    pub(in crate::target) fn carry_out(
        self,
        unit: &LogicalUnit,
        data: &[u8],
        (nexus, generation): (&Nexus, u32),
    ) -> Option<End> {
        let size = unit.config.block_size as usize;
        let apply = |medium: &mut Medium| self.apply(unit, medium, data, size);
        let done = unit.change((nexus, generation), apply)?;
        Some(match done {
            Ok(()) => End::Good,
            Err(sense) => End::Check(sense),
        })
    }

    fn apply(
        self,
        unit: &LogicalUnit,
        medium: &mut Medium,
        data: &[u8],
        size: usize,
    ) -> Result<(), Sense> {
        match self {
            Self::Write { block, fua, .. } => {
                medium.write(block, data)?;
                if fua {
                    medium.make_blocks_durable(block..block + (data.len() / size) as u64);
                }
            }
            Self::Verify { block, count } => {
                compare(medium, size, block, data.chunks_exact(size).cycle(), count)?;
            }
            Self::Or { block } => {
                let mut old = vec![0; data.len()];
                medium.read(block * size as u64, &mut old);
                for (old, new) in old.iter_mut().zip(data) {
                    *old |= new;
                }
                medium.write(block, &old)?;
            }
            Self::CompareAndWrite { block } => {
                let (expected, new) = data.split_at(data.len() / 2);
                let count = (expected.len() / size) as u64;
                compare(medium, size, block, expected.chunks_exact(size), count)?;
                medium.write(block, new)?;
            }
            Self::Same {
                block,
                count,
                unmap,
            } => {
                // Anything but zeros cannot be had by deallocating (SBC-3 section 4.7.3.4.3).
                let zeros = data.iter().all(|byte| *byte == 0);
                let deallocated = unmap && zeros && medium.deallocate(block, count);
                if !deallocated {
                    medium.write_same(block, count, data)?;
                }
            }
            Self::Unmap => unmap::apply(unit, medium, data)?,
            // Carried out by the target; nothing of it is for a medium.
            Self::PortGroups | Self::Reserve { .. } => {}
        }
        Ok(())
    }
}

impl From<NoSpace> for Sense {
    fn from(_: NoSpace) -> Self {
        Self::SPACE_ALLOCATION_FAILED
    }
}

fn compare<'a>(
    medium: &Medium,
    size: usize,
    block: u64,
    expected: impl Iterator<Item = &'a [u8]>,
    count: u64,
) -> Result<(), Sense> {
    let mut found = vec![0; size];
    for (block, expected) in (block..block + count).zip(expected) {
        medium.read(block * size as u64, &mut found);
        if found != expected {
            return Err(Sense::MISCOMPARE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_uses_what_it_can_of_what_is_announced() {
        let write = Purpose::Write {
            block: 0,
            block_size: 512,
            fua: false,
        };
        for (length, expected, usable) in [
            (1024, 1024, Some(1024)),
            (1024, 9999, Some(1024)),
            (1024, 512, Some(512)),
            (1024, 0, Some(0)),
            (512, 200, None),
        ] {
            assert_eq!(
                write.usable(length, expected),
                usable,
                "{length} {expected}"
            );
        }
        let same = Purpose::Same {
            block: 0,
            count: 9,
            unmap: false,
        };
        assert_eq!(same.usable(512, 512), Some(512));
        assert_eq!(same.usable(512, 1024), None);
        assert_eq!(Purpose::Unmap.usable(24, 8), None);
        assert_eq!(Purpose::Unmap.usable(24, 100), Some(24));
    }
}
