//! Questions to connections on behalf of others: whether the target answers there tells of the path that it does not.
//!
//! A connection that is asked and has not been told so yet answers for whoever else wants to know: otherwise a target that
//! all paths lose, or that falls silent on all, would have each of them ask all the others at the same moment.

use super::{Action, Multipath, PathId, ProbeKind};

impl Multipath {
    /// Asks the connection, if that is not about to be done.
    pub(super) fn ask_connection(&mut self, path: PathId) {
        let question = Action::Probe {
            path,
            kind: ProbeKind::Nop,
        };
        if !self.actions.contains(&question) {
            self.actions.push_back(question);
        }
    }

    /// Whether the target answers elsewhere is to be known. Where something is awaited, that tells.
    pub(super) fn ask_idle_ones(&mut self, suspected: PathId) {
        let paths = self.paths.iter();
        let idle = paths.filter(|(_, path)| path.is_usable() && !path.is_waiting());
        let idle: Vec<PathId> = idle.map(|(key, _)| PathId(key)).collect();
        for path in idle.into_iter().filter(|&path| path != suspected) {
            self.ask_connection(path);
        }
    }
}
