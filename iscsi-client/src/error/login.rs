//! Why a session could not be opened.

use std::{error::Error as StdError, fmt, io, sync::Arc};

use iscsi_proto::{
    Error as ProtoError,
    error::{Consequence, PeerIncompatible as Incompatible},
    login::explain,
    portal::Portal,
};

use super::{Error, ErrorKind, Retry};

/// A login, or the discovery before it, that did not come about: at which portal and why.
///
/// `Display` is one line with the cause; [`advice`](Self::advice) is the sentence to print after
/// it.
#[derive(Clone, Debug)]
pub struct LoginError {
    portal: Portal,
    failure: LoginFailure,
    /// Nobody was there: no connection came about, to no address, and nothing had sent us there.
    unanswered: bool,
}

/// The step that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginFailure {
    /// The host name could not be resolved.
    Resolve(Arc<io::Error>),
    /// The local end could not be set up: no such device or address, an ambiguous one, a socket option
    /// that was refused, or no permission. The error's text says what to do.
    Bind(Arc<io::Error>),
    /// No TCP connection came about.
    Connect(Arc<io::Error>),
    /// The connection broke during the login.
    Io(Arc<io::Error>),
    /// The login itself failed.
    Protocol(ProtoError),
    /// The provider of credentials had none.
    Credentials(Arc<dyn StdError + Send + Sync>),
    /// Redirected to a portal that had redirected us before in the same login.
    RedirectLoop,
    /// Redirected more often than [`RedirectPolicy::max_hops`](crate::session::RedirectPolicy)
    /// allows: the limit.
    TooManyRedirects(u32),
    /// Redirected to a portal to which the policy does not let us go.
    RedirectRefused {
        /// That portal.
        to: Portal,
    },
    /// A session of this initiator with this target uses the same slot, so that a login would end it.
    SessionExists,
    /// The slot has a session that others share, but on other terms than were asked for.
    SlotDiffers(SlotDifference),
    /// The login succeeded, the discovery after it did not.
    Discovery(Error),
    /// Somebody else logs in again and again under our initiator name and ISID.
    NexusTaken,
    /// The initiator was closed.
    Closed,
}

/// In what a session that is open differs from the one that was asked for in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SlotDifference {
    /// It goes through another portal.
    #[error("portal")]
    Portal,
    /// It leaves from another local end.
    #[error("local end")]
    Bind,
    /// It authenticated with other credentials.
    #[error("credentials")]
    Authentication,
    /// It has other options.
    #[error("session options")]
    Options,
}

impl LoginError {
    /// A failure at `portal`.
    #[must_use]
    pub const fn new(portal: Portal, failure: LoginFailure) -> Self {
        Self {
            portal,
            failure,
            unanswered: false,
        }
    }

    /// The same, of an attempt to which nobody answered.
    pub(crate) const fn with_unanswered(mut self, unanswered: bool) -> Self {
        self.unanswered = unanswered;
        self
    }

    /// Whether nobody answered at all, not even to send us elsewhere.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Where it happened; after a redirection, the portal that was redirected to.
    #[must_use]
    pub const fn portal(&self) -> &Portal {
        &self.portal
    }

    /// What failed.
    #[must_use]
    pub const fn failure(&self) -> &LoginFailure {
        &self.failure
    }

    /// Whether a later attempt with the same configuration may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.failure {
            LoginFailure::Protocol(error) => error.consequence() == Consequence::DropConnection,
            LoginFailure::Resolve(_) | LoginFailure::Connect(_) | LoginFailure::Io(_) => true,
            // An interface may come back; one that cannot be told from another will not.
            LoginFailure::Bind(error) => error.kind() != io::ErrorKind::InvalidInput,
            LoginFailure::Discovery(error) => error.retry() != Retry::Never,
            // Redirections change while a cluster fails over, and providers recover.
            LoginFailure::Credentials(_)
            | LoginFailure::RedirectLoop
            | LoginFailure::TooManyRedirects(_) => true,
            LoginFailure::RedirectRefused { .. }
            | LoginFailure::SessionExists
            | LoginFailure::SlotDiffers(_)
            | LoginFailure::NexusTaken
            | LoginFailure::Closed => false,
        }
    }

    /// One or two sentences that say what to do. For what the protocol says, those of
    /// [`explain`].
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match &self.failure {
            LoginFailure::Resolve(_) => "Check the portal's host name and the resolver.",
            LoginFailure::Bind(_) => {
                "Check the name or address of the local interface, and the socket options."
            }
            LoginFailure::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "Check address and port: the host is there, but nothing listens."
                }
                _ => "Check the portal's address, the cable and the firewall.",
            },
            LoginFailure::Io(_) => "Check that an iSCSI target listens there, and its log.",
            LoginFailure::Protocol(error) => explain(error),
            LoginFailure::Credentials(_) => "Check where this program gets its CHAP secrets from.",
            LoginFailure::RedirectLoop | LoginFailure::TooManyRedirects(_) => {
                "Check the redirections in the target's configuration."
            }
            LoginFailure::RedirectRefused { .. } => {
                "Use that portal instead, or allow redirections to it."
            }
            LoginFailure::SessionExists => {
                "Close the other session, or give this one another slot (`SessionTarget::with_slot`)."
            }
            LoginFailure::SlotDiffers(_) => {
                "Ask for the same, or give this session another slot: `SessionTarget::with_slot`, or \
                 for several paths `MultipathBuilder::session_number`."
            }
            LoginFailure::Discovery(_) => "Check that an iSCSI target listens there, and its log.",
            LoginFailure::NexusTaken => "Give every initiator a name of its own.",
            LoginFailure::Closed => "Make a new initiator.",
        }
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let portal = &self.portal;
        match &self.failure {
            LoginFailure::Resolve(e) => write!(f, "cannot resolve {portal}: {e}"),
            LoginFailure::Bind(e) => write!(f, "cannot bind the local end for {portal}: {e}"),
            LoginFailure::Connect(e) => write!(f, "cannot connect to {portal}: {e}"),
            LoginFailure::Io(e) => write!(f, "connection lost during login to {portal}: {e}"),
            LoginFailure::Protocol(e) => write!(f, "cannot log in to {portal}: {e}"),
            LoginFailure::Credentials(e) => write!(f, "no credentials for {portal}: {e}"),
            LoginFailure::RedirectLoop => write!(f, "{portal} redirects in a circle"),
            LoginFailure::TooManyRedirects(limit) => {
                write!(f, "{portal} redirects once more, after {limit} times")
            }
            LoginFailure::RedirectRefused { to } => {
                write!(f, "{portal} redirects to {to}, which is not allowed")
            }
            LoginFailure::SessionExists => {
                write!(
                    f,
                    "a session with the target at {portal} is open in the same slot"
                )
            }
            LoginFailure::SlotDiffers(difference) => write!(
                f,
                "the session with the target at {portal} in this slot is open with another {difference}"
            ),
            LoginFailure::Discovery(e) => write!(f, "discovery at {portal} failed: {e:#}"),
            LoginFailure::NexusTaken => {
                write!(f, "another initiator uses our name and ISID at {portal}")
            }
            LoginFailure::Closed => write!(f, "closed before the login to {portal} was done"),
        }
    }
}

/// The cause is in the text already, so it is not a [`source`](StdError::source) as well.
impl StdError for LoginError {}

impl LoginError {
    /// Whether the credentials were at fault: the target refused them, wants some or knows none of their kind, or did
    /// not prove its own.
    pub(crate) const fn is_of_credentials(&self) -> bool {
        match &self.failure {
            LoginFailure::Protocol(ProtoError::LoginRejected(status)) => {
                matches!((status.class, status.detail), (2, 1 | 2))
            }
            LoginFailure::Protocol(ProtoError::PeerIncompatible(why)) => matches!(
                why,
                Incompatible::NoCommonAuthMethod
                    | Incompatible::CredentialsRequired
                    | Incompatible::TargetNotAuthentic
                    | Incompatible::TargetProofMissing
            ),
            _ => false,
        }
    }
}

impl From<LoginError> for Error {
    /// For an I/O that waited for a login: nothing was sent.
    fn from(error: LoginError) -> Self {
        let kind = match &error.failure {
            // Class 3 is a target that cannot now, 2/6 one with too many connections.
            LoginFailure::Protocol(ProtoError::LoginRejected(status))
                if matches!((status.class, status.detail), (3, _) | (2, 6)) =>
            {
                ErrorKind::Transport
            }
            LoginFailure::Protocol(ProtoError::LoginRejected(_)) => ErrorKind::Auth,
            LoginFailure::Protocol(ProtoError::PeerIncompatible(_)) => ErrorKind::Auth,
            LoginFailure::Protocol(ProtoError::TimedOut(_)) => ErrorKind::Timeout,
            LoginFailure::Protocol(
                ProtoError::Decode(_) | ProtoError::PeerMisbehaved(_) | ProtoError::ApiMisuse(_),
            ) => ErrorKind::Protocol,
            LoginFailure::SessionExists | LoginFailure::SlotDiffers(_) => ErrorKind::Busy,
            LoginFailure::Credentials(_) => ErrorKind::Auth,
            LoginFailure::Discovery(error) => error.kind(),
            LoginFailure::Closed => ErrorKind::Closed,
            _ => ErrorKind::Transport,
        };
        let retry = match kind {
            ErrorKind::Closed => Retry::Never,
            _ => Retry::OtherPath,
        };
        Self::not_executed(kind)
            .with_retry(retry)
            .with_source(error)
    }
}

impl From<LoginError> for io::Error {
    fn from(error: LoginError) -> Self {
        let kind = match &error.failure {
            LoginFailure::Resolve(e)
            | LoginFailure::Bind(e)
            | LoginFailure::Connect(e)
            | LoginFailure::Io(e) => e.kind(),
            _ => Error::from(error.clone()).kind().to_io(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use iscsi_proto::LoginStatus;

    use super::*;

    fn rejected(class: u8, detail: u8) -> LoginError {
        let portal = "10.0.0.1:3260".parse().unwrap();
        let error = ProtoError::LoginRejected(LoginStatus { class, detail });
        LoginError::new(portal, LoginFailure::Protocol(error))
    }

    #[test]
    fn a_wrong_secret_says_so_and_is_not_tried_again() {
        let error = rejected(2, 1);
        assert!(error.advice().contains("secret"));
        assert!(!error.is_transient());
        assert!(error.to_string().contains("10.0.0.1:3260"), "{error}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Auth);
    }

    #[test]
    fn a_target_that_is_out_of_resources_is_tried_again() {
        assert!(rejected(3, 2).is_transient());
    }

    /// An I/O that fails meanwhile must not send anybody to look for a wrong secret.
    #[test]
    fn a_target_that_cannot_serve_us_now_has_not_refused_us() {
        for (class, detail) in [(3, 0), (3, 1), (3, 2), (2, 6)] {
            let kind = Error::from(rejected(class, detail)).kind();
            assert_eq!(kind, ErrorKind::Transport, "{class}/{detail}");
        }
        assert_eq!(Error::from(rejected(2, 2)).kind(), ErrorKind::Auth);
    }
}
