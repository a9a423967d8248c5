//! What RFC 7143 asks of an initiator: rows C-01 to C-90.

mod commands;
mod data_in;
mod data_out;
mod login;
mod r2t;
mod responses;
mod serials;
mod talk;
