//! Spares that are opened when a path has to wait, and closed when it is back ([`Spares::OnDemand`](crate::Spares)).

use std::{mem, sync::Arc, time::Instant};

use iscsi_client::error::Error;
use iscsi_proto::planted::Bug;

use super::{
    job::Job,
    join::{Candidate, Opening},
    places::{Occupant, Place},
    reserve::book::is_of_one_nexus,
    shared::State,
};
use crate::{core::PathId, path::Path};

impl<P: Path> State<P> {
    /// To be called once, when the first paths have joined: spares may be among them.
    pub(super) fn make_places(&mut self, places: Vec<Place<P>>) {
        self.places = places;
        let members = self.members.iter().flatten();
        let members: Vec<_> = members.map(|member| member.id).collect();
        members.into_iter().for_each(|id| self.note_spare(id));
    }

    /// A path has lost its connection, and its nexus may not log in before `until`: its spare may.
    pub(super) fn want_spare(&mut self, id: PathId, until: Instant) {
        if self.keeps_spares_out() || self.core.is_failed(id) || self.core.is_closing() {
            return;
        }
        for at in self.places_of(id) {
            match self.places[at].occupant {
                Occupant::Coming(before) => {
                    self.places[at].occupant = Occupant::Coming(until.max(before));
                }
                Occupant::Here(spare) if !self.core.is_removed(spare) => {}
                Occupant::Former => {}
                Occupant::Nobody | Occupant::Here(_) => self.open_spare(at, until),
            }
        }
    }

    fn open_spare(&mut self, at: usize, until: Instant) {
        let place = &mut self.places[at];
        place.refused = None;
        if let Some(opening) = place.opening.take() {
            place.occupant = Occupant::Coming(until);
            self.jobs.push(Job::OpenSpare(at, opening, until));
        }
    }

    /// A path has a connection again: nobody misses its spare.
    pub(super) fn need_no_spare(&mut self, id: PathId) {
        for at in self.places_of(id) {
            self.places[at].refused = None;
        }
    }

    /// A path has joined that may be one of these.
    pub(super) fn note_spare(&mut self, id: PathId) {
        let Some(name) = self.core.path_name(id) else {
            return;
        };
        let mut places = self.places.iter_mut().enumerate();
        let Some((at, place)) = places.find(|(_, place)| place.name == *name) else {
            return;
        };
        if matches!(place.occupant, Occupant::Nobody | Occupant::Former) {
            place.occupant = Occupant::Here(id);
            self.jobs.push(Job::WatchSpare(at, id));
        }
    }

    /// One has logged in, or its time is over. What is of no use any more is returned, to be dropped without the lock.
    pub(super) fn spare_opened(
        &mut self,
        now: Instant,
        at: usize,
        (opening, tried_until): (Opening<P>, Instant),
        opened: Result<Candidate<P>, Error>,
    ) -> Option<Candidate<P>> {
        let place = self.places.get_mut(at)?;
        place.opening = Some(opening);
        let occupant = mem::replace(&mut place.occupant, Occupant::Nobody);
        if !self.is_missed(at) || self.keeps_spares_out() {
            return opened.ok();
        }
        let joined = match opened {
            Ok(candidate) => self.join(now, candidate).map_err(|error| error.to_string()),
            Err(error) => Err(format!("{error:#}")),
        };
        match (joined, occupant) {
            (Ok(id), _) => self.note_spare(id),
            // The path was back, and has lost that connection as well.
            (Err(_), Occupant::Coming(until)) if until > tried_until => {
                self.open_spare(at, until);
            }
            (Err(reason), _) => self.places[at].refused = Some(reason),
        }
        None
    }

    /// Whether somebody is to look again later.
    pub(super) fn look_after_spare(&mut self, now: Instant, at: usize, id: PathId) -> bool {
        let is_it = |place: &&mut Place<P>| place.occupant == Occupant::Here(id);
        let is_gone = self.core.is_removed(id);
        let stays = self.core.config().planted.has(Bug::SpareStays);
        let leaves = is_gone || !stays && self.may_leave(id);
        let Some(place) = self.places.get_mut(at).filter(is_it) else {
            return false;
        };
        if !leaves {
            return true;
        }
        place.occupant = Occupant::Nobody;
        if !is_gone {
            self.core.remove_path(now, id);
        }
        false
    }

    /// Those that are wanted and not there: name and reason.
    pub(super) fn refused_spares(&self) -> impl Iterator<Item = (Arc<str>, String)> {
        let places = self.places.iter().enumerate();
        let missed = places.filter(|(at, _)| self.is_missed(*at));
        missed.filter_map(|(_, place)| Some((Arc::clone(&place.name), place.refused.clone()?)))
    }

    /// How many may become a path at any moment.
    pub(super) fn spares_coming(&self) -> usize {
        let is_coming = |place: &&Place<P>| matches!(place.occupant, Occupant::Coming(_));
        self.places.iter().filter(is_coming).count()
    }

    /// Whether nothing is lost if a spare is closed.
    pub(super) fn may_leave(&self, id: PathId) -> bool {
        self.core.is_superfluous(id) && !self.holds_reservation(id)
    }

    /// Whether the target lets none do anything, as one nexus has reserved the unit for itself.
    pub(super) fn keeps_spares_out(&self) -> bool {
        self.core.reservation().is_some_and(is_of_one_nexus)
    }

    /// Whether the path of a place is there, and has no connection.
    fn is_missed(&self, at: usize) -> bool {
        let Some(place) = self.places.get(at).filter(|_| !self.core.is_closing()) else {
            return false;
        };
        let mut members = self.members.iter().flatten();
        members.any(|member| {
            let is_it = self.core.path_name(member.id) == Some(&place.of);
            let is_in_use = !self.core.is_failed(member.id) && !self.core.is_removed(member.id);
            is_it && !member.up && is_in_use
        })
    }

    /// The places of the spares of a path.
    fn places_of(&self, id: PathId) -> Vec<usize> {
        let Some(name) = self.core.path_name(id) else {
            return Vec::new();
        };
        let places = self.places.iter().enumerate();
        let its = places.filter(|(_, place)| place.of == *name);
        its.map(|(at, _)| at).collect()
    }
}
