//! How bytes move between the stream and their homes without the core owning any payload.
//!
//! * [`DataRef`] names payload: task, offset, length. [`DataStore`] is the caller's side of it.
//! * [`Receiver`] cuts the incoming stream into PDUs. Its [`RecvPlan`] says where the next bytes
//!   belong, so that one vectored read fills the caller's buffer and catches the header behind it.
//! * [`TransmitPlan`] is the outgoing stream: headers, padding and digests inline, payload by name,
//!   many PDUs in one vectored write, surviving partial writes at any byte.
//!
//! ```text
//! stream in    | ..payload of this Data-In | pad | digest | header | more, if there is more |
//! read plan    [ caller's memory           ][ scratch ------------------------------------- ]
//!
//! stream out   | header | payload | pad | digest | header | header | header | payload ...
//! write plan   [ inline ][ named  ][ inline -------------------------------][ named ...
//! ```
//!
//! The plans name one payload per read and any number per write. More per read (a predictable
//! burst of Data-Ins) fits the same shape.

mod data_ref;
mod receive;
#[cfg(test)]
mod receive_tests;
mod transmit;

pub use data_ref::{DataRef, DataStore};
pub use receive::{Destination, Receiver, ReceiverConfig, RecvPlan, Step};
pub use transmit::{TransmitPiece, TransmitPieces, TransmitPlan};

#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use receive::fuzz_stream;
