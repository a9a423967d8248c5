//! Events that wait to be told.

use std::collections::VecDeque;

use iscsi_proto::held::HeldBytes;

use super::{event::Event, recorder::Recorder, trace::Decision};

/// An operator who never asks must cost nothing: of more than this many unread events the oldest go.
const LIMIT: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    lost: u64,
    /// Where decisions are written down, if they are.
    pub(crate) trace: Option<Box<Recorder>>,
}

impl Events {
    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() >= LIMIT {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(event);
        if let Some(recorder) = &mut self.trace {
            recorder.push(Decision::Told { event });
        }
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        let trace = self.trace.as_ref();
        self.queue.held_bytes() + trace.map_or(0, |recorder| recorder.held_bytes())
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}
