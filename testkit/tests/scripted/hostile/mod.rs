//! What a target may do to an initiator: rows H01 to H118.

mod data_in;
mod data_out;
