//! Whether somebody else logs in under our initiator name and ISID.
//!
//! A target that takes a login with the name and ISID of a session that it has ends that session
//! (session reinstatement, RFC 7143 section 6.3.5) and tells it nothing: the connection just ends.
//! Two hosts of one name, a cloned virtual machine say, so log each other out for as long as both log
//! in again. What can be seen of that from here, and how it differs from a target that flaps:
//!
//! * The *target* ends the connection, in good order and without a word (FIN). Silence, a timeout, an
//!   error of protocol or a digest is something else and ends the suspicion. A reset (RST) says
//!   nothing: a target that closes a socket with unread data in it causes one just as a network does,
//!   so it neither adds to the suspicion nor ends it. Nor does an asynchronous message that announces
//!   the end: administrators cause those.
//! * It does so soon, within [`SHORT`] of the login, again and again.
//! * Every login succeeds at the first attempt.
//! * The target is there all the time. A process that restarts quickly enough fulfils everything
//!   above, so there is a control: a second connection, opened at once and without a login, which must
//!   come about and stay open until the next login has succeeded. What ends that one as well, or
//!   refuses it, is not another initiator.
//!
//! [`TAKEN`] such ends in a row make the nexus count as taken; all but the last have to have stood the
//! control. Two could be an administrator who restarts a service twice. What cannot be told apart
//! from here is a target that drops this very session in good order every time and keeps a
//! connection without one; it gets the same long back-off, which it needs no less. A second login
//! with another ISID as the control would tell no more, and needs a place among the target's sessions.

use std::{
    fmt,
    io::{self, IoSliceMut},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use iscsi_proto::Error as CoreError;

use super::outcome::Loss;
use crate::runtime::{BoxFuture, Transport};

/// A session that lived this long was nobody's victim: the other one logs in again before its own
/// back-off, and that is the longest that initiators use.
const SHORT: Duration = Duration::from_secs(10);
/// Short lives in a row that make the nexus count as taken.
const TAKEN: u32 = 3;
/// Between two logins while it is taken. Each one ends the other's session, so this is how often the
/// two disturb each other; and it is how long it takes to notice that the other one is gone.
const LONG: Duration = Duration::from_secs(60);

/// Counts the short lives of a session.
#[derive(Debug, Default)]
pub(super) struct NexusWatch {
    /// Those that stood the control, and the last one.
    short_lives: u32,
    up_since: Option<Instant>,
    control: Control,
}

/// The second connection, between a short life and the next login.
#[derive(Default)]
enum Control {
    /// There is nothing to be controlled.
    #[default]
    None,
    Dialing(BoxFuture<io::Result<Box<dyn Transport>>>),
    Open(Box<dyn Transport>),
    /// The target was not there all the time.
    Ended,
}

impl NexusWatch {
    /// A login succeeded.
    pub(super) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
        match std::mem::take(&mut self.control) {
            Control::None => {}
            Control::Open(mut transport) => transport.abort(),
            // A control that is not there yet has shown nothing.
            Control::Dialing(_) | Control::Ended => self.short_lives = 0,
        }
    }

    /// A login failed: whoever took our place would not have kept us from trying.
    pub(super) fn login_failed(&mut self) {
        *self = Self::default();
    }

    /// The connection ended; `requested` if we did that. True if there should be a control.
    pub(super) fn ended(&mut self, now: Instant, loss: &Loss, requested: bool) -> bool {
        let lived = self
            .up_since
            .take()
            .map(|since| now.saturating_duration_since(since));
        let short = lived.is_some_and(|lived| lived < SHORT);
        match loss {
            _ if requested || !short => self.short_lives = 0,
            Loss::Core(CoreError::Closed) => {
                self.short_lives = self.short_lives.saturating_add(1);
                // While it is taken the wait is longer than targets keep a connection without a login.
                return !self.is_taken();
            }
            Loss::Io(_) | Loss::Core(CoreError::DropRequested { .. }) => {}
            Loss::Core(_) => self.short_lives = 0,
        }
        false
    }

    /// Begins the control.
    pub(super) fn control(&mut self, dial: BoxFuture<io::Result<Box<dyn Transport>>>) {
        self.control = Control::Dialing(dial);
    }

    /// Looks after the control, which has the task's waker afterwards. To be called before the look
    /// at the login that it is for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Control::Dialing(dial) = &mut self.control {
            self.control = match dial.as_mut().poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(transport)) => Control::Open(transport),
                Poll::Ready(Err(_)) => Control::Ended,
            };
        }
        if let Control::Open(transport) = &mut self.control {
            // Nothing is ever said here unless we begin; whatever comes is the end.
            let mut byte = [0];
            let mut bufs = [IoSliceMut::new(&mut byte)];
            if transport.poll_read_vectored(cx, &mut bufs).is_ready() {
                self.control = Control::Ended;
            }
        }
    }

    /// Whether somebody else has our place.
    pub(super) const fn is_taken(&self) -> bool {
        self.short_lives >= TAKEN
    }

    /// The delay before the next login while it is taken. `random` spreads it over the upper half, so
    /// that two who fight do not keep in step.
    pub(super) fn delay(random: u32) -> Duration {
        LONG / 2 + (LONG / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Dialing(_) => "dialing",
            Self::Open(_) => "open",
            Self::Ended => "ended",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use iscsi_proto::error::TimedOut;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary origin; only differences are used"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    const FIN: Loss = Loss::Core(CoreError::Closed);

    fn live(watch: &mut NexusWatch, lived: Duration, loss: &Loss) {
        let now = origin();
        watch.up(now);
        _ = watch.ended(now + lived, loss, false);
    }

    #[test]
    fn three_short_lives_in_a_row_and_not_two() {
        let mut watch = NexusWatch::default();
        live(&mut watch, 2 * SHORT, &FIN);
        live(&mut watch, SHORT / 2, &FIN);
        live(&mut watch, SHORT / 2, &FIN);
        assert!(!watch.is_taken());
        live(&mut watch, SHORT / 2, &FIN);
        assert!(watch.is_taken());
        live(&mut watch, SHORT, &FIN);
        assert!(!watch.is_taken(), "the other one has gone");
    }

    #[test]
    fn a_reset_says_nothing() {
        let mut watch = NexusWatch::default();
        let reset = Loss::Io(Arc::new(io::ErrorKind::ConnectionReset.into()));
        for _ in 0..10 {
            live(&mut watch, Duration::ZERO, &reset);
        }
        assert!(!watch.is_taken());
        for loss in [&FIN, &reset, &FIN, &FIN] {
            live(&mut watch, Duration::ZERO, loss);
        }
        assert!(watch.is_taken());
    }

    #[test]
    fn a_failed_login_or_another_trouble_ends_the_suspicion() {
        let mut watch = NexusWatch::default();
        for _ in 0..10 {
            live(&mut watch, Duration::ZERO, &FIN);
            live(&mut watch, Duration::ZERO, &FIN);
            watch.login_failed();
            live(&mut watch, Duration::ZERO, &FIN);
            live(&mut watch, Duration::ZERO, &FIN);
            live(
                &mut watch,
                Duration::ZERO,
                &Loss::Core(TimedOut::Nop.into()),
            );
        }
        assert!(!watch.is_taken());
    }

    #[test]
    fn a_control_that_was_refused_or_not_there_yet_ends_the_suspicion() {
        type Dialed = io::Result<Box<dyn Transport>>;
        let refused = || {
            let error: Dialed = Err(io::ErrorKind::ConnectionRefused.into());
            Box::pin(std::future::ready(error)) as BoxFuture<Dialed>
        };
        for polled in [true, false] {
            let mut watch = NexusWatch::default();
            for _ in 0..10 {
                live(&mut watch, Duration::ZERO, &FIN);
                assert!(!watch.is_taken());
                watch.control(refused());
                if polled {
                    watch.poll(&mut Context::from_waker(std::task::Waker::noop()));
                }
            }
        }
    }

    #[test]
    fn while_taken_half_a_minute_passes_between_logins_and_at_most_a_whole_one() {
        assert_eq!(NexusWatch::delay(0), LONG / 2);
        assert_eq!(NexusWatch::delay(u32::MAX), LONG);
    }
}
