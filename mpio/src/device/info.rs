//! One info for a device with several paths.

use std::sync::Arc;

use iscsi_client::device::DeviceInfo;

use super::shared::State;
use crate::path::Path;

/// What the paths have in common. `None` if they disagree about what the device is.
pub(super) fn merge<'a>(infos: impl IntoIterator<Item = &'a DeviceInfo>) -> Option<DeviceInfo> {
    // One that has no access to the medium as yet knows no size.
    let mut infos = infos.into_iter().filter(|info| info.size > 0);
    let mut merged = infos.next()?.clone();
    for info in infos {
        if (info.size, info.block_size) != (merged.size, merged.block_size) {
            return None;
        }
        merged.physical_block_size = merged.physical_block_size.max(info.physical_block_size);
        merged.request_alignment = merged.request_alignment.max(info.request_alignment);
        merged.optimal_transfer = merged.optimal_transfer.min(info.optimal_transfer);
        merged.max_transfer = merged.max_transfer.min(info.max_transfer);
        merged.read_only |= info.read_only;
        merged.write_cache |= info.write_cache;
        merged.fua &= info.fua;
        merged.unmap &= info.unmap;
        merged.unmapped_reads_zeros &= info.unmapped_reads_zeros;
    }
    Some(merged)
}

/// Looks at the infos of all paths again. A new size counts only once every path in use tells it: a device that has
/// grown on one controller and not yet on the other is as small as before. One that is kept out has no say.
pub(super) fn update<P: Path>(state: &mut State<P>) {
    let in_use = state.members.iter().flatten();
    let in_use = in_use.filter(|member| member.up && member.verified);
    // Nor one without access to the medium: it knows the size that it had when it had access.
    let in_use = in_use.filter(|member| state.core.has_access(member.id));
    let infos: Vec<_> = in_use.map(|member| member.path.info()).collect();
    let Some(mut merged) = merge(infos.iter().map(|info| &**info)) else {
        return;
    };
    merged.generation = state.info.generation;
    merged.identity = state.info.identity.clone();
    if merged == *state.info {
        return;
    }
    merged.generation = merged.generation.next();
    state.info = Arc::new(merged);
    state.news = true;
}
