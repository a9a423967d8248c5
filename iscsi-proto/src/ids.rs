//! The identifiers of RFC 7143 that are plain numbers.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $fmt:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $fmt, self.0)
            }
        }
    };
}

id! {
    /// Initiator Task Tag (RFC 7143 section 11.2.1.8): names a task within a session.
    InitiatorTaskTag(u32), "{:#010x}"
}
id! {
    /// Target Transfer Tag (sections 11.7.4, 11.19): names an R2T, a NOP-In ping or a text exchange.
    TargetTransferTag(u32), "{:#010x}"
}
id! {
    /// Target Session Identifying Handle (section 11.12.6); zero asks for a new session.
    Tsih(u16), "{:#06x}"
}
id! {
    /// Connection ID within a session (section 11.12.7).
    Cid(u16), "{}"
}
id! {
    /// Target portal group tag (section 13.9).
    TargetPortalGroupTag(u16), "{}"
}

impl InitiatorTaskTag {
    /// "No task": the value that unsolicited NOP-Ins and answers to them carry.
    pub const RESERVED: Self = Self(u32::MAX);
}

impl TargetTransferTag {
    /// "No tag": unsolicited data, and pings that want no answer.
    pub const RESERVED: Self = Self(u32::MAX);
}

/// Initiator session identifier (section 11.12.5): 48 bits that, with the initiator name, are the
/// initiator port. Equal ISIDs towards one target portal group mean "the same session again".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isid(pub [u8; 6]);

impl fmt::Debug for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isid({self})")
    }
}

impl fmt::Display for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Status-Class and Status-Detail of a Login Response (section 11.13.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LoginStatus {
    /// 0 success, 1 redirection, 2 initiator error, 3 target error; others are reserved.
    pub class: u8,
    /// Which case of the class.
    pub detail: u8,
}

impl LoginStatus {
    /// Status 0000.
    pub const SUCCESS: Self = Self {
        class: 0,
        detail: 0,
    };

    /// The standard's words for this status, `"unknown status"` for values it does not define.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match (self.class, self.detail) {
            (0, 0) => "success",
            (1, 1) => "target moved temporarily",
            (1, 2) => "target moved permanently",
            (2, 0) => "initiator error",
            (2, 1) => "authentication failure",
            (2, 2) => "authorization failure",
            (2, 3) => "target not found",
            (2, 4) => "target removed",
            (2, 5) => "unsupported version",
            (2, 6) => "too many connections",
            (2, 7) => "missing parameter",
            (2, 8) => "can't include in session",
            (2, 9) => "session type not supported",
            (2, 10) => "session does not exist",
            (2, 11) => "invalid request during login",
            (3, 0) => "target error",
            (3, 1) => "service unavailable",
            (3, 2) => "out of resources",
            _ => "unknown status",
        }
    }

    /// Whether and how to log in again after a refusal with this status.
    #[must_use]
    pub const fn retry(self) -> LoginRetry {
        match (self.class, self.detail) {
            (1, 1 | 2) => LoginRetry::Elsewhere,
            (2, 10) => LoginRetry::Afresh,
            // Class 3 blames the target. A name may be unknown, or connections too many, just now:
            // while a volume moves, or until the target notices that older sessions are dead.
            (3, _) | (2, 3 | 6) => LoginRetry::Later,
            _ => LoginRetry::Never,
        }
    }

    /// Whether a later attempt with the same configuration may succeed at the same portal.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self.retry(), LoginRetry::Later | LoginRetry::Afresh)
    }
}

/// What a refused login says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginRetry {
    /// The same configuration will be refused again: somebody has to change something.
    Never,
    /// After a pause.
    Later,
    /// As a new session, with a TSIH of zero; at once.
    Afresh,
    /// At the portal that came with the status.
    Elsewhere,
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}{:02x} {}",
            self.class,
            self.detail,
            self.description()
        )
    }
}
