//! Spares: sessions that are kept warm, each beside another path of the same local end and portal.
//!
//! A path that lost its connection is out for as long as the target makes it wait (Time2Wait, RFC 7143 section 13.15)
//! and its login takes, and the bandwidth of its network device with it. Its spare has logged in before, with an ISID of
//! its own, and is a path in every respect but one: it *stands by* while the path that it is for takes I/O. So when
//! connections are lost one at a time, no network device is out of work for longer than a round trip.
//!
//! What is lost may be the network, and then the spare is lost with it and does not know it yet. So it is asked at the
//! loss, and takes over when it has answered: in a round trip, for which I/O goes to the others of its group. A path
//! that is silent, or without a carrier, is the sign of a dead network, so its spare is asked together with it, and has to
//! have answered since. It is not waited for where nothing else is left: to try it is as good as to ask.
//!
//! It takes over from a marginal path, too, as long as it is not marginal itself: if it is the network that is bad, the
//! spare has the same faults at the same time.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{
    Event, Multipath, PathId, SuspectCause,
    arena::Arena,
    path::{Path, Standing},
    spare_state::{Spare, Vacancy},
};

impl Path {
    /// A spare that stands by.
    pub(super) fn rests(&self) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.rests)
    }

    /// The path that it is the spare of.
    pub(super) fn principal(&self) -> Option<PathId> {
        self.spare.as_ref().and_then(|spare| spare.principal)
    }

    /// It is taken out of use, or used again: by itself, or as the spare of the path for which that holds.
    pub(super) fn fail(&mut self, failed: bool, with: Option<PathId>) {
        let was_failed = self.is_failed();
        if let Some(spare) = &mut self.spare {
            // What an operator has done to it by itself is not undone by the fate of another path.
            if !was_failed || !failed || with.is_none() {
                spare.failed_with = with.filter(|_| failed);
            }
        }
        self.set_failed(failed);
    }
}

/// The path of that name, of the same target, that is no spare itself; of several the one that joined first.
fn principal_of(paths: &Arena<Path>, spare: &Path) -> Option<PathId> {
    let of = &spare.spare.as_ref()?.of;
    let is_it = |path: &Path| {
        let is_candidate = path.spare.is_none() && !path.removing;
        is_candidate && path.name == *of && path.target() == spare.target()
    };
    let named = paths.iter().filter(|(_, path)| is_it(path));
    let first = named.min_by_key(|(_, path)| path.joined);
    first.map(|(key, _)| PathId(key))
}

impl Multipath {
    fn spares(&self) -> impl Iterator<Item = PathId> {
        let paths = self.paths.iter();
        let spares = paths.filter(|(_, path)| path.spare.is_some());
        spares.map(|(key, _)| PathId(key))
    }

    fn spare_mut(&mut self, id: PathId) -> Option<&mut Spare> {
        self.paths.get_mut(id.0)?.spare.as_mut()
    }

    /// Finds out whose spare each one is. Paths have come or gone.
    pub(super) fn pair_spares(&mut self) {
        let spares: Vec<PathId> = self.spares().collect();
        self.has_spares = !spares.is_empty();
        for id in spares {
            let spare = self.paths.get(id.0);
            let principal = spare.and_then(|spare| principal_of(&self.paths, spare));
            let is_failed = principal.and_then(|id| self.paths.get(id.0));
            let is_failed = is_failed.is_some_and(Path::is_failed);
            let reason = spare.and_then(|spare| spare.spare.as_ref()?.failed_with);
            let is_left = |path: Option<&Path>| path.is_none_or(|path| path.removing);
            let reason_is_gone = reason.is_some_and(|id| is_left(self.paths.get(id.0)));
            let Some(path) = self.paths.get_mut(id.0) else {
                continue;
            };
            let Some(spare) = &mut path.spare else {
                continue;
            };
            let is_news = spare.principal != principal;
            spare.principal = principal;
            if reason_is_gone {
                path.fail(false, None);
                self.restless = true;
            }
            if principal.is_some() && is_failed && (is_news || reason_is_gone) {
                path.fail(true, principal);
            }
        }
    }

    /// The spares of a path: what an operator does to it is done to them.
    pub(super) fn spares_of(&self, principal: PathId) -> Vec<PathId> {
        if !self.has_spares {
            return Vec::new();
        }
        let is_its = |id: &PathId| {
            let path = self.paths.get(id.0);
            path.and_then(Path::principal) == Some(principal)
        };
        self.spares().filter(is_its).collect()
    }

    /// Decides which spares stand by. Standings may have changed.
    pub(super) fn post_spares(&mut self, now: Instant) {
        if !self.has_spares {
            return;
        }
        let spares: Vec<PathId> = self.spares().collect();
        for &id in &spares {
            self.look_at_vacancy(now, id);
        }
        for &id in &spares {
            let rests = self.has_to_rest(id);
            if let Some(spare) = self.spare_mut(id) {
                spare.rests = rests;
            }
        }
        let takes_io = |(_, path): (_, &Path)| path.is_usable() && !path.rests();
        if !self.paths.iter().any(takes_io) {
            // To wait for an answer is as good as to wait for the I/O itself.
            for &id in &spares {
                if let Some(spare) = self.spare_mut(id) {
                    spare.rests = false;
                }
            }
        }
        self.groups.post(&self.paths);
    }

    /// Whether the path that it is for takes I/O, and since when not. A spare that may have to take over is asked.
    fn look_at_vacancy(&mut self, now: Instant, id: PathId) {
        let spare = self.paths.get(id.0);
        let principal = spare.and_then(Path::principal);
        let principal = principal.and_then(|id| self.paths.get(id.0));
        let (Some(path), Some(principal)) = (spare, principal) else {
            if let Some(spare) = self.spare_mut(id) {
                spare.vacancy = None;
            }
            return;
        };
        let is_better = principal.priority.is_sound() || !path.priority.is_sound();
        let standing = principal.standing();
        let is_vacant = standing != Standing::Usable || !is_better;
        let is_silent = matches!(
            standing,
            Standing::Doubtful(SuspectCause::Silence | SuspectCause::LinkDown)
        );
        let asked = principal.suspicion.asked_at().filter(|_| is_silent);
        let Some(path) = self.paths.get_mut(id.0) else {
            return;
        };
        let is_usable = path.is_usable();
        let heard = path.suspicion.heard();
        let Some(spare) = &mut path.spare else {
            return;
        };
        match &mut spare.vacancy {
            vacancy if !is_vacant => *vacancy = None,
            Some(vacancy) if !vacancy.is_silent && is_silent => {
                vacancy.is_silent = true;
                vacancy.since = asked.unwrap_or(now);
            }
            Some(_) => return,
            vacancy => {
                let since = asked.unwrap_or(now);
                *vacancy = Some(Vacancy { since, is_silent });
            }
        }
        let is_due = spare.vacancy.is_some_and(|vacancy| heard < vacancy.since);
        if is_due && is_usable {
            // So that its own silence is noticed as that of a path that has I/O.
            path.checker.ask_now(now);
            self.ask_connection(id);
        }
    }

    /// Whether nothing is lost if this path, which is a spare, is closed: others take I/O in its place, and no lost write of
    /// its own may still land.
    pub(crate) fn is_superfluous(&self, id: PathId) -> bool {
        let path = self.paths.get(id.0);
        let Some(spare) = path.and_then(|path| path.spare.as_ref()) else {
            return false;
        };
        let takes_io = |(key, path): (_, &Path)| {
            let is_other = PathId(key) != id;
            is_other && path.is_usable() && !path.rests()
        };
        let is_at_rest = match spare.principal {
            Some(_) => spare.rests,
            None => self.paths.iter().any(takes_io),
        };
        is_at_rest && !self.ghosts.iter().any(|ghost| ghost.path == id)
    }

    fn has_to_rest(&self, id: PathId) -> bool {
        let path = self.paths.get(id.0);
        let Some((path, spare)) = path.and_then(|path| Some((path, path.spare.as_ref()?))) else {
            return false;
        };
        if spare.principal.is_none() || self.config.planted.has(Bug::SpareTakesItsTurn) {
            return false;
        }
        match spare.vacancy {
            None => true,
            Some(vacancy) if path.suspicion.heard() >= vacancy.since => false,
            Some(vacancy) if vacancy.is_silent => true,
            Some(_) => {
                let group = self.groups.of(id).and_then(|g| self.groups.list().get(g));
                let mut others = group.into_iter().flat_map(|group| &group.paths);
                others.any(|&other| {
                    let path = self.paths.get(other.0);
                    other != id && path.is_some_and(|path| path.is_usable() && !path.rests())
                })
            }
        }
    }

    /// Paths have just been asked for a sign of life, and so are their spares: if one of them stays silent, it is known
    /// by then whether its spare is as well.
    pub(super) fn ask_spares(&mut self, now: Instant) {
        if !self.has_spares {
            return;
        }
        let is_due = |id: &PathId| {
            let path = self.paths.get(id.0);
            let path = path.filter(|path| path.rests() && path.is_usable() && !path.is_waiting());
            let principal = path.and_then(Path::principal);
            let principal = principal.and_then(|id| self.paths.get(id.0));
            principal.and_then(|path| path.suspicion.asked_at()) == Some(now)
        };
        let spares: Vec<PathId> = self.spares().filter(is_due).collect();
        for id in spares {
            self.ask_connection(id);
        }
    }

    /// Tells which have taken over, and which stand by again.
    pub(super) fn tell_spares(&mut self) {
        if !self.has_spares {
            return;
        }
        for (key, path) in self.paths.iter_mut() {
            let (id, is_usable) = (PathId(key), path.is_usable());
            let Some(spare) = &mut path.spare else {
                continue;
            };
            let is = is_usable && !spare.rests;
            let was = std::mem::replace(&mut spare.told, is);
            match spare.principal {
                Some(instead_of) if is && !was => {
                    path.counters.takeovers += 1;
                    self.counters.takeovers += 1;
                    self.events.push(Event::SpareInUse {
                        path: id,
                        instead_of,
                    });
                }
                _ if was && !is && is_usable => {
                    self.events.push(Event::SpareStandsBy { path: id });
                }
                _ => {}
            }
        }
    }
}
