//! The target itself, against an initiator that sends exactly what a test says.

mod alua;
mod attentions;
mod back_end;
mod blocks;
mod hardship;
mod in_the_simulator;
mod login;
mod management;
mod modes;
mod over_tcp;
mod power;
mod reads;
mod reservations;
mod script;
mod strictness;
mod writes;
