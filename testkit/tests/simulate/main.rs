//! Whole worlds under a seed.

mod crash;
mod findings;
mod names;
mod plans;
mod planted;
mod seeds;
mod sharing;
mod shrinking;
