//! What an initiator offers in the operational stage.

use crate::text::keys::{Key, Rule};

/// Which digests are offered for headers or data, in order of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DigestOffer {
    /// `None`: a target that insists on a digest refuses the login.
    None,
    /// `None,CRC32C`: only if the target insists. The default, since TCP and the NIC check too, and
    /// some arrays insist.
    #[default]
    PreferNone,
    /// `CRC32C,None`: if the target can.
    PreferCrc32c,
    /// `CRC32C`: a target that cannot is refused
    /// ([`PeerIncompatible::DigestRefused`](crate::PeerIncompatible::DigestRefused)).
    RequireCrc32c,
}

impl DigestOffer {
    /// The values of the list.
    #[must_use]
    pub const fn list(self) -> &'static [&'static str] {
        match self {
            Self::None => &["None"],
            Self::PreferNone => &["None", "CRC32C"],
            Self::PreferCrc32c => &["CRC32C", "None"],
            Self::RequireCrc32c => &["CRC32C"],
        }
    }
}

/// Which kinds of task reporting are offered (RFC 7143 section 13.23), in order of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskReportingOffer {
    /// The key is not sent, so that the default, `RFC3720`, holds; a target that brings the key up
    /// itself gets that too. The default, since no initiator in wide use sends the key, and a target
    /// that was never tested with it is not worth finding.
    #[default]
    Silent,
    /// `RFC3720`.
    Rfc3720,
    /// `ResponseFence,RFC3720`.
    PreferResponseFence,
    /// `FastAbort,ResponseFence,RFC3720`.
    PreferFastAbort,
}

impl TaskReportingOffer {
    /// What we take, best first.
    #[must_use]
    pub const fn list(self) -> &'static [&'static str] {
        match self {
            Self::Silent | Self::Rfc3720 => &["RFC3720"],
            Self::PreferResponseFence => &["ResponseFence", "RFC3720"],
            Self::PreferFastAbort => &["FastAbort", "ResponseFence", "RFC3720"],
        }
    }
}

/// A value outside the range of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be between {min} and {max}, not {value}")]
pub struct OfferError {
    /// Which key.
    pub key: Key,
    /// The value that was refused.
    pub value: u32,
    /// The least value.
    pub min: u32,
    /// The greatest value.
    pub max: u32,
}

impl From<OfferError> for crate::error::ApiMisuse {
    fn from(_: OfferError) -> Self {
        Self::OutOfRange
    }
}

/// What we offer for every operational key. All of them are sent explicitly: some targets take a
/// key that is left out for zero instead of its default.
///
/// Three keys have no setter, because the session layer implements one value of each and an offer
/// must not promise more: `ErrorRecoveryLevel=0`, `DataPDUInOrder=Yes`, `DataSequenceInOrder=Yes`.
///
/// ```
/// use iscsi_proto::text::{DigestOffer, OperationalOffer};
///
/// # fn main() -> Result<(), iscsi_proto::text::OfferError> {
/// let offer = OperationalOffer::default()
///     .with_data_digest(DigestOffer::PreferCrc32c)
///     .with_max_burst_length(4 << 20)?;
/// let error = offer.with_max_outstanding_r2t(0).unwrap_err();
/// assert_eq!(error.to_string(), "MaxOutstandingR2T must be between 1 and 65535, not 0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationalOffer {
    pub(crate) header_digest: DigestOffer,
    pub(crate) data_digest: DigestOffer,
    pub(crate) max_connections: u16,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    pub(crate) max_recv_data_segment_length: u32,
    pub(crate) max_burst_length: u32,
    pub(crate) first_burst_length: u32,
    pub(crate) default_time2wait: u16,
    pub(crate) default_time2retain: u16,
    pub(crate) max_outstanding_r2t: u16,
    pub(crate) task_reporting: TaskReportingOffer,
    pub(crate) protocol_level: u8,
}

impl Default for OperationalOffer {
    fn default() -> Self {
        Self {
            header_digest: DigestOffer::default(),
            data_digest: DigestOffer::default(),
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1_048_576,
            first_burst_length: 262_144,
            default_time2wait: 0,
            default_time2retain: 0,
            max_outstanding_r2t: 4,
            task_reporting: TaskReportingOffer::default(),
            protocol_level: 2,
        }
    }
}

fn check(key: Key, value: u32) -> Result<u32, OfferError> {
    match key.rule() {
        Rule::Min(range) | Rule::Max(range) | Rule::DeclaredNumber(range)
            if !range.contains(&value) =>
        {
            Err(OfferError {
                key,
                value,
                min: *range.start(),
                max: *range.end(),
            })
        }
        _ => Ok(value),
    }
}

fn check_u16(key: Key, value: u16) -> Result<u16, OfferError> {
    check(key, value.into()).map(|_| value)
}

impl OperationalOffer {
    /// HeaderDigest. Default: only if the target insists.
    #[must_use]
    pub const fn with_header_digest(mut self, digest: DigestOffer) -> Self {
        self.header_digest = digest;
        self
    }

    /// DataDigest. Default: only if the target insists.
    #[must_use]
    pub const fn with_data_digest(mut self, digest: DigestOffer) -> Self {
        self.data_digest = digest;
        self
    }

    /// MaxConnections, 1 to 65535. Default 1.
    pub fn with_max_connections(mut self, count: u16) -> Result<Self, OfferError> {
        self.max_connections = check_u16(Key::MaxConnections, count)?;
        Ok(self)
    }

    /// InitialR2T: whether every write shall wait for an R2T. Default no.
    #[must_use]
    pub const fn with_initial_r2t(mut self, initial_r2t: bool) -> Self {
        self.initial_r2t = initial_r2t;
        self
    }

    /// ImmediateData: whether commands may carry data. Default yes.
    #[must_use]
    pub const fn with_immediate_data(mut self, immediate_data: bool) -> Self {
        self.immediate_data = immediate_data;
        self
    }

    /// MaxRecvDataSegmentLength: the longest data segment that we take, 512 to 2^24 - 1 bytes.
    /// Default 256 KiB.
    pub fn with_max_recv_data_segment_length(mut self, bytes: u32) -> Result<Self, OfferError> {
        self.max_recv_data_segment_length = check(Key::MaxRecvDataSegmentLength, bytes)?;
        Ok(self)
    }

    /// MaxBurstLength, 512 to 2^24 - 1 bytes. Default 1 MiB.
    pub fn with_max_burst_length(mut self, bytes: u32) -> Result<Self, OfferError> {
        self.max_burst_length = check(Key::MaxBurstLength, bytes)?;
        Ok(self)
    }

    /// FirstBurstLength, 512 to 2^24 - 1 bytes. Default 256 KiB. Offered as MaxBurstLength where
    /// that is smaller, which section 13.14 demands.
    pub fn with_first_burst_length(mut self, bytes: u32) -> Result<Self, OfferError> {
        self.first_burst_length = check(Key::FirstBurstLength, bytes)?;
        Ok(self)
    }

    /// DefaultTime2Wait, 0 to 3600 seconds; the larger one of both sides holds. Default 0: we need no
    /// pause before a new login, and every second of it would be a second without this path.
    pub fn with_default_time2wait(mut self, seconds: u16) -> Result<Self, OfferError> {
        self.default_time2wait = check_u16(Key::DefaultTime2Wait, seconds)?;
        Ok(self)
    }

    /// DefaultTime2Retain, 0 to 3600 seconds. Default 0: with ErrorRecoveryLevel 0 there is nothing
    /// to retain.
    pub fn with_default_time2retain(mut self, seconds: u16) -> Result<Self, OfferError> {
        self.default_time2retain = check_u16(Key::DefaultTime2Retain, seconds)?;
        Ok(self)
    }

    /// MaxOutstandingR2T, 1 to 65535. Default 4.
    pub fn with_max_outstanding_r2t(mut self, count: u16) -> Result<Self, OfferError> {
        self.max_outstanding_r2t = check_u16(Key::MaxOutstandingR2T, count)?;
        Ok(self)
    }

    /// TaskReporting. Default: not sent.
    #[must_use]
    pub const fn with_task_reporting(mut self, offer: TaskReportingOffer) -> Self {
        self.task_reporting = offer;
        self
    }

    /// iSCSIProtocolLevel, 0 to 2: the newest standard that is offered, 1 for RFC 7143 and 2 for RFC
    /// 7144. The smaller level of both sides holds. Default 2, as the initiator of FreeBSD sends it to
    /// every target; one that does not know the key says so, and level 1 holds.
    pub const fn with_protocol_level(mut self, level: u8) -> Result<Self, OfferError> {
        if level > 2 {
            return Err(OfferError {
                key: Key::IScsiProtocolLevel,
                value: level as u32,
                min: 0,
                max: 2,
            });
        }
        self.protocol_level = level;
        Ok(self)
    }

    /// The FirstBurstLength that is sent.
    #[must_use]
    pub fn first_burst_length(&self) -> u32 {
        self.first_burst_length.min(self.max_burst_length)
    }
}
