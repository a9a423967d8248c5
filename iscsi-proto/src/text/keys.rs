//! The keys of RFC 7143 section 13 and RFC 7143 section 12.1.3 (CHAP), each with its type, its range
//! and the function that makes one result of two values.

use core::{fmt, ops::RangeInclusive};

/// What a session is for (section 13.21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// SCSI commands to one target.
    #[default]
    Normal,
    /// SendTargets and nothing else.
    Discovery,
}

/// How two values of a key become one (section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The offer is a list in order of preference, the answer one entry of it.
    List,
    /// `Yes` or `No`; the result is `offer AND answer`.
    And,
    /// `Yes` or `No`; the result is `offer OR answer`.
    Or,
    /// A number in the range; the result is the smaller one.
    Min(RangeInclusive<u32>),
    /// A number in the range; the result is the larger one.
    Max(RangeInclusive<u32>),
    /// A number in the range that each side declares for itself; there is no answer.
    DeclaredNumber(RangeInclusive<u32>),
    /// Text that one side declares; there is no answer.
    Declared,
    /// Part of the CHAP exchange, which has its own order.
    Chap,
    /// Of RFC 3720 and gone since: never offered, and answered `No` or `Reject` (section 13.25).
    Obsolete,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $name:literal, $rule:expr;)*) => {
        /// A key that this crate knows by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Key {
            $($(#[$doc])* $key,)*
        }

        impl Key {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$key),*];

            /// The key as it stands on the wire; case matters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$key => $name,)*
                }
            }

            /// The key with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)*
                    _ => None,
                }
            }

            /// How it is negotiated.
            #[must_use]
            pub const fn rule(self) -> Rule {
                match self {
                    $(Self::$key => $rule,)*
                }
            }
        }
    };
}

/// 512 to 2^24 - 1: the range of every length key.
const LENGTH: RangeInclusive<u32> = 512..=0xff_ffff;
/// Connections and R2Ts.
const COUNT: RangeInclusive<u32> = 1..=65_535;
/// Seconds.
const TIME: RangeInclusive<u32> = 0..=3600;

keys! {
    /// Section 12.1.
    AuthMethod = "AuthMethod", Rule::List;
    /// Section 13.1.
    HeaderDigest = "HeaderDigest", Rule::List;
    /// Section 13.1.
    DataDigest = "DataDigest", Rule::List;
    /// Section 13.2.
    MaxConnections = "MaxConnections", Rule::Min(COUNT);
    /// Section 13.3.
    SendTargets = "SendTargets", Rule::Declared;
    /// Section 13.4.
    TargetName = "TargetName", Rule::Declared;
    /// Section 13.5.
    InitiatorName = "InitiatorName", Rule::Declared;
    /// Section 13.6.
    TargetAlias = "TargetAlias", Rule::Declared;
    /// Section 13.7.
    InitiatorAlias = "InitiatorAlias", Rule::Declared;
    /// Section 13.8.
    TargetAddress = "TargetAddress", Rule::Declared;
    /// Section 13.9.
    TargetPortalGroupTag = "TargetPortalGroupTag", Rule::DeclaredNumber(0..=65_535);
    /// Section 13.10.
    InitialR2T = "InitialR2T", Rule::Or;
    /// Section 13.11.
    ImmediateData = "ImmediateData", Rule::And;
    /// Section 13.12.
    MaxRecvDataSegmentLength = "MaxRecvDataSegmentLength", Rule::DeclaredNumber(LENGTH);
    /// Section 13.13.
    MaxBurstLength = "MaxBurstLength", Rule::Min(LENGTH);
    /// Section 13.14.
    FirstBurstLength = "FirstBurstLength", Rule::Min(LENGTH);
    /// Section 13.15.
    DefaultTime2Wait = "DefaultTime2Wait", Rule::Max(TIME);
    /// Section 13.16.
    DefaultTime2Retain = "DefaultTime2Retain", Rule::Min(TIME);
    /// Section 13.17.
    MaxOutstandingR2T = "MaxOutstandingR2T", Rule::Min(COUNT);
    /// Section 13.18.
    DataPDUInOrder = "DataPDUInOrder", Rule::Or;
    /// Section 13.19.
    DataSequenceInOrder = "DataSequenceInOrder", Rule::Or;
    /// Section 13.20.
    ErrorRecoveryLevel = "ErrorRecoveryLevel", Rule::Min(0..=2);
    /// Section 13.21.
    SessionType = "SessionType", Rule::Declared;
    /// Section 13.23.
    TaskReporting = "TaskReporting", Rule::List;
    /// RFC 7144 section 7.1.1.
    IScsiProtocolLevel = "iSCSIProtocolLevel", Rule::Min(0..=31);
    /// Section 12.1.3: algorithms, as a list when offered.
    ChapA = "CHAP_A", Rule::Chap;
    /// Section 12.1.3: identifier.
    ChapI = "CHAP_I", Rule::Chap;
    /// Section 12.1.3: challenge.
    ChapC = "CHAP_C", Rule::Chap;
    /// Section 12.1.3: name.
    ChapN = "CHAP_N", Rule::Chap;
    /// Section 12.1.3: response.
    ChapR = "CHAP_R", Rule::Chap;
    /// RFC 3720 appendix A.
    IfMarker = "IFMarker", Rule::Obsolete;
    /// RFC 3720 appendix A.
    OfMarker = "OFMarker", Rule::Obsolete;
    /// RFC 3720 appendix A.
    IfMarkInt = "IFMarkInt", Rule::Obsolete;
    /// RFC 3720 appendix A.
    OfMarkInt = "OFMarkInt", Rule::Obsolete;
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
