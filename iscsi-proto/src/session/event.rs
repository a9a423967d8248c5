//! What a session has to say.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::time::Duration;

use super::{
    command::{Response, TaskError},
    ladder::Rung,
    manage::TaskManagementAnswer,
    text::DataSegmentLengths,
};
use crate::{
    held::HeldBytes,
    ids::InitiatorTaskTag,
    pdu::{AsyncMessage, LogoutResponse, Residual},
    scsi::{lun::Lun, sense::SenseData, status::ScsiStatus},
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
    /// A command that was reported before its answer came (it was given up, or was late) has been answered
    /// with a unit attention. The target tells each of them once per nexus, so whoever uses the logical
    /// unit has to hear of it although nobody waits for the command.
    LateAttention {
        /// The logical unit.
        lun: Lun,
        /// The answer's sense data.
        sense: SenseData,
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
    /// A task management function that the caller asked for is over. The commands that it ended have
    /// been reported before.
    TaskManagementDone {
        /// Which function.
        itt: InitiatorTaskTag,
        /// The target's answer, whatever it is.
        result: Result<TaskManagementAnswer, TaskError>,
    },
    /// A renegotiation that the caller asked for is over.
    Renegotiated {
        /// Which exchange.
        itt: InitiatorTaskTag,
        /// What holds from now on; also in [`Session::parameters`](super::Session::parameters).
        result: Result<DataSegmentLengths, TaskError>,
    },
    /// A command was not answered in time, or lacks data that a task management function stopped
    /// which then failed: the session goes up its timeout ladder.
    CommandLate {
        /// Which command.
        itt: InitiatorTaskTag,
        /// Its logical unit.
        lun: Lun,
        /// What is done about it now.
        rung: Rung,
    },
    /// The target wants a logout: no new command is taken, those not yet sent end now, those under
    /// way get some time; then the session logs out by itself and [`Event::LoggedOut`] follows.
    LogoutRequested {
        /// How long the target waits (Parameter3).
        within: Duration,
    },
    /// The target sent an asynchronous message. What the session has to do about it, it does by
    /// itself.
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

impl Event {
    /// Texts are the only events that can be long; the others hold what a PDU had at most.
    fn held_bytes(&self) -> u64 {
        match self {
            Self::TextDone {
                result: Ok(text), ..
            } => text.held_bytes(),
            _ => 0,
        }
    }
}

/// The events that wait to be polled, in order.
///
/// Nearly all of them say that a command went well, and an [`Event`] is large for the sake of the
/// others: those few are boxed, so that what moves through the queue is small.
#[derive(Debug, Default)]
pub(super) struct Events(VecDeque<Waiting>);

#[derive(Debug)]
enum Waiting {
    /// `CommandDone` with neither sense data nor status qualifier.
    Answered {
        itt: InitiatorTaskTag,
        status: ScsiStatus,
        residual: Residual,
        transferred: u32,
    },
    Other(Box<Event>),
}

impl Events {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.0.push_back(Waiting::Other(Box::new(event)));
    }

    /// [`Event::CommandDone`] with neither sense data nor status qualifier.
    #[inline]
    pub(super) fn push_answered(
        &mut self,
        itt: InitiatorTaskTag,
        status: ScsiStatus,
        residual: Residual,
        transferred: u32,
    ) {
        self.0.push_back(Waiting::Answered {
            itt,
            status,
            residual,
            transferred,
        });
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let boxed = self.0.iter().map(|waiting| match waiting {
            Waiting::Answered { .. } => 0,
            Waiting::Other(event) => size_of::<Event>() as u64 + event.held_bytes(),
        });
        self.0.held_bytes() + boxed.sum::<u64>()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        Some(match self.0.pop_front()? {
            Waiting::Answered {
                itt,
                status,
                residual,
                transferred,
            } => Event::CommandDone {
                itt,
                result: Ok(Response {
                    transferred,
                    ..Response::plain(status, residual)
                }),
            },
            Waiting::Other(event) => *event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_out_as_it_went_in_and_in_order() {
        let mut events = Events::default();
        for itt in (0..9).map(InitiatorTaskTag) {
            events.push_answered(itt, ScsiStatus::Busy, Residual::Underflow(itt.0), 505);
            events.push(Event::TaskDead { itt });
        }
        assert_eq!(events.len(), 18);
        for itt in (0..9).map(InitiatorTaskTag) {
            let result = Ok(Response {
                status: ScsiStatus::Busy,
                residual: Residual::Underflow(itt.0),
                transferred: 505,
                sense: None,
                status_qualifier: 0,
            });
            assert_eq!(events.pop(), Some(Event::CommandDone { itt, result }));
            assert_eq!(events.pop(), Some(Event::TaskDead { itt }));
        }
        assert_eq!(events.pop(), None);
    }
}
