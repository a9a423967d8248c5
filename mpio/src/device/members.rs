//! How a path becomes part of a device.

use std::{sync::Arc, time::Instant};

use super::{
    info,
    job::Job,
    join::{Candidate, JoinError},
    shared::{Member, State},
};
use crate::{
    core::{IdentityCheck, PathId},
    path::{Path, PathLink},
};

impl<P: Path> State<P> {
    /// Makes a path part of the device, if it belongs there.
    pub(super) fn join(
        &mut self,
        now: Instant,
        candidate: Candidate<P>,
    ) -> Result<PathId, JoinError> {
        candidate.check(&self.info)?;
        if self.core.is_closing() {
            return Err(JoinError::Closed);
        }
        let Candidate {
            attributes,
            path,
            status,
        } = candidate;
        let id = self.core.add_path(now, attributes);
        let up = status.link == PathLink::Up;
        self.insert(Member {
            id,
            path: Arc::new(path),
            generation: status.generation,
            up,
            verified: up,
            verifying: false,
            verification: 0,
        });
        if up {
            // Its identity was read through this very connection; if that was lost meanwhile, the
            // generation tells the watch at once.
            self.core.handle_path_up(now, id, IdentityCheck::Verified);
        }
        self.jobs.push(Job::Watch(id));
        info::update(self);
        Ok(id)
    }
}
