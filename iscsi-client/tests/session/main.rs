//! Sessions against the testkit's target in a simulated world.

mod cancel;
mod dialer;
mod flood;
mod io;
#[path = "../support/layers.rs"]
mod layers;
mod login;
mod loss;
#[path = "../support/pcapng.rs"]
mod pcapng;
mod redirect;
mod support;
mod tap;
#[path = "../support/trace.rs"]
mod trace;
