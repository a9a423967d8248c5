//! The inventory over real sessions in a simulated world.

mod changing;
mod ending;
mod filters;
mod finding;
mod limits;
mod restarting;
mod spares;
mod spares_on_demand;
mod support;
