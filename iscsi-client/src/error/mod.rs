//! What went wrong, what became of the request, and what to do about it.

mod kind;
mod login;

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use iscsi_proto::scsi::sense::SenseData;
pub use kind::ErrorKind;
pub use login::{LoginError, LoginFailure, SlotDifference};

use crate::buf::MemError;

/// Whether a failed request had an effect. A journalling caller decides by it, and multipath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It had none, and will have none: nothing was sent, or the target said so.
    NotExecuted,
    /// It was sent and no answer came. A write may have happened, in part too, and unless
    /// [`Error::is_dead`] it may happen still.
    Unknown,
    /// The target has worked on it and answered with a failure, or the answer was good and the data
    /// could not be delivered. A write may have happened in part; it will not happen later.
    Executed,
}

/// Where and when the same request may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nowhere: the request or the configuration has to change, or someone has to repair something.
    Never,
    /// Here, at once.
    SamePath,
    /// Through another path to the same device, at once.
    OtherPath,
    /// Here, after this time.
    After(Duration),
}

/// The failure of a request.
///
/// One line of `Display` says what to do; `{:#}` adds the causes, each after a colon. It is cheap to
/// clone, so that it can be given to everybody who waits.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    retry: Retry,
    dead: bool,
    sense: Option<SenseData>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of this kind; the retry advice is the kind's usual one. With an unknown outcome
    /// the command is taken to be still alive at the target.
    #[must_use]
    pub fn new(kind: ErrorKind, outcome: Outcome) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome,
            retry: kind.usual_retry(),
            dead: outcome != Outcome::Unknown,
            sense: None,
            source: None,
        }))
    }

    /// A failure without any effect.
    #[must_use]
    pub fn not_executed(kind: ErrorKind) -> Self {
        Self::new(kind, Outcome::NotExecuted)
    }

    /// Replaces the retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says whether the target can still execute the command, see [`is_dead`](Self::is_dead).
    #[must_use]
    pub fn with_dead(mut self, dead: bool) -> Self {
        self.0.dead = dead;
        self
    }

    /// Replaces the outcome. Of a request in several commands it is that of the whole.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Adds what the target said.
    #[must_use]
    pub fn with_sense(mut self, sense: SenseData) -> Self {
        self.0.sense = Some(sense);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the request had an effect.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Where and when it may succeed.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The target's sense data, as it came: a host that passes SCSI through hands it to its guest.
    #[must_use]
    pub const fn sense(&self) -> Option<&SenseData> {
        self.0.sense.as_ref()
    }

    /// Whether it is proven that the target can no longer execute the command: it was answered,
    /// aborted, or never sent. Only then may a write be repeated, or be followed by another one to
    /// the same blocks, without the danger that the old one lands last.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.0.dead
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.kind, f)?;
        if let Some(sense) = &self.0.sense {
            write!(f, " ({sense})")?;
        }
        match self.0.outcome {
            Outcome::Unknown => f.write_str("; whether the request was carried out is unknown")?,
            Outcome::NotExecuted | Outcome::Executed => {}
        }
        let mut source = if f.alternate() { self.source() } else { None };
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("outcome", &self.0.outcome)
            .field("retry", &self.0.retry)
            .field("dead", &self.0.dead)
            .field("sense", &self.0.sense)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<MemError> for Error {
    /// A region refused to be loaded: nothing was sent yet.
    fn from(error: MemError) -> Self {
        Self::not_executed(ErrorKind::Memory).with_source(error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind().to_io(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_not_dead_until_proven() {
        let error = Error::new(ErrorKind::Transport, Outcome::Unknown);
        assert!(!error.is_dead());
        assert!(error.with_dead(true).is_dead());
        assert!(Error::not_executed(ErrorKind::Transport).is_dead());
    }

    #[test]
    fn display_is_one_line_and_the_alternate_form_adds_the_causes() {
        let cause = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = Error::new(ErrorKind::Transport, Outcome::Unknown).with_source(cause);
        let (plain, full) = (format!("{error}"), format!("{error:#}"));
        assert!(plain.ends_with("is unknown"), "{plain}");
        assert_eq!(full, format!("{plain}: connection reset"));
    }

    #[test]
    fn an_io_error_keeps_the_whole_error_inside() {
        let error = Error::not_executed(ErrorKind::NoSpace);
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::StorageFull);
        let inner = io.get_ref().and_then(|e| e.downcast_ref::<Error>());
        assert_eq!(inner.map(Error::kind), Some(ErrorKind::NoSpace));
    }

    #[test]
    fn errors_can_cross_threads() {
        const fn is<T: Send + Sync + Unpin + Clone + 'static>() {}
        is::<Error>();
        is::<LoginError>();
        assert!(size_of::<Result<(), Error>>() <= size_of::<usize>());
    }
}
