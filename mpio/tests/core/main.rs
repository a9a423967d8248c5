//! The decision core in virtual time, one behaviour per file.

mod accounting;
mod another_nexus;
mod asymmetric_access;
mod budget;
mod cancel;
mod checker;
mod close;
mod fail_back;
mod failover;
mod former_life;
mod grouping;
mod harness;
mod histogram;
mod identity;
mod no_path;
mod operate;
mod overlap;
mod path_error;
mod preempt;
mod random_walk;
mod selectors;
#[cfg(feature = "serde")]
mod serialise;
mod service_time;
mod settings;
mod sibling;
mod single_writer;
mod snapshot;
mod suspicion;
mod trace;
mod unit_reset;
mod walk;
mod write_fence;
