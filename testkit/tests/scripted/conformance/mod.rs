//! What RFC 7143 asks of an initiator: rows C-01 to C-90.

mod attention;
mod chap;
mod chap_values;
mod declared;
mod discovery;
mod login;
mod names;
mod negotiation;
mod redirect;
mod serials;
mod steps;
mod text;
