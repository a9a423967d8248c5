//! What the tools of this directory share. Each tool is one file beside this one; it reads its
//! arguments, puts the pieces together and reports.

pub mod args;
pub mod background;
pub mod clock;
pub mod command;
pub mod counted;
pub mod deadlines;
pub mod events;
pub mod failure;
pub mod farm;
pub mod faults;
pub mod histogram;
pub mod interrupt;
pub mod load;
pub mod marks;
pub mod partition_table;
pub mod paths;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod report;
pub mod rounds;
pub mod runtime;
pub mod soaked;
pub mod stamped;
pub mod survey;
pub mod tls;
pub mod usage;
pub mod verify;
pub mod vigil;
pub mod waits;
pub mod watch;

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
