//! What the tools of this directory share. Each tool is one file beside this one; it reads its
//! arguments, puts the pieces together and reports.

pub mod args;
pub mod clock;
pub mod deadlines;
pub mod events;
pub mod failure;
pub mod faults;
pub mod histogram;
pub mod load;
pub mod marks;
pub mod paths;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod report;
pub mod rounds;
pub mod runtime;
pub mod stamped;
pub mod survey;
pub mod tls;
pub mod usage;
pub mod verify;
pub mod watch;

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
