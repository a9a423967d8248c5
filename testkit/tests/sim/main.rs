//! The faults of the simulated world do what they say.

mod flips;
mod links;
mod processes;
mod small_io;
mod support;
