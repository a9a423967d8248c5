//! The client against targets that nobody here wrote: tgtd and istgt, started by the tests.
//!
//! `docs/interop.md` has the matrix; every cell there names a test here. A peer that is not installed
//! makes its tests say so on stderr and do nothing, unless `ISCSI_INTEROP=require` is set: then they
//! fail.

#[macro_use]
mod harness;

mod acknowledged;
mod blocks;
mod digests;
mod discovery;
mod failover;
mod frozen;
mod inventory;
mod ipv6;
mod links;
mod login;
mod management;
mod namespaces;
mod reservations;
mod segments;
mod spare;
mod table;
mod tasks;
mod wire;
