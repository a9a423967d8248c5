//! The memory of all commands of a connection, found by task tag.

use iscsi_proto::{
    InitiatorTaskTag,
    framing::{DataRef, DataStore},
    held::HeldBytes,
};

use super::{
    op_id::OpId,
    work::{Held, Operation},
};

/// Which operation a task carries out, and its memory.
#[derive(Debug)]
struct Entry {
    itt: InitiatorTaskTag,
    op: OpId,
    /// `None` for a request that is no command.
    operation: Option<Box<Operation>>,
}

/// The memory of all commands of a connection. The core names pieces of it; only here do they become
/// slices, for the time of one call.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// By the tag's slot.
    entries: Vec<Option<Entry>>,
    /// Payload bytes that crossed the core's scratch.
    pub(super) copied: u64,
}

impl Store {
    pub(super) fn insert(
        &mut self,
        itt: InitiatorTaskTag,
        op: OpId,
        operation: Option<Box<Operation>>,
    ) {
        let slot = itt.slot();
        if self.entries.len() <= slot {
            self.entries.resize_with(slot + 1, || None);
        }
        self.entries[slot] = Some(Entry { itt, op, operation });
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.entries.held_bytes()
    }

    pub(super) fn remove(
        &mut self,
        itt: InitiatorTaskTag,
    ) -> Option<(OpId, Option<Box<Operation>>)> {
        let entry = self
            .entries
            .get_mut(itt.slot())?
            .take_if(|entry| entry.itt == itt)?;
        Some((entry.op, entry.operation))
    }

    fn held(&self, itt: InitiatorTaskTag) -> Option<&Held> {
        let entry = self.entries.get(itt.slot())?.as_ref()?;
        let operation = entry.operation.as_ref().filter(|_| entry.itt == itt)?;
        Some(&operation.request.held)
    }

    fn held_mut(&mut self, itt: InitiatorTaskTag) -> Option<&mut Held> {
        let entry = self.entries.get_mut(itt.slot())?.as_mut()?;
        let is_it = entry.itt == itt;
        let operation = entry.operation.as_mut().filter(|_| is_it)?;
        Some(&mut operation.request.held)
    }

    /// The named bytes of a write, to be sent. Empty only for a name that the core promises not to
    /// use: one of a command that is over.
    pub(super) fn slices(&self, at: DataRef) -> impl Iterator<Item = &[u8]> {
        let snapshot = match self.held(at.itt) {
            Some(Held::Write(snapshot)) => Some(snapshot),
            _ => None,
        };
        snapshot
            .into_iter()
            .flat_map(move |s| s.slices(at.offset as usize, at.len as usize))
    }

    /// The named places of a read, to be filled.
    pub(super) fn slices_mut(&mut self, at: DataRef) -> impl Iterator<Item = &mut [u8]> {
        let receive = match self.held_mut(at.itt) {
            Some(Held::Read(receive)) => Some(receive),
            _ => None,
        };
        receive
            .into_iter()
            .flat_map(move |r| r.slices_mut(at.offset as usize, at.len as usize))
    }
}

impl DataStore for Store {
    fn store(&mut self, at: DataRef, src: &[u8]) {
        if let Some(Held::Read(receive)) = self.held_mut(at.itt) {
            receive.copy_in(at.offset as usize, src);
            self.copied += src.len() as u64;
        }
    }

    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8])) {
        let (offset, len) = (at.offset as usize, at.len as usize);
        match self.held(at.itt) {
            Some(Held::Read(receive)) => receive.visit(offset, len, visitor),
            Some(Held::Write(snapshot)) => snapshot.visit(offset, len, visitor),
            Some(Held::None) | None => {}
        }
    }
}
