//! The multipath device over real sessions in a simulated world.

mod asymmetric_access;
mod bad_block;
mod failover;
mod fencing;
mod ghost;
mod hostile;
mod joining;
mod lifecycle;
mod no_path;
mod preempt;
mod reservations;
mod scripted;
mod shared_sessions;
mod speed;
mod standing_by;
mod support;
mod suspend;
mod writes;
