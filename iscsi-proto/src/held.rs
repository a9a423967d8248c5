//! How much memory a container holds, for those who add up what a session or a device holds.
//!
//! Not part of the API: the crates above this one count in the same way.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums of memory that is held, which memory bounds"
)]

use alloc::{collections::VecDeque, vec::Vec};

/// Heap memory that belongs to a value.
pub trait HeldBytes {
    /// Bytes allotted, in use or not. What the elements allotted in their turn is not counted.
    fn held_bytes(&self) -> u64;
}

impl<T> HeldBytes for Vec<T> {
    #[inline]
    fn held_bytes(&self) -> u64 {
        (self.capacity() * size_of::<T>()) as u64
    }
}

impl<T> HeldBytes for VecDeque<T> {
    #[inline]
    fn held_bytes(&self) -> u64 {
        (self.capacity() * size_of::<T>()) as u64
    }
}

/// Room for one element more in a table of `most` elements at the end: twice of what there is, and no more
/// than it can ever use.
pub fn make_room<T>(table: &mut Vec<T>, most: usize) {
    const FIRST: usize = 8;
    let room = table.capacity();
    if table.len() < room {
        return;
    }
    let wanted = room.saturating_mul(2).max(FIRST).min(most);
    table.reserve_exact(wanted.saturating_sub(table.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_doubles_and_ends_at_what_it_can_use() {
        let mut table = Vec::new();
        let mut rooms = Vec::new();
        for entry in 0..40u64 {
            make_room(&mut table, 40);
            table.push(entry);
            if rooms.last() != Some(&table.capacity()) {
                rooms.push(table.capacity());
            }
        }
        assert_eq!(rooms, [8, 16, 32, 40]);
    }

    #[test]
    fn room_counts_whether_it_is_used_or_not() {
        let mut list: Vec<u32> = Vec::with_capacity(7);
        assert_eq!(list.held_bytes(), 28);
        list.push(1);
        assert_eq!(list.held_bytes(), 28);
        assert_eq!(VecDeque::<u64>::new().held_bytes(), 0);
    }
}
