//! Whole worlds under a seed.

mod crash;
mod findings;
mod plans;
mod planted;
mod seeds;
mod shrinking;
