//! The target itself, against an initiator that sends exactly what a test says.

mod over_tcp;
mod script;
