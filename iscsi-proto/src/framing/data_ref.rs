//! Names for payload bytes.

use crate::ids::InitiatorTaskTag;

/// A piece of a task's data buffer, named and not owned.
///
/// The core hands out a `DataRef` only after it has checked it against the task's expected data
/// transfer length, so `offset + len` never exceeds the length that was submitted with the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRef {
    /// The task whose buffer it is.
    pub itt: InitiatorTaskTag,
    /// Byte offset in that buffer.
    pub offset: u32,
    /// Length in bytes, never zero.
    pub len: u32,
}

/// Where the named bytes are. Implemented by whoever drives the core: the async client, a test, a
/// simulator, a fuzzer.
pub trait DataStore {
    /// Brings bytes that arrived in the core's scratch to their home. `src.len() == at.len`.
    fn store(&mut self, at: DataRef, src: &[u8]);

    /// Shows the named bytes to `visitor`, in order and completely, in as many slices as they have;
    /// this is how digests are summed over memory that the core does not own.
    fn visit(&self, at: DataRef, visitor: &mut dyn FnMut(&[u8]));
}
