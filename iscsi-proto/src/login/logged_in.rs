//! The proof that a login succeeded.

use alloc::vec::Vec;

use crate::{
    ids::{Cid, Isid, Tsih},
    login::credentials::ChapAlgorithm,
    name::IscsiName,
    serial::{CmdSn, StatSn},
    text::{Parameters, SessionType},
};

/// A connection that has just entered full feature phase.
///
/// Only a completed [`Login`](super::Login) makes one, and a session can be made of nothing else: a
/// SCSI command before the required authentication does not compile.
#[derive(Debug, PartialEq, Eq)]
pub struct LoggedIn {
    pub(super) parameters: Parameters,
    pub(super) tsih: Tsih,
    pub(super) isid: Isid,
    pub(super) cid: Cid,
    pub(super) cmd_sn: CmdSn,
    pub(super) exp_stat_sn: StatSn,
    pub(super) exp_cmd_sn: CmdSn,
    pub(super) max_cmd_sn: CmdSn,
    pub(super) chap_algorithm: Option<ChapAlgorithm>,
    pub(super) target_authenticated: bool,
    pub(super) read_ahead: Vec<u8>,
    pub(crate) session_type: SessionType,
    pub(super) target_name: Option<IscsiName>,
}

impl LoggedIn {
    /// What a login would have come to, for the session's own unit tests; not in any other build.
    #[cfg(test)]
    pub(crate) fn for_unit_tests(
        parameters: Parameters,
        cmd_sn: CmdSn,
        exp_stat_sn: StatSn,
        max_cmd_sn: CmdSn,
    ) -> Self {
        Self {
            parameters,
            tsih: Tsih(1),
            isid: Isid::default(),
            cid: Cid(0),
            cmd_sn,
            exp_stat_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn,
            chap_algorithm: None,
            target_authenticated: false,
            read_ahead: Vec::new(),
            session_type: SessionType::Normal,
            target_name: None,
        }
    }

    /// What was agreed.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The target's handle of the session, never zero.
    #[must_use]
    pub const fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// Our half of the session's identity.
    #[must_use]
    pub const fn isid(&self) -> Isid {
        self.isid
    }

    /// The connection within the session.
    #[must_use]
    pub const fn cid(&self) -> Cid {
        self.cid
    }

    /// The CmdSN that the first command carries.
    #[must_use]
    pub const fn cmd_sn(&self) -> CmdSn {
        self.cmd_sn
    }

    /// The StatSN that the next response must carry.
    #[must_use]
    pub const fn exp_stat_sn(&self) -> StatSn {
        self.exp_stat_sn
    }

    /// ExpCmdSN of the final Login Response.
    #[must_use]
    pub const fn exp_cmd_sn(&self) -> CmdSn {
        self.exp_cmd_sn
    }

    /// MaxCmdSN of the final Login Response.
    #[must_use]
    pub const fn max_cmd_sn(&self) -> CmdSn {
        self.max_cmd_sn
    }

    /// Whether the target checked our credentials.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.chap_algorithm.is_some()
    }

    /// Whether the target proved that it knows its own secret (mutual CHAP).
    #[must_use]
    pub const fn is_target_authenticated(&self) -> bool {
        self.target_authenticated
    }

    /// Which algorithm the target chose, if it checked our credentials.
    #[must_use]
    pub const fn chap_algorithm(&self) -> Option<ChapAlgorithm> {
        self.chap_algorithm
    }

    /// What the session is for.
    #[must_use]
    pub const fn session_type(&self) -> SessionType {
        self.session_type
    }

    /// Which target; `None` for discovery.
    #[must_use]
    pub const fn target_name(&self) -> Option<&IscsiName> {
        self.target_name.as_ref()
    }

    /// Bytes that arrived behind the final Login Response: the beginning of the next PDU. Whoever
    /// drives the connection must feed them before anything from the socket.
    #[must_use]
    pub fn read_ahead(&self) -> &[u8] {
        &self.read_ahead
    }

    /// The parts that a session takes over: the parameters and the bytes read ahead.
    #[must_use]
    pub fn into_parts(self) -> (Parameters, Vec<u8>) {
        (self.parameters, self.read_ahead)
    }
}
