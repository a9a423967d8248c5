//! What a session may use and how long it may take.

use std::{sync::Arc, time::Duration};

use iscsi_proto::{
    login::{ChapAlgorithm, LoginConfig, LoginLimits},
    session::SessionConfig,
    text::{OperationalOffer, SessionType},
};

use super::redirect::RedirectPolicy;
use crate::{
    credentials::CredentialProvider,
    quirks::QuirkTable,
    runtime::{Dialer, SocketOptions},
    tap::Tap,
};

/// Limits, timers and negotiation wishes of a session. The defaults are meant for production.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Commands that may be under way at a time, from 1 on; further ones wait their turn. Default
    /// 128: what the kernel initiator uses, and enough for 10 Gbit/s of 4 KiB reads at 3 ms. What a command
    /// needs of memory, about 1 KiB, is made when so many are under way for the first time, and used again: an
    /// idle session holds some 24 KiB, whatever this says, and one that once had 128 under way 120 KiB.
    pub queue_depth: u16,
    /// Time for a command without a timeout of its own. Default 30 s, as the kernel's disks have.
    pub command_timeout: Option<Duration>,
    /// How long commands wait for a session that is down. Default `None`: they fail at once with
    /// [`Outcome::NotExecuted`](crate::error::Outcome::NotExecuted), which is what multipath wants.
    /// (open-iscsi's `node.session.timeo.replacement_timeout` is 120 s.)
    pub replacement_timeout: Option<Duration>,
    /// Time to close in good order, logout included, before the connection is cut. Default 6 s.
    pub close_timeout: Duration,
    /// Time for a connection to an address of a portal, and for the portal's name to be resolved.
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// A session that was lost is connected to again so often while nobody answers: connections are
    /// refused, the portal cannot be reached, or stays silent. Counted from the beginning of an attempt,
    /// less up to a quarter at random; a healed path is found after this time at most, as long as
    /// [`LoginRate`](crate::initiator::LoginRate) lets all ask so often that are down: some 25 sessions with
    /// its defaults. A name that is not resolved is asked for at longer and longer intervals. A silent
    /// portal is asked by a further connection, next to the first one that has its whole
    /// [`connect_timeout`](Self::connect_timeout), since TCP repeats its question after 1, 3 and
    /// 7 s only. A target that answers, and does not take the login, is left alone for longer and
    /// longer, up to 10 s, whatever this says; and without a [carrier](crate::links) nobody is asked. From 100 ms to 10 s; default 500 ms.
    pub reconnect_interval: Duration,
    /// Gives the credentials of each login, in place of those that are set. Default `None`.
    pub credentials: Option<Arc<dyn CredentialProvider>>,
    /// CHAP algorithms, best first; one that is not in the list is neither offered nor accepted, so a
    /// list without MD5 ([`ChapAlgorithm::WITHOUT_MD5`]) refuses it. A target that refuses lists is
    /// offered less ([`LoginConfig::narrowed_after`](iscsi_proto::login::LoginConfig::narrowed_after)).
    /// Default [`ChapAlgorithm::ALL`]; empty means that too.
    pub chap_algorithms: Vec<ChapAlgorithm>,
    /// Whether a login with credentials fails if the target does not ask for them. Default yes.
    pub require_chap: bool,
    /// Which redirections are followed.
    pub redirect: RedirectPolicy,
    /// Whether a login fails if the portal has a [`tpgt`](iscsi_proto::portal::Portal::tpgt), as
    /// discovery tells it, and the target names another group or none. Default no: then it is an
    /// event ([`SessionEventKind::PortalGroup`](super::SessionEventKind::PortalGroup)). RFC 7143
    /// section 6.3 leaves it to environments where portal groups are reconfigured.
    pub require_portal_group: bool,
    /// Bounds on the login exchange.
    pub login: LoginLimits,
    /// Digests, burst lengths and the like.
    pub offer: OperationalOffer,
    /// Timers of full feature phase, and the ladder of what is tried to stop a command that is not
    /// answered in time. `max_tasks` and `first_generation` are set by the client; intervals are at
    /// least 10 ms.
    pub core: SessionConfig,
    /// Socket options.
    pub socket: SocketOptions,
    /// What single targets need that others do not. Default: the built-in table.
    pub quirks: Arc<QuirkTable>,
    /// Opens the session's connections instead of the runtime; see
    /// [`Dialer`]. Default `None`.
    pub dialer: Option<Arc<dyn Dialer>>,
    /// Watches the session's connections; see [`tap`](crate::tap). Default `None`.
    pub tap: Option<Arc<dyn Tap>>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            queue_depth: 128,
            command_timeout: Some(Duration::from_secs(30)),
            replacement_timeout: None,
            close_timeout: Duration::from_secs(6),
            connect_timeout: Duration::from_secs(5),
            reconnect_interval: Duration::from_millis(500),
            credentials: None,
            chap_algorithms: ChapAlgorithm::ALL.to_vec(),
            require_chap: true,
            redirect: RedirectPolicy::default(),
            require_portal_group: false,
            login: LoginLimits::default(),
            offer: OperationalOffer::default(),
            core: SessionConfig::default(),
            socket: SocketOptions::default(),
            quirks: Arc::default(),
            dialer: None,
            tap: None,
        }
    }
}

/// The most that a session can have under way: the core's task tags have 12 bits, and commands that
/// were abandoned keep theirs until the target has confirmed the abort.
pub(super) const MAX_QUEUE_DEPTH: u16 = 2016;

/// Pings and acknowledgements are sent no more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Less is a flood, and more is what a target that answers gets.
const RECONNECT_INTERVALS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));

/// A caller may well say `Duration::MAX` for "never", which added to a clock is a panic.
pub(crate) fn clamp_timeout(timeout: Duration) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    timeout.min(YEAR)
}

impl SessionOptions {
    /// What the options say about logins.
    pub(crate) fn configure(&self, login: LoginConfig) -> LoginConfig {
        let login = match login.session_type() {
            SessionType::Normal => login.with_require_chap(self.require_chap),
            // Discovery has credentials of its own, and rules for them.
            SessionType::Discovery => login,
        };
        login
            .with_offer(self.offer)
            .with_limits(self.login)
            .with_chap_algorithms(&self.chap_algorithms)
    }

    /// The options within their ranges.
    pub(crate) fn clamped(mut self) -> Self {
        self.queue_depth = self.queue_depth.clamp(1, MAX_QUEUE_DEPTH);
        // As many again for abandoned commands that the target has not yet confirmed dead.
        self.core.max_tasks = self.queue_depth.saturating_mul(2).max(16);
        // Less would be a flood, and none at all is refused by the core.
        let floor = |interval: Duration| interval.max(SHORTEST_INTERVAL);
        self.core.nop_interval = self.core.nop_interval.map(floor);
        let coarsest = self
            .core
            .nop_interval
            .map_or(Duration::ZERO, |interval| interval / 2);
        self.core.nop_beat = self.core.nop_beat.min(coarsest);
        self.core.nop_timeout = floor(self.core.nop_timeout);
        self.core.acknowledge_after = self.core.acknowledge_after.map(floor);
        self.replacement_timeout = self.replacement_timeout.map(clamp_timeout);
        self.close_timeout = clamp_timeout(self.close_timeout);
        self.connect_timeout = clamp_timeout(self.connect_timeout);
        let (shortest, longest) = RECONNECT_INTERVALS;
        self.reconnect_interval = self.reconnect_interval.clamp(shortest, longest);
        self.login.timeout = clamp_timeout(self.login.timeout);
        self
    }
}
