//! Path groups and which of them is in use.

use std::sync::Arc;

use super::{
    arena::{Arena, PathId},
    config::PathGroupingPolicy,
    path::{Path, Standing},
    priority::Priority,
};

/// Paths that are used together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) paths: Vec<PathId>,
    /// Of these, those that an I/O may go to if they are usable: all but spares that stand by.
    pub(crate) on_duty: Vec<PathId>,
    /// The highest of its paths'.
    pub(crate) priority: Priority,
}

/// What the paths of a group have in common.
#[derive(PartialEq, Eq)]
enum Key<'a> {
    All,
    Itself(PathId),
    /// As if it were sound.
    Priority(Priority),
    TargetPortGroup(Option<&'a Arc<str>>, Option<u16>),
    Target(Option<&'a Arc<str>>),
    Serial(Option<&'a Arc<str>>),
    Number(u32),
}

impl<'a> Key<'a> {
    fn of(policy: PathGroupingPolicy, id: PathId, path: &'a Path) -> Self {
        match policy {
            // With a spare it is as with any other policy: both are in one group.
            PathGroupingPolicy::Failover => Self::Itself(path.principal().unwrap_or(id)),
            PathGroupingPolicy::Multibus | PathGroupingPolicy::Detect => Self::All,
            PathGroupingPolicy::GroupByPriority => {
                Self::Priority(path.priority.with_soundness(true))
            }
            PathGroupingPolicy::GroupByTargetPortGroup => {
                let group = path.access().port.map(|port| port.group);
                Self::TargetPortGroup(path.target(), group)
            }
            PathGroupingPolicy::GroupByNodeName => Self::Target(path.target()),
            PathGroupingPolicy::GroupBySerial => Self::Serial(path.serial.as_ref()),
            PathGroupingPolicy::Manual => Self::Number(path.group),
        }
    }
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
        let policy = resolved(policy, paths);
        // Before the list is taken: what is left behind has the first group in use.
        let active = self.active;
        let in_use = std::mem::take(&mut self.list)
            .into_iter()
            .nth(active)
            .map_or_else(Vec::new, |group| group.paths);
        let members = paths
            .iter()
            .filter(|(_, path)| !path.removing)
            .map(|(key, path)| (PathId(key), path));
        let mut ordered: Vec<_> = members.collect();
        ordered.sort_by_key(|(_, path)| path.joined);
        let mut groups: Vec<((bool, Key<'_>), Group)> = Vec::new();
        for (id, path) in ordered {
            // Marginal paths are apart from those that they would be with.
            let key = (path.priority.is_sound(), Key::of(policy, id, path));
            match groups.iter_mut().find(|(other, _)| *other == key) {
                Some((_, group)) => {
                    group.paths.push(id);
                    group.priority = group.priority.max(path.priority);
                }
                None => groups.push((
                    key,
                    Group {
                        paths: vec![id],
                        on_duty: Vec::new(),
                        priority: path.priority,
                    },
                )),
            }
        }
        self.list = groups.into_iter().map(|(_, group)| group).collect();
        // A stable sort: among equals the one that was added first is the better one, so that the
        // choice is the same after a restart.
        self.list
            .sort_by_key(|group| std::cmp::Reverse(group.priority));
        self.active = self
            .list
            .iter()
            .position(|group| group.paths.iter().any(|id| in_use.contains(id)))
            .unwrap_or(0);
        self.post(paths);
    }

    /// Leaves out the spares that stand by.
    pub(crate) fn post(&mut self, paths: &Arena<Path>) {
        for group in &mut self.list {
            let is_on_duty = |id: &&PathId| paths.get(id.0).is_some_and(|path| !path.rests());
            group.on_duty.clear();
            group.on_duty.extend(group.paths.iter().filter(is_on_duty));
        }
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

    /// The best group in which a path can take I/O.
    pub(crate) fn best(&self, paths: &Arena<Path>) -> Option<usize> {
        self.list.iter().position(|group| usable(group, paths))
    }

    pub(crate) fn is_active_usable(&self, paths: &Arena<Path>) -> bool {
        self.is_usable(self.active, paths)
    }

    pub(crate) fn is_usable(&self, index: usize, paths: &Arena<Path>) -> bool {
        let group = self.list.get(index);
        group.is_some_and(|group| usable(group, paths))
    }

    /// The group of a path.
    pub(crate) fn of(&self, path: PathId) -> Option<usize> {
        self.list
            .iter()
            .position(|group| group.paths.contains(&path))
    }

    /// Whether no path of it works, or may turn out to.
    pub(crate) fn is_out(&self, index: usize, paths: &Arena<Path>) -> bool {
        let is_out = |id: &PathId| {
            let standing = paths.get(id.0).map(Path::standing);
            !matches!(standing, Some(Standing::Usable | Standing::Doubtful(_)))
        };
        let group = self.list.get(index);
        group.is_none_or(|group| group.paths.iter().all(is_out))
    }

    pub(crate) fn is_sound(&self, index: usize) -> bool {
        let group = self.list.get(index);
        group.is_some_and(|group| group.priority.is_sound())
    }

    pub(crate) fn switch(&mut self, to: usize) {
        self.active = to;
    }
}

/// Whether two paths would be in one group if both were sound.
pub(crate) fn belong_together(
    policy: PathGroupingPolicy,
    paths: &Arena<Path>,
    one: PathId,
    other: PathId,
) -> bool {
    let policy = resolved(policy, paths);
    let key = |id: PathId| paths.get(id.0).map(|path| Key::of(policy, id, path));
    key(one).is_some() && key(one) == key(other)
}

fn resolved(policy: PathGroupingPolicy, paths: &Arena<Path>) -> PathGroupingPolicy {
    match policy {
        PathGroupingPolicy::Detect if is_asymmetric(paths) => PathGroupingPolicy::GroupByPriority,
        other => other,
    }
}

/// Whether the access state of a path is known.
pub(crate) fn is_asymmetric(paths: &Arena<Path>) -> bool {
    let mut members = paths.iter().filter(|(_, path)| !path.removing);
    members.any(|(_, path)| path.access().known.is_some())
}

fn usable(group: &Group, paths: &Arena<Path>) -> bool {
    group
        .on_duty
        .iter()
        .any(|id| paths.get(id.0).is_some_and(Path::is_usable))
}
