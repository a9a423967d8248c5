//! The decision core in virtual time, one behaviour per file.

mod budget;
mod cancel;
mod checker;
mod close;
mod fail_back;
mod failover;
mod harness;
mod identity;
mod no_path;
mod overlap;
mod path_error;
mod random_walk;
mod selectors;
mod service_time;
mod settings;
mod snapshot;
mod suspicion;
mod write_fence;
