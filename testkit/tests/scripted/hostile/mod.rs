//! What a target may do to an initiator: rows H01 to H118.

mod asynchronous;
mod bystander;
pub(crate) mod chap;
mod data_in;
mod data_in_range;
mod data_in_task;
mod data_out;
mod digests;
mod discovery;
mod framing;
mod login;
mod management;
mod metamorphic;
pub(crate) mod mutual_chap;
mod negotiation;
mod nop;
mod r2t;
pub(crate) mod reaction;
mod redirect;
mod reject;
mod responses;
mod scene;
mod sense;
mod serials;
mod text;
mod waits;
mod windows;
