//! What a target may do to an initiator: rows H01 to H118.

mod chap;
mod data_in;
mod data_out;
mod digests;
mod discovery;
mod framing;
mod login;
mod metamorphic;
mod mutual_chap;
mod negotiation;
mod reaction;
mod redirect;
mod text;
