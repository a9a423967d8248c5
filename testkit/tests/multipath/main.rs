//! The multipath device over real sessions in a simulated world.

mod asymmetric_access;
mod bad_block;
mod by_rules;
mod checkers;
mod failover;
mod fencing;
mod flips_over_tcp;
mod ghost;
mod hedge;
mod hostile;
mod joining;
mod lifecycle;
mod marginal;
mod no_path;
mod preempt;
mod progress;
mod reservations;
mod resize;
mod scripted;
mod shared_sessions;
mod spare;
mod speed;
mod standing_by;
mod support;
mod suspend;
mod writes;
