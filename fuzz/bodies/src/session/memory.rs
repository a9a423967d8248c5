//! The memory of the commands under way.

use std::{collections::BTreeMap, ops::Range};

use iscsi_proto::{
    InitiatorTaskTag,
    framing::{DataRef, DataStore},
};

/// By tag. Whatever names memory that is not there, or bytes outside of it, is the bug looked for.
#[derive(Default)]
pub(super) struct Memory(pub(super) BTreeMap<InitiatorTaskTag, Vec<u8>>);

impl Memory {
    pub(super) fn range(at: DataRef) -> Range<usize> {
        assert!(at.len > 0, "no bytes are named: {at:?}");
        at.offset as usize..at.offset as usize + at.len as usize
    }

    pub(super) fn bytes(&self, at: DataRef) -> &[u8] {
        let memory = self.0.get(&at.itt);
        let memory = memory.expect("memory of a command that is over was named");
        memory
            .get(Self::range(at))
            .expect("bytes outside the memory were named")
    }
}

impl DataStore for Memory {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        let memory = self.0.get_mut(&at.itt);
        let memory = memory.expect("memory of a command that is over was written");
        let bytes = memory.get_mut(Self::range(at));
        bytes
            .expect("bytes outside the memory were written")
            .copy_from_slice(src);
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        // In pieces, as scattered memory has them.
        self.bytes(at).chunks(13).for_each(visitor);
    }
}

/// What a write's memory holds at `offset`: of each command something else.
pub(super) fn content(itt: InitiatorTaskTag, offset: u32) -> u8 {
    (offset ^ offset >> 7 ^ itt.0 ^ itt.0 >> 12) as u8
}
