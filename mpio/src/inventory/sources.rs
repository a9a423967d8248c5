//! Who is asked for targets, and the portals that come of it.

use std::{collections::BTreeSet, sync::Arc};

use iscsi_client::error::{LoginError, LoginFailure};
use iscsi_proto::{
    name::IscsiName,
    portal::Portal,
    text::send_targets::{Discovered, MAX_TARGETS},
};

use super::{
    event::InventoryEventKind as Event,
    ids::SourceId,
    job::Report,
    keeper::{Keeper, Known, RouteEntry, Source},
    limits::Limit,
    route::{Endpoint, Seat},
};
use crate::{backoff::sleep, rule::Route};

impl Keeper {
    /// Asks for all targets.
    pub(super) fn ask(&mut self, at: SourceId) {
        let source = &mut self.sources[at];
        source.asking = true;
        let (initiator, discovery) = (self.initiator.clone(), source.discovery.clone());
        self.jobs.push(Box::pin(async move {
            Report::Discovered(at, initiator.discover_with(&discovery).await)
        }));
    }

    pub(super) fn discovered(&mut self, at: SourceId, result: Result<Discovered, LoginError>) {
        let source = &mut self.sources[at];
        source.asking = false;
        let again = std::mem::take(&mut source.again);
        source.in_scan &= again;
        match result {
            Ok(answer) => self.take_answer(at, answer),
            Err(error) => self.no_answer(at, error, again),
        }
        if again {
            self.ask(at);
        }
    }

    fn no_answer(&mut self, at: SourceId, error: LoginError, again: bool) {
        let number = self.number();
        let runtime = self.runtime();
        let source = &mut self.sources[at];
        let text = error.to_string();
        let before = source.error.replace(error.clone());
        let closed = matches!(error.failure(), LoginFailure::Closed);
        // What is wrong with the configuration will be so in a minute too; the next scan asks again.
        if error.is_transient() && !closed && !again {
            let delay = source.backoff.next_delay(&*runtime);
            source.pause = number;
            self.jobs.push(Box::pin(async move {
                sleep(&*runtime, delay).await;
                Report::AskAgain(at, number)
            }));
        }
        self.dirty = true;
        if before.is_none_or(|before| before.to_string() != text) {
            let (portal, bind) = self.sources[at].place();
            self.tell(Event::DiscoveryFailed {
                portal,
                bind,
                error,
            });
        }
    }

    fn take_answer(&mut self, at: SourceId, answer: Discovered) {
        let targets = answer.targets.len();
        let source = &mut self.sources[at];
        source.backoff.reset();
        let was_failing = source.error.take().is_some();
        let before = source.targets.replace(targets);
        let (asked, bind) = source.place();
        if was_failing || before != Some(targets) {
            self.tell(Event::Discovered {
                portal: asked.clone(),
                bind,
                targets,
            });
        }
        let unusable = |name: &IscsiName| {
            let mut skipped = answer.skipped.iter();
            skipped.any(|skipped| skipped.target.as_ref() == Some(name))
        };
        let mut listed = BTreeSet::new();
        let limit = Limit::Targets(MAX_TARGETS);
        let beyond = usize::try_from(answer.beyond).unwrap_or(usize::MAX);
        self.left_out.set(limit, at, beyond);
        let limit = Limit::Portals(self.plan.limits.portals);
        for target in &answer.targets {
            // One without an address listens where it was asked for (RFC 7143 appendix C); not so one
            // whose addresses were of no use.
            let here = [asked.clone()];
            let portals = match target.portals.is_empty() && !unusable(&target.name) {
                true => &here[..],
                false => &target.portals[..],
            };
            for portal in portals {
                match self.note(&target.name, portal, Some(at)) {
                    Some(end) => _ = listed.insert(end),
                    None => self
                        .left_out
                        .add(limit, Endpoint::new(&target.name, portal)),
                }
            }
        }
        if beyond > 0 {
            listed.extend(self.behind_the_cut(at, &answer));
        }
        self.open_routes(&listed);
        let before = std::mem::replace(&mut self.sources[at].listed, listed);
        let gone: Vec<Endpoint> = before
            .difference(&self.sources[at].listed)
            .cloned()
            .collect();
        for end in gone {
            self.unlisted(at, &end);
        }
    }

    /// Portals that the source has told of before, of targets that an answer which was cut off does not name: whether
    /// they are gone it does not say. Those that no route leads to are not missed, and would be more with each answer.
    fn behind_the_cut(&self, at: SourceId, answer: &Discovered) -> Vec<Endpoint> {
        let named: BTreeSet<&IscsiName> = answer.targets.iter().map(|it| &it.name).collect();
        let has_route = |end: &Endpoint| {
            let mut binds = 0..self.plan.binds.len();
            binds.any(|bind| self.index.contains_key(&(end.clone(), Seat::at(bind))))
        };
        let before = self.sources[at].listed.iter();
        let kept = before.filter(|end| !named.contains(&end.target) && has_route(end));
        kept.cloned().collect()
    }

    /// A portal is told of by a source, or by the configuration. `None` where the target has too many.
    pub(super) fn note(
        &mut self,
        target: &IscsiName,
        portal: &Portal,
        source: Option<SourceId>,
    ) -> Option<Endpoint> {
        let end = Endpoint::new(target, portal);
        if let Some(known) = self.known.get_mut(&end) {
            known.fixed |= source.is_none();
            known.listed_by.extend(source);
            if known.portal.tpgt != portal.tpgt && source.is_some() {
                known.portal = portal.clone();
                self.regroup(&end);
            }
            return Some(end);
        }
        let bind = self.plan.binds.first().cloned().unwrap_or_default();
        let route = Route::new(target.clone(), portal.clone(), bind);
        let rejection = self.plan.filter.portal(&route).err();
        // Those of one target are side by side.
        let of_target = self.known.range(end.first_of_target()..);
        let of_target = of_target.take_while(|(other, _)| other.target == end.target);
        let taken = of_target.filter(|(_, known)| !known.rejected).count();
        if rejection.is_none() && taken >= self.plan.limits.portals {
            return None;
        }
        let known = Known {
            portal: portal.clone(),
            listed_by: source.into_iter().collect(),
            fixed: source.is_none(),
            rejected: rejection.is_some(),
        };
        self.known.insert(end.clone(), known);
        self.tell(Event::PortalFound {
            target: target.clone(),
            portal: portal.clone(),
        });
        if let Some(rejection) = rejection {
            self.tell(Event::FilteredOut {
                route: Arc::new(route),
                lun: None,
                rejection,
            });
        }
        Some(end)
    }

    /// A portal is of another group now. A session that is open says so itself, at its next login; one that is
    /// still to be opened expects what was told last.
    fn regroup(&mut self, end: &Endpoint) {
        for seat in self.seats() {
            let id = self.index.get(&(end.clone(), seat)).copied();
            if let Some(id) =
                id.filter(|id| self.routes.get(id).is_some_and(RouteEntry::is_waiting))
            {
                self.remove_route(id);
            }
        }
    }

    /// A source does not tell of a portal any more.
    fn unlisted(&mut self, at: SourceId, end: &Endpoint) {
        let Some(known) = self.known.get_mut(end) else {
            return;
        };
        known.listed_by.remove(&at);
        if !known.is_gone() {
            return;
        }
        let portal = known.portal.clone();
        self.tell(Event::PortalGone {
            target: end.target.clone(),
            portal,
        });
        for seat in self.seats() {
            if let Some(id) = self.index.get(&(end.clone(), seat)).copied() {
                self.remove_if_useless(id);
            }
        }
        self.forget(end);
    }

    /// A portal that nobody tells of is forgotten once no route leads there.
    pub(super) fn forget(&mut self, end: &Endpoint) {
        let is_gone = self.known.get(end).is_some_and(Known::is_gone);
        let mut seats = self.seats();
        if is_gone && !seats.any(|seat| self.index.contains_key(&(end.clone(), seat))) {
            self.known.remove(end);
            for bind in 0..self.plan.binds.len() {
                self.filtered.remove(&(end.clone(), bind));
            }
        }
    }
}

impl Source {
    fn place(&self) -> (Portal, iscsi_client::bind::Bind) {
        (self.discovery.portal.clone(), self.discovery.bind.clone())
    }
}
