//! Test equipment for iSCSI initiators, and for programs that use one.
//!
//! * [`sim`]: a runtime with virtual time, seeded scheduling and a network that can be cut.

pub mod sim;
