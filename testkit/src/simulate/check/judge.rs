//! From a history to a verdict: every block by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    access::{AFTER, Access, BEFORE, Certainty, Conflict, Role},
    account,
    durability::{self, Flush},
    history::{End, ExecutionKnowledge, History, Kind, OpId, Record},
    stamp::Stamp,
    violation::{Row, Violation},
    zones,
};

/// What a write of unknown outcome may still do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ghosts {
    /// Happen at any later time, unless it was [proven dead](History::proven_dead). True of a device
    /// that has no means to fence.
    #[default]
    MayLandAnyTime,
    /// Happen at any later time, and again: each attempt by itself. True of a device that repeats a
    /// write after a proof, and gives up for want of another.
    MayLandAgain,
    /// Happen until a later write to the block through the same device is acknowledged: what a device
    /// promises that holds such writes back until the ghost is dead (I16). Later means asked for
    /// after the client was told `Unknown`, dropped the write, or died.
    DeadByNextAck,
}

/// What is promised, as far as it depends on the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What writes of unknown outcome may do.
    pub ghosts: Ghosts,
}

/// What a history without a violation consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests.
    pub operations: usize,
    /// Requests of which an end was checked: acknowledged writes and flushes, and answered reads.
    pub checked: usize,
    /// Blocks that somebody read or wrote.
    pub blocks: usize,
    /// Blocks, times how often each was read.
    pub block_reads: usize,
    /// Blocks, times how often each was written, known or not.
    pub block_writes: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
}

/// One access, and where.
struct Placed {
    unit: u16,
    block: u64,
    access: Access,
}

/// Checks I1 to I4, I14 and I16 as far as callers can see them.
///
/// Time is `n log n` in the number of blocks that the requests have in all.
///
/// # Errors
///
/// The first violation, with an account of what led to it.
///
/// # Panics
///
/// If two writes to one block have the same stamp: then no verdict is possible.
pub fn check(history: &History, rules: Rules) -> Result<Summary, Violation> {
    if let Some(&(id, second)) = history.second_ends.first() {
        return Err(account::second_end(history, id, second));
    }
    let mut summary = Summary {
        operations: history.len(),
        ..Summary::default()
    };
    let mut placed = Vec::with_capacity(2 * history.len());
    for (op, record) in (0..).zip(&history.records) {
        place(history, OpId(op), record, &mut placed, &mut summary)?;
    }
    placed.sort_unstable_by_key(|p| (p.unit, p.block, p.access.stamp, p.access.op));
    let mut units = BTreeMap::new();
    let mut accesses = Vec::new();
    for of_block in placed.chunk_by(|a, b| (a.unit, a.block) == (b.unit, b.block)) {
        let Placed { unit, block, .. } = of_block[0];
        accesses.clear();
        accesses.extend(of_block.iter().map(|placed| placed.access));
        assert_unique(block, &accesses);
        summary.blocks += 1;
        let unit_state = units
            .entry(unit)
            .or_insert_with(|| UnitState::new(history, unit));
        let promised = match rules.ghosts {
            Ghosts::MayLandAnyTime => accesses.clone(),
            Ghosts::MayLandAgain => without_ghosts(&accesses),
            Ghosts::DeadByNextAck => laid_by_next_ack(&accesses),
        };
        if let Err(conflict) = unit_state.judge(&promised) {
            let is_fenced = rules.ghosts == Ghosts::DeadByNextAck;
            let row = match conflict {
                Conflict::NotExecuted { .. } => Row::I2,
                Conflict::Nowhere { .. } => Row::I3,
                Conflict::Unflushed { .. } => Row::I14,
                _ if is_fenced && unit_state.judge(&accesses).is_ok() => Row::I16,
                _ => Row::I1,
            };
            return Err(account::conflict(history, row, (unit, block), conflict));
        }
    }
    Ok(summary)
}

/// The accesses of one operation, one per block.
fn place(
    history: &History,
    id: OpId,
    record: &Record,
    placed: &mut Vec<Placed>,
    summary: &mut Summary,
) -> Result<(), Violation> {
    let op = &record.op;
    let acknowledged = matches!(
        record.ended,
        Some((_, End::Wrote | End::Read(_) | End::Flushed))
    );
    summary.checked += usize::from(acknowledged);
    let ended = record
        .ended
        .as_ref()
        .map_or(AFTER, |(moment, _)| moment.order);
    let mut push = |block, stamp, role, responded| {
        placed.push(Placed {
            unit: op.unit,
            block,
            access: Access {
                op: id.0,
                device: op.device,
                stamp,
                role,
                invoked: record.invoked.order,
                responded,
                ended,
            },
        });
    };
    match (op.kind, record.ended.as_ref().map(|(_, end)| end)) {
        (Kind::Read, Some(End::Read(found))) => {
            if found.len() as u64 != op.blocks.end - op.blocks.start {
                return Err(account::short_read(history, id));
            }
            for (block, found) in op.blocks.clone().zip(found) {
                let stamp = found.map_err(|torn| account::torn(history, id, block, torn))?;
                summary.block_reads += 1;
                push(block, stamp, Role::Read, ended);
            }
        }
        (Kind::Write { stamp }, end) => {
            let (certainty, by) = outcome(record, end, ended);
            summary.unknown += usize::from(by == AFTER);
            for block in op.blocks.clone() {
                summary.block_writes += 1;
                push(block, stamp, Role::Write(certainty), by);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a write happened, and by when.
fn outcome(record: &Record, end: Option<&End>, ended: u64) -> (Certainty, u64) {
    use ExecutionKnowledge::{Dead, Executed, NotExecuted, Unknown};
    match end {
        Some(End::Wrote) => (Certainty::Did, ended),
        Some(End::Failed(NotExecuted)) => (Certainty::Never, ended),
        Some(End::Failed(Dead | Executed)) => (Certainty::Maybe, ended),
        Some(End::Failed(Unknown) | End::Dropped | End::Read(_) | End::Flushed) | None => {
            let dead = record.dead.map_or(AFTER, |moment| moment.order);
            (Certainty::Maybe, dead)
        }
    }
}

fn assert_unique(block: u64, accesses: &[Access]) {
    let mut last = None;
    for write in accesses.iter().filter(|access| !access.is_read()) {
        assert_ne!(
            last.replace(write.stamp),
            Some(write.stamp),
            "two writes to block {block} with one stamp"
        );
    }
}

/// Whether it is a write of which the caller was told that it may still happen.
fn is_ghost(access: &Access) -> bool {
    access.role == Role::Write(Certainty::Maybe)
        && access.responded == AFTER
        && access.ended != AFTER
}

/// The accesses under [`Ghosts::MayLandAgain`]: of what a ghost wrote nothing can be said.
fn without_ghosts(accesses: &[Access]) -> Vec<Access> {
    let ghosts: BTreeSet<Stamp> = accesses
        .iter()
        .filter(|access| is_ghost(access))
        .map(|access| access.stamp)
        .collect();
    let others = accesses.iter().filter(|a| !ghosts.contains(&a.stamp));
    others.copied().collect()
}

/// The accesses under [`Ghosts::DeadByNextAck`].
fn laid_by_next_ack(accesses: &[Access]) -> Vec<Access> {
    let mut laid = accesses.to_vec();
    if !accesses.iter().any(is_ghost) {
        return laid;
    }
    // Per device in order of invocation: the least response from there on.
    let mut acks: Vec<(u16, u64, u64)> = accesses
        .iter()
        .filter(|access| access.role == Role::Write(Certainty::Did))
        .map(|access| (access.device, access.invoked, access.responded))
        .collect();
    acks.sort_unstable();
    for index in (1..acks.len()).rev() {
        if acks[index - 1].0 == acks[index].0 {
            acks[index - 1].2 = acks[index - 1].2.min(acks[index].2);
        }
    }
    for ghost in laid.iter_mut().filter(|access| is_ghost(access)) {
        let later = acks.partition_point(|&(device, invoked, _)| {
            (device, invoked) < (ghost.device, ghost.ended)
        });
        if let Some(&(device, _, by)) = acks.get(later) {
            if device == ghost.device {
                ghost.responded = by;
            }
        }
    }
    laid
}

/// What a unit went through.
struct UnitState {
    losses: Vec<u64>,
    flushes: Vec<Flush>,
}

impl UnitState {
    fn new(history: &History, unit: u16) -> Self {
        let losses = history
            .losses
            .iter()
            .filter(|(of, _)| *of == unit)
            .map(|(_, moment)| moment.order)
            .collect();
        let flush = |record: &Record| match &record.ended {
            Some((ended, End::Flushed)) if record.op.unit == unit => {
                Some((record.invoked.order, ended.order))
            }
            _ => None,
        };
        Self {
            losses,
            flushes: history.records.iter().filter_map(flush).collect(),
        }
    }

    fn judge(&self, accesses: &[Access]) -> Result<(), Conflict> {
        if self.losses.is_empty() {
            debug_assert!(accesses.iter().all(|access| access.invoked > BEFORE));
            zones::judge(Some(Stamp::INITIAL), accesses)
        } else {
            durability::judge(accesses, &self.losses, &self.flushes)
        }
    }
}
