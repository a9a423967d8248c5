//! Spares that are opened when a path has to wait, and closed when it is back ([`Spares::OnDemand`](crate::Spares)).

use std::{mem, sync::Arc, time::Instant};

use iscsi_client::error::Error;
use iscsi_proto::planted::Bug;

use super::{
    job::Job,
    join::{Candidate, Opening},
    reserve::is_of_one_nexus,
    shared::State,
};
use crate::{core::PathId, path::Path};

/// A place for a spare.
#[derive(Debug)]
pub(super) struct Place<P> {
    /// The path that it is for, by name.
    of: Arc<str>,
    /// The name of the spare.
    name: Arc<str>,
    occupant: Occupant<P>,
}

#[derive(Debug)]
enum Occupant<P> {
    /// Nobody, and this is how to get one.
    None(Opening<P>),
    /// One that is logging in.
    Coming,
    /// A path of the device, and how to get another one.
    Here(PathId, Opening<P>),
}

impl<P> Place<P> {
    pub(super) fn new(of: Arc<str>, opening: Opening<P>) -> Self {
        Self {
            of,
            name: Arc::clone(&opening.name),
            occupant: Occupant::None(opening),
        }
    }
}

impl<P: Path> State<P> {
    /// To be called once, when the first paths have joined: spares may be among them.
    pub(super) fn make_places(&mut self, places: Vec<Place<P>>) {
        self.places = places;
        let members: Vec<_> = self
            .members
            .iter()
            .flatten()
            .map(|member| member.id)
            .collect();
        members.into_iter().for_each(|id| self.note_spare(id));
    }

    /// A path has lost its connection, and its nexus may not log in before `until`: its spare may.
    pub(super) fn want_spare(&mut self, id: PathId, until: Instant) {
        let Some(name) = self.core.path_name(id).filter(|_| !self.places.is_empty()) else {
            return;
        };
        if self.keeps_spares_out() || self.core.is_failed(id) || self.core.is_closing() {
            return;
        }
        for (at, place) in self.places.iter_mut().enumerate() {
            if place.of != *name {
                continue;
            }
            match mem::replace(&mut place.occupant, Occupant::Coming) {
                Occupant::None(opening) => self.jobs.push(Job::OpenSpare(at, opening, until)),
                occupant => place.occupant = occupant,
            }
        }
    }

    /// A path has a connection again: nobody misses its spare.
    pub(super) fn need_no_spare(&mut self, now: Instant, id: PathId) {
        let Some(of) = self.core.path_name(id).filter(|_| !self.places.is_empty()) else {
            return;
        };
        let places = self.places.iter().filter(|place| place.of == *of);
        let coming = places.filter(|place| !matches!(place.occupant, Occupant::Here(..)));
        let names: Vec<_> = coming.map(|place| Arc::clone(&place.name)).collect();
        let missing = self.missing.len();
        self.missing.retain(|(name, _)| !names.contains(name));
        if self.missing.len() < missing {
            self.notice_all_open(now);
        }
    }

    /// A path has joined that may be one of these.
    pub(super) fn note_spare(&mut self, id: PathId) {
        let Some(name) = self.core.path_name(id).filter(|_| !self.places.is_empty()) else {
            return;
        };
        for (at, place) in self.places.iter_mut().enumerate() {
            if place.name != *name {
                continue;
            }
            match mem::replace(&mut place.occupant, Occupant::Coming) {
                Occupant::None(opening) => {
                    place.occupant = Occupant::Here(id, opening);
                    self.jobs.push(Job::WatchSpare(at));
                }
                occupant => place.occupant = occupant,
            }
        }
    }

    /// One has logged in, or its time is over. What is of no use any more is returned, to be dropped without the lock.
    pub(super) fn spare_opened(
        &mut self,
        now: Instant,
        at: usize,
        opening: Opening<P>,
        opened: Result<Candidate<P>, Error>,
    ) -> Option<Candidate<P>> {
        let place = self.places.get_mut(at)?;
        let (of, name) = (Arc::clone(&place.of), Arc::clone(&place.name));
        place.occupant = Occupant::None(opening);
        let mut members = self.members.iter().flatten();
        let is_missed = members.any(|member| {
            let is_principal = self.core.path_name(member.id) == Some(&of);
            is_principal && !member.up && !self.core.is_failed(member.id)
        });
        if !is_missed || self.core.is_closing() {
            return opened.ok();
        }
        self.missing.retain(|(other, _)| *other != name);
        let joined = match opened {
            Ok(candidate) => self.join(now, candidate).map_err(|error| error.to_string()),
            Err(error) => Err(format!("{error:#}")),
        };
        match joined {
            Ok(id) => self.note_spare(id),
            Err(reason) => self.missing.push((name, reason)),
        }
        None
    }

    /// Whether somebody is to look again later.
    pub(super) fn look_after_spare(&mut self, now: Instant, at: usize) -> bool {
        let Some(place) = self.places.get(at) else {
            return false;
        };
        let Occupant::Here(id, _) = place.occupant else {
            return false;
        };
        let is_gone = self.core.is_removed(id);
        let stays = self.core.config().planted.has(Bug::SpareStays);
        if !is_gone && (stays || !self.may_leave(id)) {
            return true;
        }
        if !is_gone {
            self.core.remove_path(now, id);
        }
        if let Some(place) = self.places.get_mut(at) {
            place.occupant = match mem::replace(&mut place.occupant, Occupant::Coming) {
                Occupant::Here(_, opening) => Occupant::None(opening),
                occupant => occupant,
            };
        }
        false
    }

    /// Whether the target lets none do anything, as one nexus has reserved the unit for itself.
    pub(super) fn keeps_spares_out(&self) -> bool {
        self.core.reservation().is_some_and(is_of_one_nexus)
    }

    /// Whether nothing is lost if a spare is closed.
    pub(super) fn may_leave(&self, id: PathId) -> bool {
        self.core.is_superfluous(id) && !self.holds_reservation(id)
    }
}
