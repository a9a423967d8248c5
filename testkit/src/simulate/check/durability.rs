//! Flushes and power losses (I14).
//!
//! The model is a unit with one volatile cache: an acknowledged write is in it, a flush that was
//! asked for later and acknowledged has put it onto the medium, and a power loss may lose any part of
//! the rest, block by block. A flush answers for what was acknowledged since the last power loss;
//! what that had lost before, no flush can bring back.
//!
//! A power loss cuts a block's history into periods. Within one the block is a register. At its
//! start it holds *one* value, the survivor: something that was written or being written before, and
//! not older than any write that a flush had covered. Since the block is not watched while it loses
//! power, the survivor is found by what is read later; nothing is demanded of a block that nobody
//! reads before it is written again.
//!
//! A write that was under way during a power loss may have happened before it and be lost, or happen
//! after it, so it need not be seen in any period. A read that was under way may have seen either
//! period; of it only the value's existence is checked.

use super::{
    access::{Access, BEFORE, Certainty, Conflict, Role},
    stamp::Stamp,
    zones,
};

/// An acknowledged flush: the orders of its invocation and its end.
pub(super) type Flush = (u64, u64);

/// Judges the accesses to one block, sorted by stamp, of a unit that lost power at `losses`, in
/// order.
pub(super) fn judge(
    accesses: &[Access],
    losses: &[u64],
    flushes: &[Flush],
) -> Result<(), Conflict> {
    let mut survivors = vec![Stamp::INITIAL];
    let starts = std::iter::once(BEFORE).chain(losses.iter().copied());
    let ends = losses.iter().copied().chain([u64::MAX]);
    for period in starts.zip(ends).map(|(start, end)| Period { start, end }) {
        let survivor = period.survivor(accesses)?;
        if let Some(survivor) = survivor {
            if !survivors.contains(&survivor) {
                return Err(Conflict::Unflushed { survivor });
            }
            survivors = vec![survivor];
        }
        let initial = if period.start == BEFORE {
            Some(Stamp::INITIAL)
        } else {
            survivor
        };
        zones::judge(initial, &period.accesses(accesses, initial))?;
        period.keep(&mut survivors, accesses, flushes);
    }
    straddling_reads_saw_something(accesses, losses)
}

/// The time between two power losses.
#[derive(Clone, Copy)]
struct Period {
    start: u64,
    end: u64,
}

impl Period {
    fn holds(self, access: &Access) -> bool {
        self.start < access.invoked && access.responded < self.end
    }

    /// The value of an earlier period that was read in this one.
    fn survivor(self, accesses: &[Access]) -> Result<Option<Stamp>, Conflict> {
        let mut found: Option<Stamp> = None;
        if self.start == BEFORE {
            return Ok(found);
        }
        for of_one in accesses.chunk_by(|a, b| a.stamp == b.stamp) {
            let stamp = of_one[0].stamp;
            let is_old = of_one
                .iter()
                .find(|access| !access.is_read())
                .map_or(stamp == Stamp::INITIAL, |w| w.responded < self.start);
            let is_read = of_one.iter().any(|a| a.is_read() && self.holds(a));
            if is_old && is_read {
                if let Some(first) = found.replace(stamp) {
                    return Err(Conflict::TwoSurvivors {
                        first,
                        second: stamp,
                    });
                }
            }
        }
        Ok(found)
    }

    /// What happened, or may have, in this period.
    fn accesses(self, accesses: &[Access], initial: Option<Stamp>) -> Vec<Access> {
        let within = |access: &Access| match access.role {
            Role::Read => self.holds(access).then_some(*access),
            // The survivor's write is done with.
            Role::Write(_) if initial == Some(access.stamp) => None,
            Role::Write(_) if access.responded < self.start || access.invoked > self.end => None,
            Role::Write(_) if self.holds(access) => Some(*access),
            Role::Write(certainty) => Some(Access {
                role: Role::Write(if certainty == Certainty::Never {
                    certainty
                } else {
                    Certainty::Maybe
                }),
                invoked: access.invoked.max(self.start),
                responded: access.responded.min(self.end),
                ..*access
            }),
        };
        accesses.iter().filter_map(within).collect()
    }

    /// What may survive the end of this period.
    fn keep(self, survivors: &mut Vec<Stamp>, accesses: &[Access], flushes: &[Flush]) {
        let covered = |write: &Access| {
            write.role == Role::Write(Certainty::Did)
                && self.holds(write)
                && flushes
                    .iter()
                    .any(|&(invoked, ended)| write.responded < invoked && ended < self.end)
        };
        let durable: Vec<&Access> = accesses.iter().filter(|a| covered(a)).collect();
        let is_older = |write: &Access| durable.iter().any(|d| write.responded < d.invoked);
        if !durable.is_empty() {
            survivors.clear();
        }
        let candidates = accesses.iter().filter(|access| {
            !access.is_read()
                && access.invoked < self.end
                && self.start < access.responded
                && !is_older(access)
        });
        survivors.extend(candidates.map(|write| write.stamp));
    }
}

/// The reads that the periods left out.
fn straddling_reads_saw_something(accesses: &[Access], losses: &[u64]) -> Result<(), Conflict> {
    for of_one in accesses.chunk_by(|a, b| a.stamp == b.stamp) {
        let stamp = of_one[0].stamp;
        let write = of_one.iter().find(|access| !access.is_read());
        for read in of_one.iter().filter(|access| access.is_read()) {
            if !losses
                .iter()
                .any(|&loss| read.invoked < loss && loss < read.responded)
            {
                continue;
            }
            match write {
                None if stamp == Stamp::INITIAL => {}
                None => {
                    return Err(Conflict::Nowhere {
                        read: read.op,
                        stamp,
                    });
                }
                Some(write) if write.role == Role::Write(Certainty::Never) => {
                    return Err(Conflict::NotExecuted {
                        read: read.op,
                        write: write.op,
                    });
                }
                Some(write) if read.responded < write.invoked => {
                    return Err(Conflict::Early {
                        read: read.op,
                        write: write.op,
                    });
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}
