//! Whole worlds under a seed.

mod findings;
mod plans;
mod planted;
mod seeds;
mod shrinking;
