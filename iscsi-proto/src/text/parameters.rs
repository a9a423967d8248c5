//! What a login agreed on.

use alloc::sync::Arc;

use crate::ids::TargetPortalGroupTag;

/// A digest after negotiation (RFC 7143 section 13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Digest {
    /// No digest.
    #[default]
    None,
    /// CRC32C, four bytes after the segment.
    Crc32c,
}

/// How task management functions that concern many tasks are reported (RFC 7143 section 13.23).
///
/// In the order of what they ask of the two sides, so that they can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskReporting {
    /// As RFC 3720 had it: the initiator answers every R2T of an aborted task (section 4.2.3.3).
    #[default]
    Rfc3720,
    /// Responses of the aborted tasks never overtake the function's response (section 4.2.2.3.3).
    ResponseFence,
    /// The target ends the tasks at once, says so by asynchronous events, and waits for no data
    /// (section 4.2.3.4).
    FastAbort,
}

impl TaskReporting {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Rfc3720, Self::ResponseFence, Self::FastAbort];

    /// The value on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence",
            Self::FastAbort => "FastAbort",
        }
    }

    /// The one with this name; case matters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// The operational parameters of a connection and its session, after negotiation.
///
/// [`Default`] gives the values that hold when a key is not negotiated at all (RFC 7143 section 13).
/// Lengths are in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameters {
    /// Digest after every basic header segment with its AHS, both directions.
    pub header_digest: Digest,
    /// Digest after every data segment, both directions.
    pub data_digest: Digest,
    /// How many connections the session may have.
    pub max_connections: u16,
    /// Whether every write waits for an R2T; `false` allows unsolicited Data-Out.
    pub initial_r2t: bool,
    /// Whether a SCSI Command PDU may carry data.
    pub immediate_data: bool,
    /// The longest data segment that we declared to take.
    pub max_recv_data_segment_length: u32,
    /// The longest data segment that the peer declared to take: our limit when sending.
    pub max_xmit_data_segment_length: u32,
    /// The longest solicited sequence: one R2T, or one Data-In burst.
    pub max_burst_length: u32,
    /// The most unsolicited bytes of one command, immediate data included. Never above
    /// `max_burst_length`.
    pub first_burst_length: u32,
    /// Seconds to wait after a connection ended unexpectedly before it is tried again.
    pub default_time2wait: u16,
    /// Seconds after `default_time2wait` for which tasks could be reassigned.
    pub default_time2retain: u16,
    /// How many R2Ts of one task may be outstanding.
    pub max_outstanding_r2t: u16,
    /// Whether Data PDUs of a sequence come in ascending order without gaps.
    pub data_pdu_in_order: bool,
    /// Whether sequences of a command come in ascending order without gaps.
    pub data_sequence_in_order: bool,
    /// 0, 1 or 2 (section 7.1.5).
    pub error_recovery_level: u8,
    /// How functions that concern many tasks are reported.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel (RFC 7144 section 7.1.1): 1 is RFC 7143; 2 adds RFC 7144, with QUERY TASK,
    /// QUERY TASK SET, I_T NEXUS RESET and QUERY ASYNCHRONOUS EVENT, command priority and the status
    /// qualifier. 0 claims nothing. Never above what we offered.
    pub protocol_level: u8,
    /// The portal group that we logged in to, where the target told.
    pub target_portal_group_tag: Option<TargetPortalGroupTag>,
    /// The target's name for humans; text of the peer, at most 255 bytes without control
    /// characters.
    pub target_alias: Option<Arc<str>>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            header_digest: Digest::None,
            data_digest: Digest::None,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: 8192,
            max_xmit_data_segment_length: 8192,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
            target_portal_group_tag: None,
            target_alias: None,
        }
    }
}
