//! Sessions against the testkit's target in a simulated world.

mod cancel;
mod flood;
mod io;
mod login;
mod loss;
mod redirect;
mod support;
