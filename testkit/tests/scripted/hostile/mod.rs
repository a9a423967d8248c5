//! What a target may do to an initiator: rows H01 to H118.

mod data_in;
mod data_in_range;
mod data_in_task;
mod data_out;
mod r2t;
mod scene;
mod serials;
mod windows;
