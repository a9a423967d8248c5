//! Path groups and which of them is in use.

use super::{
    arena::{Arena, PathId},
    config::PathGroupingPolicy,
    path::Path,
};

/// Paths that are used together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) paths: Vec<PathId>,
    /// The highest of its paths'.
    pub(crate) priority: u32,
}

/// The groups, best first.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    list: Vec<Group>,
    active: usize,
}

impl Groups {
    /// Groups the paths anew. The group in use stays in use if one of its paths is still there.
    pub(crate) fn rebuild(&mut self, paths: &Arena<Path>, policy: PathGroupingPolicy) {
        let in_use = std::mem::take(self)
            .list
            .into_iter()
            .nth(self.active)
            .map_or_else(Vec::new, |group| group.paths);
        let members = paths
            .iter()
            .filter(|(_, path)| !path.removing)
            .map(|(key, path)| (PathId(key), path));
        let mut ordered: Vec<_> = members.collect();
        ordered.sort_by_key(|(_, path)| path.joined);
        match policy {
            PathGroupingPolicy::Failover => {
                self.list = ordered
                    .iter()
                    .map(|&(id, path)| Group {
                        paths: vec![id],
                        priority: path.priority,
                    })
                    .collect();
            }
            PathGroupingPolicy::Multibus => {
                if let Some(priority) = ordered.iter().map(|(_, path)| path.priority).max() {
                    self.list = vec![Group {
                        paths: ordered.iter().map(|&(id, _)| id).collect(),
                        priority,
                    }];
                }
            }
        }
        // A stable sort: among equals the one that was added first is the better one, so that the
        // choice is the same after a restart.
        self.list
            .sort_by_key(|group| std::cmp::Reverse(group.priority));
        self.active = self
            .list
            .iter()
            .position(|group| group.paths.iter().any(|id| in_use.contains(id)))
            .unwrap_or(0);
    }

    pub(crate) fn list(&self) -> &[Group] {
        &self.list
    }

    pub(crate) const fn active_index(&self) -> usize {
        self.active
    }

    pub(crate) fn active(&self) -> Option<&Group> {
        self.list.get(self.active)
    }

    /// The best group in which a path is usable.
    pub(crate) fn best(&self, paths: &Arena<Path>) -> Option<usize> {
        self.list.iter().position(|group| usable(group, paths))
    }

    pub(crate) fn is_active_usable(&self, paths: &Arena<Path>) -> bool {
        self.active().is_some_and(|group| usable(group, paths))
    }

    pub(crate) fn switch(&mut self, to: usize) {
        self.active = to;
    }
}

fn usable(group: &Group, paths: &Arena<Path>) -> bool {
    group
        .paths
        .iter()
        .any(|id| paths.get(id.0).is_some_and(Path::is_usable))
}
