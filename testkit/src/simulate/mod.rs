//! Whole worlds under one seed, judged from outside.
//!
//! * [`check`]: what must hold of every run, as pure functions of what was recorded.

pub mod check;
