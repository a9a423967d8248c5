//! Every PDU of RFC 7143, one file each, parsed and emitted in both directions.
//!
//! All files have one shape: byte offsets, a plain struct with all fields of the header, `parse`,
//! `emit`, `Display`, and tests against bytes written by hand. `data_in.rs` is the one to read.
//!
//! * A struct is the header only. AHS, payload, padding and digests follow it in the stream; their
//!   lengths are in [`Bhs`], their handling in [`framing`](crate::framing).
//! * `parse` ignores reserved bits and keeps unknown codes. It fails only where the header would
//!   mean nothing; whether the PDU was allowed here and now is for the connection to say.
//! * What `parse` returns, `emit` turns into a header that parses to the same, with all reserved
//!   bits zero. Every struct can be emitted.

#[macro_use]
mod wire_enum;

pub mod ahs;
mod async_message;
mod bhs;
mod data_in;
mod data_out;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
mod fuzzing;
mod login;
mod logout;
mod nop_in;
mod nop_out;
mod r2t;
mod reject;
mod residual;
mod scsi_command;
mod scsi_response;
mod snack;
mod task_management;
mod text;
#[cfg(test)]
mod vectors;

use core::fmt;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use bhs::Bhs;
pub use data_in::DataIn;
pub use data_out::DataOut;
#[cfg(any(test, fuzzing, feature = "__fuzz"))]
pub use fuzzing::fuzz_roundtrip;
pub use login::{LoginRequest, LoginResponse, Stage};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode};
pub use nop_in::NopIn;
pub use nop_out::NopOut;
pub use r2t::R2t;
pub use reject::{Reject, RejectReason};
pub use residual::Residual;
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::{ScsiResponse, ServiceResponse};
pub use snack::{Snack, SnackType};
pub use task_management::{
    TaskManagementFunction, TaskManagementRequest, TaskManagementResponse,
    TaskManagementResponseCode,
};
pub use text::{TextRequest, TextResponse};

use crate::error::DecodeError;

/// Opcodes (RFC 7143 section 11.2.1.2), without the I bit. Targets' have bit 0x20 set.
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// Task Management Function Request.
    pub const TASK_MANAGEMENT_REQUEST: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const R2T: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// How many zero bytes bring a segment of `len` bytes to a multiple of four: 0..=3.
#[must_use]
pub const fn pad_len(len: usize) -> usize {
    len.wrapping_neg() & 3
}

macro_rules! pdus {
    ($( $(#[$doc:meta])* $name:ident ),+ $(,)?) => {
        /// Any PDU's header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Pdu {
            $( $(#[$doc])* $name($name), )+
        }

        impl Pdu {
            /// Reads the header of whichever PDU it is, in either direction.
            ///
            /// # Errors
            ///
            /// [`DecodeError::Opcode`] for opcodes that RFC 7143 does not define, and the errors of
            /// the PDU's own parser.
            pub fn parse(bhs: &Bhs) -> Result<Self, DecodeError> {
                match bhs.opcode() {
                    $( $name::OPCODE => $name::parse(bhs).map(Self::$name), )+
                    unknown => Err(DecodeError::Opcode(unknown)),
                }
            }

            /// Writes the header, all 48 bytes of it.
            #[must_use]
            pub fn emit(&self) -> Bhs {
                match self {
                    $( Self::$name(pdu) => pdu.emit(), )+
                }
            }

            /// The PDU's opcode, without the I bit.
            #[must_use]
            pub const fn opcode(&self) -> u8 {
                match self {
                    $( Self::$name(_) => $name::OPCODE, )+
                }
            }
        }

        impl fmt::Display for Pdu {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$name(pdu) => pdu.fmt(f), )+
                }
            }
        }

        $(
            impl From<$name> for Pdu {
                fn from(pdu: $name) -> Self {
                    Self::$name(pdu)
                }
            }

            impl TryFrom<Pdu> for $name {
                /// The other PDU that it is.
                type Error = Pdu;

                fn try_from(pdu: Pdu) -> Result<Self, Pdu> {
                    match pdu {
                        Pdu::$name(pdu) => Ok(pdu),
                        other => Err(other),
                    }
                }
            }
        )+
    };
}

pdus! {
    /// NOP-Out.
    NopOut,
    /// SCSI Command.
    ScsiCommand,
    /// Task Management Function Request.
    TaskManagementRequest,
    /// Login Request.
    LoginRequest,
    /// Text Request.
    TextRequest,
    /// SCSI Data-Out.
    DataOut,
    /// Logout Request.
    LogoutRequest,
    /// SNACK Request.
    Snack,
    /// NOP-In.
    NopIn,
    /// SCSI Response.
    ScsiResponse,
    /// Task Management Function Response.
    TaskManagementResponse,
    /// Login Response.
    LoginResponse,
    /// Text Response.
    TextResponse,
    /// SCSI Data-In.
    DataIn,
    /// Logout Response.
    LogoutResponse,
    /// Ready To Transfer.
    R2t,
    /// Asynchronous Message.
    AsyncMessage,
    /// Reject.
    Reject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_brings_every_length_to_a_multiple_of_four() {
        for len in 0..100 {
            assert!(pad_len(len) < 4);
            assert_eq!((len + pad_len(len)) % 4, 0);
        }
        assert_eq!(pad_len(usize::MAX), 1);
    }

    #[test]
    fn exactly_the_opcodes_of_the_standard_are_known() {
        let known = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25,
            0x26, 0x31, 0x32, 0x3f,
        ];
        for opcode in 0..0x40 {
            let mut bytes = [0; 48];
            bytes[0] = opcode;
            let parsed = Pdu::parse(&Bhs::from(bytes));
            if known.contains(&opcode) {
                assert_eq!(parsed.map(|pdu| pdu.opcode()), Ok(opcode));
            } else {
                assert_eq!(parsed, Err(DecodeError::Opcode(opcode)));
            }
        }
    }
}
