//! One connection of the target, as a state machine without a socket.
//!
//! # The driving contract
//!
//! Put received bytes into [`input`](TargetConnection::input) and say how many with
//! [`handle_input`](TargetConnection::handle_input); then send what
//! [`poll_transmit`](TargetConnection::poll_transmit) shows, reporting every piece with
//! [`transmitted`](TargetConnection::transmitted), until it shows nothing. Come back at
//! [`poll_timeout`](TargetConnection::poll_timeout), or with more bytes. Once
//! [`is_closed`](TargetConnection::is_closed) and nothing is left to send, close the socket.
//! Dropping the connection ends its session.

mod buffers;
mod chap;
mod command;
mod full;
mod login;
mod manage;
mod negotiate;
mod notice;
mod task;
mod text;
mod transfer;
mod wire;

use std::{fmt, sync::Arc};

use iscsi_proto::{
    DecodeError, Instant,
    pdu::{Bhs, Pdu, RejectReason},
};

use self::{buffers::Input, full::FullFeature, login::Login, wire::Wire};
use super::{
    Violation,
    core::{Closer, Count, TargetCore},
};

enum Phase {
    Login(Box<Login>),
    Full(Box<FullFeature>),
    Closed,
}

/// What a PDU does to the phase.
enum Next {
    Stay,
    /// The login is complete.
    Enter(Box<FullFeature>),
    /// Nothing more is wanted; what was queued is still sent.
    Close,
}

/// A connection of a [`TargetCore`].
pub struct TargetConnection {
    wire: Wire,
    input: Input,
    phase: Phase,
    /// Whether a Login Request has come.
    begun: bool,
}

impl TargetConnection {
    /// A connection that was just accepted on portal `portal`. `closer` is called, from any thread,
    /// when another login takes over this connection's session: close the socket then.
    #[must_use]
    pub fn new(core: &Arc<TargetCore>, portal: usize, closer: Closer) -> Self {
        core.portals[portal].count(Count::Connections, 1);
        let wire = Wire::new(core, portal);
        let login = Login::new(core.connection_seed(), closer);
        Self {
            wire,
            input: Input::default(),
            phase: Phase::Login(Box::new(login)),
            begun: false,
        }
    }

    /// Where the next bytes of the stream belong; never empty.
    pub fn input(&mut self) -> &mut [u8] {
        self.input.room()
    }

    /// The first `len` bytes of [`input`](Self::input) were received.
    pub fn handle_input(&mut self, now: Instant, len: usize) {
        self.wire.count(Count::BytesIn, len as u64);
        self.input.filled(len);
        let mut input = std::mem::take(&mut self.input);
        while !self.is_closed() {
            match self.wire.frame(input.bytes()) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let len = frame.len;
                    self.handle_frame(now, &frame);
                    input.consumed(len);
                }
                Err(violation) => {
                    self.wire.violation(violation);
                    self.phase = Phase::Closed;
                }
            }
        }
        self.input = input;
    }

    fn handle_frame(&mut self, now: Instant, frame: &wire::Frame<'_>) {
        self.wire.count(Count::PdusIn, 1);
        let opcode = frame.bhs.opcode();
        let pdu = match Pdu::parse(&frame.bhs) {
            Ok(pdu) => pdu,
            Err(error) => {
                self.wire.violation(Violation::Malformed { opcode });
                let reason = match error {
                    DecodeError::Opcode(_) => RejectReason::CommandNotSupported,
                    _ => RejectReason::InvalidPduField,
                };
                self.reject(&frame.bhs, reason);
                return;
            }
        };
        self.wire.judge_reserved(&frame.bhs, &pdu.emit());
        if let (Pdu::LoginRequest(request), false) = (&pdu, self.begun) {
            self.begun = true;
            let (core, portal) = (&self.wire.core, self.wire.portal);
            core.login_began(portal, now, request.isid, frame.data);
        }
        let next = match &mut self.phase {
            Phase::Closed => Next::Close,
            Phase::Login(login) => match &pdu {
                Pdu::LoginRequest(request) => login.handle(&mut self.wire, request, frame.data),
                _ => {
                    self.wire.violation(Violation::Phase { opcode });
                    Next::Close
                }
            },
            Phase::Full(full) => full.handle(&mut self.wire, now, &pdu, frame),
        };
        match next {
            Next::Stay => {}
            Next::Enter(full) => self.phase = Phase::Full(full),
            Next::Close => self.phase = Phase::Closed,
        }
    }

    fn reject(&mut self, bhs: &Bhs, reason: RejectReason) {
        match &mut self.phase {
            Phase::Full(full) => full.reject(&mut self.wire, bhs, reason),
            // There is no Reject during login (section 6.3): the connection just ends.
            _ => self.phase = Phase::Closed,
        }
    }

    /// What is to be sent next; empty when there is nothing. Data of reads is computed here, about
    /// a megabyte at a time, so that one write carries many PDUs and memory stays flat.
    pub fn poll_transmit(&mut self, now: Instant) -> &[u8] {
        // Only when all is sent, so that the buffer is reused from its start.
        if self.wire.out.bytes().is_empty() {
            if let Phase::Full(full) = &mut self.phase {
                full.fill(&mut self.wire, now);
            }
        }
        self.wire.out.bytes()
    }

    /// The first `len` bytes of [`poll_transmit`](Self::poll_transmit) were sent.
    pub fn transmitted(&mut self, len: usize) {
        self.wire.transmitted(len);
    }

    /// When [`poll_transmit`](Self::poll_transmit) will have something that is delayed now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Full(full) => full.next_due(),
            _ => None,
        }
    }

    /// Whether the connection is over, but for what is still to be sent.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
}

impl fmt::Debug for TargetConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Login(_) => "login",
            Phase::Full(_) => "full feature",
            Phase::Closed => "closed",
        };
        f.debug_struct("TargetConnection")
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}
