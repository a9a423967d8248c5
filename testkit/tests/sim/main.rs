//! The simulated world: one seed, one run; and faults that do what they say.

mod deterministic;
mod flips;
mod links;
mod processes;
mod small_io;
mod support;
