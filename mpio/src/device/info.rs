//! One info for a device with several paths.

use std::{sync::Arc, time::Instant};

use iscsi_client::device::DeviceInfo;
use iscsi_proto::planted::Bug;

use super::shared::{Member, State};
use crate::{core::Event, path::Path};

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

/// Who has a say: a path that is kept out has none.
pub(super) fn in_use<P: Path>(state: &State<P>) -> impl Iterator<Item = &Member<P>> {
    let in_use = state.members.iter().flatten();
    let in_use = in_use.filter(|member| member.up && member.verified);
    // Nor one without access to the medium: it knows the size that it had when it had access.
    in_use.filter(|member| state.core.has_say(member.id))
}

/// Which size a device takes that all its paths tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// What the settings let it take by itself.
    ByItself,
    /// Whatever they tell.
    AsTold,
}

/// Looks at the infos of all paths again. A new size counts only once every path in use tells it: a device that has
/// grown on one controller and not yet on the other is as small as before.
pub(super) fn update<P: Path>(state: &mut State<P>, now: Instant, size: Size) {
    let infos: Vec<_> = in_use(state).map(|member| member.path.info()).collect();
    let planted = state.core.config().planted;
    let largest = || {
        infos
            .iter()
            .max_by_key(|info| info.size)
            .map(|info| (**info).clone())
    };
    let merged = merge(infos.iter().map(|info| &**info));
    let merged = match planted.has(Bug::OnePathTellsSize) {
        true => merged.or_else(largest),
        false => merged,
    };
    let Some(mut merged) = merged else {
        return;
    };
    let (old, told) = (state.info.size, merged.size);
    let takes = state.core.config().auto_resize().takes(old, told);
    let takes = takes || size == Size::AsTold || planted.has(Bug::ShrinksUnasked);
    let event = if takes {
        let was_told = state.size_not_taken.take();
        match (told == old, was_told) {
            (false, _) => Some(Event::Resized {
                from: old,
                to: told,
            }),
            (true, Some(_)) => Some(Event::SizeAgreed { size: old }),
            (true, None) => None,
        }
    } else {
        merged.size = old;
        let is_known = state.size_not_taken.replace(told) == Some(told);
        (!is_known).then_some(Event::SizeNotTaken { size: old, told })
    };
    if let Some(event) = event {
        state.log.push(now, event);
        state.news = true;
    }
    merged.generation = state.info.generation;
    merged.identity = state.info.identity.clone();
    if merged == *state.info {
        return;
    }
    merged.generation = merged.generation.next();
    state.info = Arc::new(merged);
    state.news = true;
}
