//! Sessions against the testkit's target in a simulated world.

mod beat;
mod cancel;
mod chap;
mod credentials;
mod dialer;
mod discovery;
mod flood;
mod healing;
mod io;
mod ladder;
#[path = "../support/layers.rs"]
mod layers;
mod links;
mod login;
mod loss;
mod manage;
mod mass;
mod misuse;
mod nexus;
mod notices;
#[path = "../support/pcapng.rs"]
mod pcapng;
mod redirect;
mod ring;
mod shared;
mod support;
mod tap;
#[path = "../support/trace.rs"]
mod trace;
