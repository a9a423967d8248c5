//! What RFC 7143 asks of an initiator: rows C-01 to C-90.

mod login;
mod serials;
