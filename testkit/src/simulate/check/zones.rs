//! Is there an order in which one block behaved like a register?
//!
//! The general question is NP-complete. With writes of unique values it is not (Gibbons and Korach,
//! "Testing Shared Memories", SIAM J. Comput. 26(4), 1997; the terms are those of Golab, Li and
//! Shah, "Analyzing Consistency Properties for Fun and Profit", PODC 2011). Take for each value its
//! write and the reads that saw it, `f` the least response among them and `s` the greatest
//! invocation. If `f < s`, the block must have held the value during all of `[f, s]`: a *forward*
//! zone. Else all of them may have happened at one point anywhere in `[s, f]`: a *backward* zone.
//! The block was a register if and only if
//!
//! 1. every value read was written by a write that was asked for before the read was answered,
//! 2. no two forward zones overlap,
//! 3. no backward zone lies within a forward zone.
//!
//! A write of which it is not known whether it happened counts if its value was read, and is left out
//! otherwise: an order that has it somewhere stays one without it. A test tries all orders instead (`brute`);
//! the two agree.

use super::{
    access::{Access, BEFORE, Certainty, Conflict, Role},
    stamp::Stamp,
};

/// The time that one value takes up.
#[derive(Clone, Copy, Debug)]
struct Zone {
    stamp: Stamp,
    start: u64,
    end: u64,
}

/// A value's write and reads, while they are collected.
struct Cluster {
    stamp: Stamp,
    write: Option<Access>,
    read: Option<u32>,
    least_response: u64,
    greatest_invocation: u64,
}

/// Judges the accesses to one block, sorted by stamp. `initial` is the value that the block had
/// before; `None` if that is not known, and then no access has it.
pub(super) fn judge(initial: Option<Stamp>, accesses: &[Access]) -> Result<(), Conflict> {
    let mut forward = Vec::new();
    let mut backward = Vec::new();
    for of_one in accesses.chunk_by(|a, b| a.stamp == b.stamp) {
        let Some(cluster) = collect(initial, of_one)? else {
            continue;
        };
        let (f, s) = (cluster.least_response, cluster.greatest_invocation);
        let stamp = cluster.stamp;
        if f < s {
            forward.push(Zone {
                stamp,
                start: f,
                end: s,
            });
        } else {
            backward.push(Zone {
                stamp,
                start: s,
                end: f,
            });
        }
    }
    forward.sort_unstable_by_key(|zone| zone.start);
    for pair in forward.windows(2) {
        let [first, second] = [pair[0], pair[1]];
        if second.start < first.end {
            return Err(if second.end < first.end {
                Conflict::Return {
                    outer: first.stamp,
                    inner: second.stamp,
                }
            } else {
                Conflict::Interleaved {
                    first: first.stamp,
                    second: second.stamp,
                }
            });
        }
    }
    for inner in backward {
        // The forward zones do not overlap, so only the last that starts before can contain it.
        let after = forward.partition_point(|zone| zone.start < inner.start);
        let Some(outer) = after.checked_sub(1).and_then(|index| forward.get(index)) else {
            continue;
        };
        if inner.end < outer.end {
            return Err(Conflict::Return {
                outer: outer.stamp,
                inner: inner.stamp,
            });
        }
    }
    Ok(())
}

/// The cluster of one value; `None` for a write that need not have happened.
fn collect(initial: Option<Stamp>, of_one: &[Access]) -> Result<Option<Cluster>, Conflict> {
    let stamp = of_one[0].stamp;
    let mut cluster = Cluster {
        stamp,
        write: None,
        read: None,
        least_response: u64::MAX,
        greatest_invocation: BEFORE,
    };
    let mut earliest: Option<(u64, u32)> = None;
    for access in of_one {
        if access.is_read() {
            cluster.read.get_or_insert(access.op);
            if earliest.is_none_or(|(response, _)| access.responded < response) {
                earliest = Some((access.responded, access.op));
            }
        } else {
            cluster.write = Some(*access);
        }
        cluster.least_response = cluster.least_response.min(access.responded);
        cluster.greatest_invocation = cluster.greatest_invocation.max(access.invoked);
    }
    if initial == Some(stamp) {
        cluster.least_response = BEFORE;
        return Ok(Some(cluster));
    }
    let Some(write) = cluster.write else {
        let read = cluster.read.unwrap_or(of_one[0].op);
        return Err(Conflict::Nowhere { read, stamp });
    };
    let Some((response, read)) = earliest else {
        return Ok((write.role == Role::Write(Certainty::Did)).then_some(cluster));
    };
    let write_op = write.op;
    if write.role == Role::Write(Certainty::Never) {
        return Err(Conflict::NotExecuted {
            read,
            write: write_op,
        });
    }
    if response < write.invoked {
        return Err(Conflict::Early {
            read,
            write: write_op,
        });
    }
    Ok(Some(cluster))
}
