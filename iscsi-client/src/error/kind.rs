//! The kinds of failure.

use std::{io, time::Duration};

use super::Retry;

/// What went wrong with a request. Every text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Offset or length is not a multiple of the device's request alignment.
    #[error("{len} bytes at offset {offset} are not aligned: use multiples of {alignment} bytes")]
    Misaligned {
        /// Offset on the device, in bytes.
        offset: u64,
        /// Length of the request, in bytes.
        len: u64,
        /// [`DeviceInfo::request_alignment`](crate::device::DeviceInfo::request_alignment).
        alignment: u32,
    },
    /// The request ends past the end of the device.
    #[error("{len} bytes at offset {offset} do not fit a device of {size} bytes: stay within it")]
    OutOfRange {
        /// Offset on the device, in bytes.
        offset: u64,
        /// Length of the request, in bytes.
        len: u64,
        /// The device's size at the time of the request, in bytes.
        size: u64,
    },
    /// A write to a device that is read-only or write-protected.
    #[error("the device is write-protected: open it for reading, or lift the protection")]
    ReadOnly,
    /// The device does not know the command or a field in it.
    #[error("the device does not support this command: check the target's model and firmware")]
    Unsupported,
    /// There is no such logical unit (any more).
    #[error("no such logical unit: check the LUN and the target's access list for this initiator")]
    NoSuchUnit,
    /// A path leads to another logical unit than expected, or to one that cannot be identified.
    #[error("another logical unit than expected: check the LUN mapping of every path")]
    WrongUnit,
    /// The unit is not ready for medium access and was not ready again in time.
    #[error("the logical unit is not ready: see whether it is offline, starting or in standby")]
    NotReady,
    /// The target answered BUSY or TASK SET FULL until the request's time was over.
    #[error("the target is overloaded: lower the queue depth or look for its bottleneck")]
    Busy,
    /// A reservation of somebody else excludes this access.
    #[error("reserved by another initiator: find and release the reservation")]
    ReservationConflict,
    /// A thin-provisioned device has run out of space. Nothing is broken: pause, do not fail.
    #[error("the target has no space left: extend its pool, then retry")]
    NoSpace,
    /// The medium failed here.
    #[error("unrecoverable medium error: restore this range from a copy")]
    Medium,
    /// The target reported a hardware failure, or one of its own doing.
    #[error("the target reported an internal failure: look into its log")]
    Hardware,
    /// Protection information did not match.
    #[error("protection information mismatch: the data was damaged on its way or at rest")]
    Protection,
    /// A SCSI status or sense for which there is no kind of its own.
    #[error("the target refused the command: see the sense data")]
    Refused,
    /// The request's time was over. Also where its connection was ended for that, or failed while the
    /// request was being aborted; the source says so.
    #[error(
        "no answer in time: look at the load of the target and the network, or allow more time"
    )]
    Timeout,
    /// No path is usable.
    #[error("no usable path to the device: look at the network and the target")]
    NoPath,
    /// The connection failed, or was ended because something else on it was not answered in time.
    #[error("the connection to the target failed: look at the network and the target")]
    Transport,
    /// The target did not let us in.
    #[error("the target refused the login: check names, secret and access list")]
    Auth,
    /// Somebody ended the request: a task management function, a reset, or the caller.
    #[error("the request was aborted: retry it")]
    Aborted,
    /// The device or session was closed.
    #[error("closed: open it again")]
    Closed,
    /// The peer broke the protocol; or, with an `ApiMisuse` as its source, the caller did.
    #[error("protocol error: please report it together with the target's model and firmware")]
    Protocol,
    /// A memory region of the caller could not be read or stored to.
    #[error("a memory region of the request cannot be accessed: see that it stays mapped")]
    Memory,
}

impl ErrorKind {
    /// What to do where nothing more is known.
    pub(super) const fn usual_retry(self) -> Retry {
        match self {
            Self::Aborted => Retry::SamePath,
            Self::Busy => Retry::After(Duration::from_millis(100)),
            Self::NotReady | Self::NoPath => Retry::After(Duration::from_secs(1)),
            Self::NoSuchUnit
            | Self::WrongUnit
            | Self::Hardware
            | Self::Timeout
            | Self::Transport
            | Self::Auth
            | Self::Protocol => Retry::OtherPath,
            Self::Misaligned { .. }
            | Self::OutOfRange { .. }
            | Self::ReadOnly
            | Self::Unsupported
            | Self::ReservationConflict
            | Self::NoSpace
            | Self::Medium
            | Self::Protection
            | Self::Refused
            | Self::Closed
            | Self::Memory => Retry::Never,
        }
    }

    /// The nearest kind of the standard library.
    pub(super) const fn to_io(self) -> io::ErrorKind {
        match self {
            Self::Misaligned { .. } | Self::OutOfRange { .. } => io::ErrorKind::InvalidInput,
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::NoSuchUnit | Self::WrongUnit => io::ErrorKind::NotFound,
            Self::NotReady | Self::Busy | Self::ReservationConflict => io::ErrorKind::ResourceBusy,
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::Medium | Self::Protocol => io::ErrorKind::InvalidData,
            Self::Timeout => io::ErrorKind::TimedOut,
            Self::NoPath => io::ErrorKind::HostUnreachable,
            Self::Transport => io::ErrorKind::ConnectionAborted,
            Self::Auth => io::ErrorKind::PermissionDenied,
            Self::Closed => io::ErrorKind::NotConnected,
            // Not `Interrupted`: the standard library's loops retry that for ever.
            Self::Aborted | Self::Hardware | Self::Protection | Self::Refused | Self::Memory => {
                io::ErrorKind::Other
            }
        }
    }
}
