//! How a path becomes part of a device.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use iscsi_proto::planted::Bug;

use super::{
    attentions::find_attentions,
    info::{self, Size},
    job::Job,
    join::{Candidate, JoinError},
    shared::{Member, State},
};
use crate::{
    core::{Event, IdentityCheck, PathId},
    path::{LocalEnd, Path, PathLink},
};

impl<P: Path> State<P> {
    /// Makes a path part of the device, if it belongs there.
    pub(super) fn join(
        &mut self,
        now: Instant,
        candidate: Candidate<P>,
    ) -> Result<PathId, JoinError> {
        // Without a connection nobody is left who could say that the device is not as large as this path
        // finds it: it may have been resized since. So may one be of which all paths tell another size.
        let is_first = !self.members.iter().flatten().any(|member| member.up);
        let is_told = self.size_not_taken == Some(candidate.path.info().size);
        if self.core.is_closing() {
            return Err(JoinError::Closed);
        }
        if let Err(error) = candidate.check(&self.info, is_first || is_told) {
            if matches!(error, JoinError::OtherSize { .. }) {
                self.ask_for_size();
            }
            return Err(error);
        }
        let Candidate {
            attributes,
            path,
            status,
            registered,
            local_end,
        } = candidate;
        let sharing = self.shares_cable(local_end.as_ref());
        let mut attributes = attributes;
        let serial = || path.info().identity.serial.clone();
        attributes.serial = attributes.serial.or_else(serial);
        let id = self.core.add_path(now, attributes);
        let up = status.link == PathLink::Up;
        // Of this very nexus, if nothing has happened since.
        let registered = registered.filter(|_| path.status().generation == status.generation);
        let needs_no_key = self.keys().is_none() && !self.wants_keys();
        let verified = up && (registered.is_some() || needs_no_key);
        self.insert(Member {
            id,
            path: Arc::new(path),
            local_end,
            generation: status.generation,
            up,
            verified,
            verifying: false,
            verification: 0,
            key_failures: 0,
            book: self.reserve.book_of_new(up),
            has_carrier: status.has_carrier,
        });
        self.tell_nexus(id);
        if verified {
            if let Some(registered) = registered {
                self.core.handle_registered(now, id, registered);
            }
            // Its identity was read through this very connection; if that was lost meanwhile, the
            // generation tells the watch at once.
            self.core.handle_path_up(now, id, IdentityCheck::Verified);
        }
        self.core.handle_links(now, [(id, status.has_carrier)]);
        self.jobs.push(Job::Watch(id));
        if up && !verified {
            self.jobs.push(Job::Verify(id));
        }
        if let Some(with) = sharing {
            self.log.push(now, Event::SharedDevice { path: id, with });
            self.news = true;
        }
        info::update(self, now, Size::ByItself);
        Ok(id)
    }

    /// Tells the core whom the session of a member is with.
    pub(super) fn tell_nexus(&mut self, id: PathId) {
        let Some(path) = self.member(id).map(|member| Arc::clone(&member.path)) else {
            return;
        };
        let changes = path.nexus_changes();
        self.core.handle_nexus(id, path.portal_group(), changes);
        self.core.handle_target_port(id, path.target_port());
    }

    /// Once every path of the configuration has logged in, each nexus of a former process was reinstated.
    pub(super) fn notice_all_open(&mut self, now: Instant) {
        if self.missing.is_empty() || self.core.config().planted.has(Bug::FirstLoginReinstatesAll) {
            self.core.handle_former_reinstated(now);
        }
    }

    /// A command to each finds out what the unit would have told it of another size: an idle path may not have heard of
    /// that, and keep the others out.
    fn ask_for_size(&mut self) {
        let members = self.members.iter().flatten().filter(|member| member.up);
        let paths: Vec<_> = members.map(|member| Arc::clone(&member.path)).collect();
        let is_asking = self.asking_for_size.clone();
        if self.ended || is_asking.swap(true, Ordering::Relaxed) {
            return;
        }
        self.jobs.push(Job::Call(Box::pin(async move {
            find_attentions(paths).await;
            is_asking.store(false, Ordering::Relaxed);
        })));
    }

    /// A member that begins at the same device, though it was told another local end.
    pub(super) fn shares_cable(&self, local_end: Option<&LocalEnd>) -> Option<PathId> {
        let local_end = local_end?;
        let mut members = self.members.iter().flatten();
        let shares = |member: &&Member<P>| {
            let other = member.local_end.as_ref();
            other.is_some_and(|other| other.shares_cable_with(local_end))
        };
        members.find(shares).map(|member| member.id)
    }
}
