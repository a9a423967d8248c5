//! The last things that happened, kept as data and put into words only when somebody asks.

use std::{collections::VecDeque, time::Duration};

use iscsi_client::error::Error;
use mpio::core::Event;

use super::{
    check::{History, Op, OpId},
    plan::Plan,
};

/// Enough to see how the last faults went, and little enough to be read.
const KEPT: usize = 800;

#[derive(Clone, Debug)]
pub(super) enum Note {
    Began(OpId, Op),
    Ended(OpId),
    Failed(OpId, Error),
    Device(usize, Event),
    Opened(usize),
    Closed(usize),
    Begins(usize),
    Over(usize),
    Order(usize, String),
    Text(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    notes: VecDeque<(u64, Note)>,
    /// All of them are kept, for somebody who wants to read the whole story.
    pub(super) unbounded: bool,
}

impl Ring {
    pub(super) fn push(&mut self, now: u64, note: Note) {
        if self.notes.len() >= KEPT && !self.unbounded {
            self.notes.pop_front();
        }
        self.notes.push_back((now, note));
    }

    pub(super) fn lines(&self, plan: &Plan, history: &History) -> Vec<String> {
        let units = plan.units.len().max(1);
        let line = |(now, note): &(u64, Note)| {
            let at = Duration::from_nanos(*now).as_secs_f64();
            let device = |index: &usize| format!("host {} unit {}", index / units, index % units);
            let text = match note {
                Note::Began(id, op) => {
                    let (client, unit, blocks) = (op.client, op.unit, &op.blocks);
                    format!("{id} client {client} unit {unit} {:?} {blocks:?}", op.kind)
                }
                Note::Ended(id) => match history.end(*id) {
                    Some(end) => format!("{id} ends: {end:?}"),
                    None => format!("{id} ends"),
                },
                Note::Failed(id, error) => format!("{id} fails: {error:#}"),
                Note::Device(index, event) => format!("{}: {event}", device(index)),
                Note::Opened(index) => format!("{} opened", device(index)),
                Note::Closed(index) => format!("{} closed", device(index)),
                Note::Begins(index) => format!("fault: {}", plan.faults[*index]),
                Note::Over(index) => format!("fault over: {}", plan.faults[*index]),
                Note::Order(index, text) => format!("{}: {text}", device(index)),
                Note::Text(text) => (*text).into(),
            };
            format!("{at:11.6} {text}")
        };
        self.notes.iter().map(line).collect()
    }
}
