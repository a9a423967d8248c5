//! The group that an operator has chosen.

use super::{Multipath, PathId, group};

/// By which path it was chosen, and whether that was marginal then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    path: PathId,
    is_marginal: bool,
}

impl Multipath {
    /// An operator has chosen the group of this path, which is that of this index.
    pub(super) fn pin(&mut self, path: PathId, index: usize) {
        self.pinned = Some(Pin {
            path,
            is_marginal: !self.groups.is_sound(index),
        });
    }

    /// The group that an operator has chosen, as long as not all of its paths are out. If it was chosen when its path was
    /// sound, its sound paths are meant, and those that have become marginal only while there are no others of it.
    pub(super) fn pinned_group(&mut self) -> Option<usize> {
        let Pin { path, is_marginal } = self.pinned?;
        let sound = (!is_marginal).then(|| self.sound_part(path)).flatten();
        let parts = [sound, self.groups.of(path)];
        let usable = |&part: &usize| self.groups.is_usable(part, &self.paths);
        let alive = |&part: &usize| !self.groups.is_out(part, &self.paths);
        let first = parts.into_iter().flatten().find(usable);
        let group = first.or_else(|| parts.into_iter().flatten().find(alive));
        if group.is_none() {
            self.pinned = None;
        }
        group
    }

    /// The group of sound paths that this one belongs to, or would if it were sound.
    fn sound_part(&self, path: PathId) -> Option<usize> {
        let policy = self.config.grouping();
        self.groups.list().iter().position(|group| {
            let is_of_it =
                |&other: &PathId| group::belong_together(policy, &self.paths, path, other);
            group.priority.is_sound() && group.paths.first().is_some_and(is_of_it)
        })
    }
}
