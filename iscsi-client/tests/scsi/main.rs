//! What a logical unit tells beyond its blocks: attentions, port groups, modes, quirks.

mod attentions;
mod luns;
mod modes;
mod ports;
mod quirks;
mod reservations;
mod ride_out;
mod status_qualifier;
mod support;
mod without_access;
