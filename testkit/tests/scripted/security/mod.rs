//! Security rules, K-04 to K-13: what an initiator insists on, whoever answers.
//!
//! `docs/threat-model.md` lists all of them, with the other places where they are tested.

mod algorithms;
mod authentication;
mod challenge;
mod redirect;
