//! What RFC 7143 asks of an initiator: rows C-01 to C-90.

mod asynchronous;
mod commands;
mod data_in;
mod data_out;
mod digests;
mod fast_abort;
mod login;
mod logout;
mod management;
mod nop;
mod paths;
mod r2t;
mod recovery;
mod reject;
mod renegotiation;
mod responses;
mod serials;
mod talk;
mod wraps;
