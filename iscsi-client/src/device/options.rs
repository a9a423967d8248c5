//! What a request may ask for besides its data.

use std::time::Duration;

macro_rules! with_timeout {
    ($name:ident) => {
        impl $name {
            /// Sets the time after which the request is given up with
            /// [`ErrorKind::Timeout`](crate::error::ErrorKind::Timeout). The failure comes once it is
            /// known what became of the command, so later by the target's answer to an abort or, if it
            /// gives none, by the time allowed for one (5 s on a session with default options).
            #[must_use]
            pub const fn with_timeout(mut self, timeout: Duration) -> Self {
                self.timeout = Some(timeout);
                self
            }
        }
    };
}

/// Options of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Time for the whole request, from the call on, retries and splits included; `None` is the
    /// device's default.
    pub timeout: Option<Duration>,
}

/// Options of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Time for the whole request, from the call on, retries and splits included; `None` is the
    /// device's default.
    pub timeout: Option<Duration>,
    /// Force unit access: success means that the data is on stable storage.
    pub fua: bool,
}

/// Options of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushOptions {
    /// Time for the whole request, from the call on, retries included; `None` is the device's
    /// default.
    pub timeout: Option<Duration>,
}

with_timeout!(ReadOptions);
with_timeout!(WriteOptions);
with_timeout!(FlushOptions);

impl WriteOptions {
    /// Asks for the data to be on stable storage before the write succeeds.
    #[must_use]
    pub const fn with_fua(mut self) -> Self {
        self.fua = true;
        self
    }
}
