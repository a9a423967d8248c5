//! Whole worlds under a seed.

mod findings;
mod plans;
mod seeds;
mod shrinking;
