//! Violations of histories in words.

use std::fmt::Write as _;

use super::{
    access::Conflict,
    history::{End, ExecutionKnowledge, History, Kind, Moment, OpId, Record},
    stamp::{Found, Stamp, Torn},
    violation::{Row, Violation, seconds},
};

/// More operations than this are not shown around a violation: the first and the last half are.
const MOST_LINES: usize = 40;

pub(super) fn second_end(history: &History, id: OpId, second: Moment) -> Violation {
    let record = &history.records[id.0 as usize];
    let at = seconds(second.ns);
    Violation {
        row: Row::I4,
        what: format!("a request ended a second time at {at}"),
        account: vec![line(record, None)],
    }
}

pub(super) fn short_read(history: &History, id: OpId) -> Violation {
    let record = &history.records[id.0 as usize];
    let asked = record.op.blocks.end - record.op.blocks.start;
    Violation {
        row: Row::I3,
        what: format!("a read of {asked} blocks returned another number of them"),
        account: vec![line(record, None)],
    }
}

pub(super) fn torn(history: &History, id: OpId, block: u64, torn: Torn) -> Violation {
    let unit = history.records[id.0 as usize].op.unit;
    let mut stamps = match torn {
        Torn::Mixed { stamp, .. } | Torn::Misplaced { stamp, .. } => vec![stamp],
        Torn::Foreign { .. } => Vec::new(),
    };
    stamps.retain(|&stamp| stamp != Stamp::INITIAL);
    Violation {
        row: Row::I3,
        what: format!("block {block} of unit {unit} as it was read {torn}"),
        account: around(history, (unit, block), &[id.0], &stamps),
    }
}

pub(super) fn conflict(
    history: &History,
    row: Row,
    (unit, block): (u16, u64),
    conflict: Conflict,
) -> Violation {
    let (what, ops, stamps) = match conflict {
        Conflict::Nowhere { read, stamp } => (
            format!("{stamp} was read, which nobody ever wrote there"),
            vec![read],
            vec![stamp],
        ),
        Conflict::NotExecuted { read, write } => {
            let stamp = stamp_of(history, write);
            (
                format!("{stamp} was read, although its writer was told that it was not executed"),
                vec![read, write],
                vec![stamp],
            )
        }
        Conflict::Early { read, write } => {
            let stamp = stamp_of(history, write);
            (
                format!("{stamp} was read before its write was asked for"),
                vec![read, write],
                vec![stamp],
            )
        }
        Conflict::Return { outer, inner } => (
            format!(
                "{outer} was there before {inner} and after it: a stale read, a lost write of {inner}, \
                 or {outer} landed late"
            ),
            Vec::new(),
            vec![outer, inner],
        ),
        Conflict::Interleaved { first, second } => (
            format!(
                "{first} was there before {second}, and {second} before {first}: a stale read, or one \
                 of them landed late"
            ),
            Vec::new(),
            vec![first, second],
        ),
        Conflict::TwoSurvivors { first, second } => (
            format!("both {first} and {second} were read after the power loss that they preceded"),
            Vec::new(),
            vec![first, second],
        ),
        Conflict::Unflushed { survivor } => (
            format!("{survivor} was read after a power loss, and a later write had been flushed"),
            Vec::new(),
            vec![survivor],
        ),
    };
    Violation {
        row,
        what: format!("block {block} of unit {unit}: {what}"),
        account: around(history, (unit, block), &ops, &stamps),
    }
}

fn stamp_of(history: &History, write: u32) -> Stamp {
    match history.records[write as usize].op.kind {
        Kind::Write { stamp } => stamp,
        Kind::Read | Kind::Flush => Stamp::INITIAL,
    }
}

/// What the record found at this block, if it is a read that ended well.
fn found(record: &Record, block: u64) -> Option<Found> {
    let Some((_, End::Read(found))) = &record.ended else {
        return None;
    };
    let index = block.checked_sub(record.op.blocks.start)?;
    found.get(usize::try_from(index).ok()?).copied()
}

/// The operations on a block, from the first that has to do with the conflict to the last, with
/// flushes and power losses.
fn around(
    history: &History,
    (unit, block): (u16, u64),
    ops: &[u32],
    stamps: &[Stamp],
) -> Vec<String> {
    let concerns = |index: u32, record: &Record| {
        let stamp = match record.op.kind {
            Kind::Write { stamp } => Some(stamp),
            Kind::Read => found(record, block).and_then(Result::ok),
            Kind::Flush => None,
        };
        ops.contains(&index) || stamp.is_some_and(|stamp| stamps.contains(&stamp))
    };
    let here: Vec<(u32, &Record)> = (0..)
        .zip(&history.records)
        .filter(|(_, r)| {
            r.op.unit == unit && (r.op.blocks.contains(&block) || r.op.kind == Kind::Flush)
        })
        .collect();
    let ended = |r: &Record| r.ended.as_ref().map_or(r.invoked.order, |(m, _)| m.order);
    let involved = || {
        here.iter()
            .filter(|(index, record)| record.op.kind != Kind::Flush && concerns(*index, record))
    };
    let first = involved().map(|(_, r)| r.invoked.order).min();
    let last = involved().map(|(_, r)| ended(r)).max();
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let mut lines: Vec<(u64, String)> = here
        .iter()
        .filter(|(_, r)| ended(r) >= first && r.invoked.order <= last)
        .map(|&(index, r)| {
            let mark = if concerns(index, r) { "* " } else { "  " };
            (r.invoked.order, format!("{mark}{}", line(r, Some(block))))
        })
        .collect();
    for (of, at) in &history.losses {
        if *of == unit && (first..=last).contains(&at.order) {
            lines.push((
                at.order,
                format!("  {} unit {unit} loses power", seconds(at.ns)),
            ));
        }
    }
    lines.sort_unstable();
    if lines.len() > MOST_LINES {
        let left_out = lines.len() - MOST_LINES;
        let from = lines[MOST_LINES / 2].0;
        let gap = (from, format!("  .. {left_out} more .."));
        lines.splice(MOST_LINES / 2..MOST_LINES / 2 + left_out, [gap]);
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// One operation on one line; of a read, what it found at `block`.
fn line(record: &Record, block: Option<u64>) -> String {
    let op = &record.op;
    let mut text = format!("{}..", seconds(record.invoked.ns));
    if let Some((at, _)) = &record.ended {
        text.push_str(&seconds(at.ns));
    }
    let _ = match op.kind {
        Kind::Write { stamp } => {
            write!(text, " client {} write {stamp} {:?}", op.client, op.blocks)
        }
        Kind::Read => write!(text, " client {} read {:?}", op.client, op.blocks),
        Kind::Flush => write!(text, " client {} flush", op.client),
    };
    let end = match record.ended.as_ref().map(|(_, end)| end) {
        None => "no end".to_owned(),
        Some(End::Wrote | End::Flushed) => "acknowledged".to_owned(),
        Some(End::Read(blocks)) => match block.and_then(|block| found(record, block)) {
            Some(Ok(stamp)) => format!("found {stamp}"),
            Some(Err(torn)) => format!("{torn}"),
            None => format!("{} blocks", blocks.len()),
        },
        Some(End::Failed(ExecutionKnowledge::NotExecuted)) => "failed, not executed".to_owned(),
        Some(End::Failed(ExecutionKnowledge::Unknown)) => "failed, outcome unknown".to_owned(),
        Some(End::Failed(ExecutionKnowledge::Dead)) => "failed, unknown and dead".to_owned(),
        Some(End::Failed(ExecutionKnowledge::Executed)) => "failed, executed".to_owned(),
        Some(End::Dropped) => "dropped by its caller".to_owned(),
    };
    let _ = write!(text, " -> {end}");
    if let Some(dead) = record.dead {
        let _ = write!(text, ", dead at {}", seconds(dead.ns));
    }
    text
}
