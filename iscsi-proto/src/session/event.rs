//! What a session has to say.

use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Response, TaskError};
use crate::{
    ids::InitiatorTaskTag,
    pdu::{AsyncMessage, LogoutResponse},
    scsi::sense::SenseData,
};

/// Something that happened in a [`Session`](super::Session).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A submitted command is over. Exactly one of these follows every successful submit; after it
    /// no [`DataRef`](crate::framing::DataRef) names the command's memory again.
    CommandDone {
        /// Which command.
        itt: InitiatorTaskTag,
        /// The target's answer, of whatever SCSI status, or why there is none.
        result: Result<Response, TaskError>,
    },
    /// A command that was reported with an unknown outcome can no longer be executed: the target
    /// answered it after all, or confirmed its abort.
    TaskDead {
        /// Which command; its slot may be in use again.
        itt: InitiatorTaskTag,
    },
    /// A ping that the caller sent was answered, or never will be.
    PingDone {
        /// Which ping.
        itt: InitiatorTaskTag,
        /// The round trip.
        result: Result<Duration, TaskError>,
    },
    /// A text exchange is over.
    TextDone {
        /// Which exchange.
        itt: InitiatorTaskTag,
        /// All text of the target, continuations joined.
        result: Result<Vec<u8>, TaskError>,
    },
    /// The target sent an asynchronous message that asks for no reaction of the session itself.
    Async {
        /// The message.
        message: AsyncMessage,
        /// Its sense data (event 0: SCSI asynchronous event).
        sense: Option<SenseData>,
    },
    /// The target answered our logout. Close the transport.
    LoggedOut {
        /// The answer.
        response: LogoutResponse,
    },
}
