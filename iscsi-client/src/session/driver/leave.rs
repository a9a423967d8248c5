//! The end of a connection by a logout: ours, or one that the target asked for.

use std::time::Duration;

use iscsi_proto::{Error as CoreError, pdu::LogoutResponse};

use super::{Driver, LONGEST_TIME2WAIT, Phase, Step};
use crate::session::{outcome, state::DownReason};

impl Driver {
    /// The target has answered a logout. Whatever it says, the connection is over: success and the
    /// failures of section 11.15.1 differ in what the target keeps, and at ErrorRecoveryLevel 0 nothing
    /// of that is of use.
    pub(super) fn logged_out(&mut self, answer: &LogoutResponse) -> Step {
        let mut link = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Up(link) => link,
            other => {
                self.phase = other;
                return Step::Again;
            }
        };
        // Of our own logout nothing is under way any more. A target that asked for one may not have
        // waited for everything: that ends here, with its true outcome.
        self.shared().set_progress(None);
        link.core.handle_closed(CoreError::Closed);
        self.ops.drain(&mut link.core, None);
        self.ops.connection_ended();
        if self.close_by.is_some() {
            self.phase = Phase::Closing(link.transport);
            return Step::Again;
        }
        // An orderly end: whoever drops the transport closes it.
        drop(link);
        self.down = outcome::leaving();
        let now = self.now();
        self.hold_until = self.options.replacement_timeout.map(|hold| now + hold);
        let time2wait = Duration::from_secs(answer.time2wait.into()).min(LONGEST_TIME2WAIT);
        self.retry(DownReason::LogoutRequested, time2wait, Duration::ZERO)
    }
}
