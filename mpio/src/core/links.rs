//! Cables that are pulled, and plugged in again.

use std::time::Instant;

use iscsi_proto::planted::Bug;

use super::{Action, Multipath, PathId, ProbeKind, path::Path};

impl Multipath {
    /// Whether the network devices that paths leave through have a carrier; a path of which nothing is ever said
    /// has one. What is told holds until something else is, whatever becomes of the path's connection.
    ///
    /// A path without a carrier takes no new I/O, and its reads go elsewhere at once. If there is a path to go
    /// to, its connection is closed at once as well, so that its writes are repeated there; otherwise it stays, and
    /// may survive. When the carrier is back, a path that did is asked, and used once it has answered.
    pub fn handle_links(&mut self, now: Instant, links: impl IntoIterator<Item = (PathId, bool)>) {
        let mut has_changed = false;
        for (id, has_carrier) in links {
            let Some(path) = self.paths.get_mut(id.0) else {
                continue;
            };
            let is_ignored = has_carrier && self.config.planted.has(Bug::CarrierNeverBack);
            if path.is_unplugged() != has_carrier || is_ignored {
                continue;
            }
            has_changed = true;
            path.set_unplugged(!has_carrier);
            if has_carrier && path.is_connected() {
                path.suspicion.doubt(now, &self.config.suspicion);
                self.actions.push_back(Action::Probe {
                    path: id,
                    kind: ProbeKind::Nop,
                });
            }
        }
        if has_changed {
            self.restless = true;
            self.settle(now);
            self.ask_unplugged(now);
        }
    }

    /// A path without a carrier that is left alone is asked at once: where nothing is in flight nobody would notice its
    /// silence before its next check, and it would count as one that may come back.
    fn ask_unplugged(&mut self, now: Instant) {
        let mut is_any = false;
        for (_, path) in self.paths.iter_mut() {
            if path.is_unplugged() && path.is_connected() {
                path.checker.ask_now(now);
                is_any = true;
            }
        }
        if is_any {
            self.check_paths(now);
            self.settle(now);
        }
    }

    /// Closes the connections of paths without a carrier, if there is a path to go to; true if there were any. All of them
    /// were told of together, so this one is not the next to lose its carrier.
    pub(super) fn close_unplugged(&mut self) -> bool {
        let is_open = |path: &Path| path.is_unplugged() && path.is_connected();
        let is_any = |what: fn(&Path) -> bool| self.paths.iter().any(|(_, path)| what(path));
        if !is_any(is_open) || !is_any(Path::is_usable) {
            return false;
        }
        for (key, path) in self.paths.iter_mut() {
            if is_open(path) {
                path.set_fencing(true);
                self.actions.push_back(Action::Fence { path: PathId(key) });
            }
        }
        true
    }
}
