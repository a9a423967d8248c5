//! Test equipment for iSCSI initiators, and for programs that use one.
//!
//! * [`canary`]: the secrets of the tests, which nothing may say.
//! * [`conformance`]: what every `BlockDevice` owes its callers.
//! * [`simulate`]: the real client and multipath device in such a world, under a seed, with faults, and judged.
//! * [`scripted`]: a target that says what a test tells it to say, PDU by PDU.
//! * [`sim`]: a runtime with virtual time, seeded scheduling and a network that can be cut.
//! * [`target`]: a target of its own state machines, over TCP or over that network, with faults.
//! * [`crude`]: targets that send noise, nothing, or pings without end.
//! * [`pair`]: the two protocol cores face to face in virtual time, without any runtime.
//! * [`pattern`]: the content of its LUNs, to fill and to verify.

pub mod canary;
pub mod conformance;
pub mod crude;
pub mod pair;
pub mod pattern;
pub mod scripted;
pub mod sim;
pub mod simulate;
pub mod target;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
