//! Which paths have a carrier.

use super::{MultipathDriver, State};
use crate::{
    core::PathId,
    path::{Path, PathLink, PathStatus},
};

impl<P: Path> MultipathDriver<P> {
    /// Tells the core of the carriers of all paths, where that of one has changed: those of one device
    /// together, so that none of them is taken for one to go to.
    pub(super) fn carriers(&self, id: PathId, status: PathStatus) {
        let is_news = |state: &mut State<P>| {
            let member = state.member(id);
            member.is_some_and(|member| member.has_carrier != status.has_carrier)
        };
        if !self.shared.look(is_news) {
            return;
        }
        // Outside the lock: each asks its session, which has a lock of its own. One that is down has no
        // connection to close, and is told of when it has.
        let others = self.paths().into_iter().filter_map(|(other, path)| {
            let status = path.status();
            let counts = other != id && status.link == PathLink::Up;
            counts.then_some((other, status.has_carrier))
        });
        let links: Vec<_> = others.chain([(id, status.has_carrier)]).collect();
        self.act(|state, now| {
            for &(id, has_carrier) in &links {
                if let Some(member) = state.member_mut(id) {
                    member.has_carrier = has_carrier;
                }
            }
            state.core.handle_links(now, links);
        });
    }
}
