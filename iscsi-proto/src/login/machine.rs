//! The login state machine.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "positions in our own buffers, and counters, which memory bounds"
)]

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::{
    error::{ApiMisuse, DecodeError, Error, PeerIncompatible, PeerMisbehaved, TimedOut},
    ids::{InitiatorTaskTag, LoginStatus, Tsih},
    login::{
        config::LoginConfig,
        inbox::{Inbox, Response},
        logged_in::LoggedIn,
        negotiation::Negotiation,
        security::{self, Security, SecurityDone, Verdict},
    },
    pdu::{LoginRequest, LoginResponse, Stage, pad_len},
    portal::Portal,
    serial::{CmdSn, StatSn},
    text::{
        Key, SessionType,
        codec::{Accumulator, Pairs, TextBuf},
    },
    time::Instant,
};

/// A login in progress on a fresh connection.
///
/// # Driving it
///
/// Until [`outcome`](Self::outcome) is something else than pending, in any order:
///
/// * while [`transmit`](Self::transmit) is not empty, send it and report how much was sent;
/// * read into [`recv_buf`](Self::recv_buf) and report how much came, zero for the end of the
///   stream; read as much as there is, bytes behind the login are handed on;
/// * call [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout).
///
/// Report bytes as sent before you report the answer to them. After an error the login is over:
/// close the connection; every further input returns the same error.
pub struct Login {
    // Boxed, since a login is moved about by value and most of it is this.
    config: Box<LoginConfig>,
    deadline: Instant,
    inbox: Inbox,
    outbox: Vec<u8>,
    sent: usize,
    request: InFlight,
    itt: InitiatorTaskTag,
    cmd_sn: CmdSn,
    exp_stat_sn: Option<StatSn>,
    rounds: u32,
    /// Our text that did not fit into the last request.
    unsent: TextBuf,
    /// Whether to ask for the next stage once `unsent` is empty.
    want_transit: bool,
    received: Accumulator,
    state: State,
}

/// What the request said that the next response answers.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    stage: Stage,
    transit: bool,
    cont: bool,
}

/// A state can only be made of what the state before it left behind, so that there is no way to
/// `Complete` around the security stage.
enum State {
    Security(Box<Security>, Negotiation),
    Operational(SecurityDone, Negotiation),
    Redirected(Redirection),
    Complete(Box<LoggedIn>),
    Failed(Error),
}

#[derive(Clone, Debug)]
struct Redirection {
    portal: Portal,
    status: LoginStatus,
}

/// How a login stands.
#[derive(Debug)]
pub enum LoginOutcome {
    /// Not finished: go on driving it.
    Pending(Login),
    /// The target is elsewhere. Connect there and log in with the same configuration; whether to
    /// trust the address, and how many hops to follow, is up to the caller.
    Redirect {
        /// Where it is.
        portal: Portal,
        /// Whether to remember the address for later logins.
        permanent: bool,
        /// The status of the response.
        status: LoginStatus,
    },
    /// Full feature phase.
    Complete(LoggedIn),
    /// The login ended with the error that was also returned when it happened.
    Failed(Error),
}

/// The version of RFC 3720 and RFC 7143.
const VERSION: u8 = 0;

impl Login {
    /// Begins a login: the first request is ready to be sent. `entropy` fills its argument with
    /// random bytes: the task tag and the first CmdSN, so that a stale connection's PDUs do not fit,
    /// and our CHAP challenge, which must not be guessable.
    #[must_use]
    pub fn new(config: LoginConfig, now: Instant, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut random = || {
            let mut bytes = [0; 4];
            entropy(&mut bytes);
            u32::from_be_bytes(bytes)
        };
        let itt = match InitiatorTaskTag(random()) {
            InitiatorTaskTag::RESERVED => InitiatorTaskTag(0),
            itt => itt,
        };
        let cmd_sn = CmdSn(random());
        let mut text = TextBuf::new();
        write_names(&config, &mut text);
        let (security, want_transit) = Security::begin(&config, entropy, &mut text);
        let mut login = Self {
            deadline: now.saturating_add(config.limits.timeout),
            inbox: Inbox::new(),
            outbox: Vec::new(),
            sent: 0,
            request: InFlight {
                stage: Stage::SecurityNegotiation,
                transit: false,
                cont: false,
            },
            itt,
            cmd_sn,
            exp_stat_sn: None,
            rounds: 0,
            unsent: text,
            want_transit,
            received: Accumulator::new(config.limits.max_text),
            state: State::Security(Box::new(security), Negotiation::new(&config)),
            config: Box::new(config),
        };
        login.queue_request();
        login
    }

    /// Where the next bytes of the stream go; empty once the login is over.
    #[must_use]
    pub fn recv_buf(&mut self) -> &mut [u8] {
        if self.is_pending() {
            self.inbox.room()
        } else {
            &mut []
        }
    }

    /// `n` bytes were read into [`recv_buf`](Self::recv_buf); zero means that the stream ended.
    pub fn handle_recv(&mut self, now: Instant, n: usize) -> Result<(), Error> {
        self.handle_timeout(now)?;
        if !self.is_pending() {
            return if n == 0 {
                Ok(())
            } else {
                Err(ApiMisuse::PlanOverrun.into())
            };
        }
        if n == 0 {
            return self.fail(Error::Closed);
        }
        self.inbox.fill(n)?;
        match self.take_responses() {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// What is to be sent; empty when it is the target's turn.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.outbox.get(self.sent..).unwrap_or_default()
    }

    /// The first `n` bytes of [`transmit`](Self::transmit) were sent.
    pub fn handle_transmitted(&mut self, n: usize) -> Result<(), Error> {
        if n > self.transmit().len() {
            return Err(ApiMisuse::PlanOverrun.into());
        }
        self.sent += n;
        Ok(())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` once the login is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.is_pending().then_some(self.deadline)
    }

    /// Time passed. The login fails at its deadline, and not before.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if let State::Failed(error) = &self.state {
            return Err(*error);
        }
        if self.is_pending() && now >= self.deadline {
            return self.fail(TimedOut::Login.into());
        }
        Ok(())
    }

    /// Whether the login is still to be driven.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Security(..) | State::Operational(..))
    }

    /// The CHAP challenges of this login, ours and the target's, as soon as both are known: when the
    /// answer to the target's is ready to be sent. With one-way CHAP there is none of ours.
    ///
    /// For drivers of many logins: a target's challenge that equals one of ours in another login under
    /// way was reflected, and the answer must not be sent (RFC 7143 section 9.2.1). Within one login
    /// the machine looks for itself.
    #[must_use]
    pub fn chap_challenges(&self) -> Option<(Option<&[u8]>, &[u8])> {
        let State::Security(security, _) = &self.state else {
            return None;
        };
        let theirs = security.challenges.theirs.as_deref()?;
        Some((security.challenges.ours.as_deref(), theirs))
    }

    /// How it stands.
    #[must_use]
    pub fn outcome(self) -> LoginOutcome {
        match self.state {
            State::Security(..) | State::Operational(..) => LoginOutcome::Pending(self),
            State::Redirected(Redirection { portal, status }) => LoginOutcome::Redirect {
                portal,
                permanent: status.detail == 2,
                status,
            },
            State::Complete(logged_in) => LoginOutcome::Complete(*logged_in),
            State::Failed(error) => LoginOutcome::Failed(error),
        }
    }

    fn fail(&mut self, error: Error) -> Result<(), Error> {
        self.outbox.clear();
        self.sent = 0;
        self.state = State::Failed(error);
        Err(error)
    }

    fn take_responses(&mut self) -> Result<(), Error> {
        while self.is_pending() {
            let Some(response) = self.inbox.next()? else {
                return Ok(());
            };
            // One request, one response: this one answers bytes that have not left us yet.
            if !self.transmit().is_empty() {
                return Err(PeerMisbehaved::Phase.into());
            }
            self.rounds += 1;
            if self.rounds > self.config.limits.max_rounds {
                return Err(PeerMisbehaved::Stalled(self.config.limits.max_rounds).into());
            }
            self.handle_response(&response)?;
        }
        Ok(())
    }

    fn handle_response(&mut self, response: &Response) -> Result<(), Error> {
        let status = response.status();
        if status.class != 0 {
            self.received.push(&response.data)?;
            return self.handle_refusal(status);
        }
        let header = LoginResponse::parse(&response.bhs)?;
        self.check(&header)?;
        if self.request.cont {
            // Our text goes on; the target may only say "go on".
            if header.cont || header.transit || !response.data.is_empty() {
                return Err(PeerMisbehaved::Phase.into());
            }
            self.queue_request();
            return Ok(());
        }
        self.received.push(&response.data)?;
        if header.cont {
            // Its text goes on; we may only say "go on".
            self.want_transit = false;
            self.queue_request();
            return Ok(());
        }
        let text = self.received.take();
        self.advance(&header, &text)
    }

    /// Redirection, or the end.
    fn handle_refusal(&mut self, status: LoginStatus) -> Result<(), Error> {
        if !matches!((status.class, status.detail), (1, 1 | 2)) {
            return Err(Error::LoginRejected(status));
        }
        let text = self.received.take();
        for pair in Pairs::new(&text) {
            let (key, value) = pair?;
            if Key::from_name(key) == Some(Key::TargetAddress) {
                let portal = value.parse()?;
                self.state = State::Redirected(Redirection { portal, status });
                return Ok(());
            }
        }
        Err(DecodeError::Address.into())
    }

    /// Whether the header answers our request.
    fn check(&mut self, header: &LoginResponse) -> Result<(), Error> {
        if header.version_active != VERSION {
            return Err(PeerIncompatible::Version.into());
        }
        if header.itt != self.itt || header.isid != self.config.isid {
            return Err(PeerMisbehaved::LoginMismatch.into());
        }
        let asked = self.request;
        let skips = header.csg != asked.stage || (header.transit && !asked.transit);
        let securing = asked.stage == Stage::SecurityNegotiation;
        if skips && securing && security::chap_required(&self.config) {
            return Err(PeerIncompatible::AuthenticationSkipped.into());
        }
        if header.csg != asked.stage {
            return Err(PeerMisbehaved::LoginMismatch.into());
        }
        if header.transit && (header.cont || !asked.transit) {
            return Err(PeerMisbehaved::Flags.into());
        }
        if header.transit && header.nsg != next_stage(asked.stage) {
            return Err(PeerMisbehaved::LoginMismatch.into());
        }
        match self.exp_stat_sn {
            Some(expected) if expected != header.stat_sn => {
                let (expected, found) = (expected.0, header.stat_sn.0);
                Err(PeerMisbehaved::StatSn { expected, found }.into())
            }
            _ => {
                self.exp_stat_sn = Some(header.stat_sn.next());
                Ok(())
            }
        }
    }

    /// A complete text of the target moves the state.
    fn advance(&mut self, header: &LoginResponse, text: &[u8]) -> Result<(), Error> {
        // Put back, or replaced by its successor, on every way out that is not an error; an error
        // fails the login anyway.
        let state = core::mem::replace(&mut self.state, State::Failed(Error::Closed));
        self.state = match state {
            State::Security(mut security, mut negotiation) => {
                let verdict = security.handle(
                    &self.config,
                    text,
                    header.transit,
                    &mut negotiation,
                    &mut self.unsent,
                )?;
                self.check_portal_group(&negotiation)?;
                negotiation.take_replies(&mut self.unsent);
                match verdict {
                    Verdict::Send { transit } => {
                        self.want_transit = transit;
                        State::Security(security, negotiation)
                    }
                    Verdict::Done(proof) => {
                        negotiation.write_offers(&mut self.unsent);
                        self.want_transit = true;
                        State::Operational(proof, negotiation)
                    }
                }
            }
            State::Operational(proof, mut negotiation) => {
                for pair in Pairs::new(text) {
                    let (key, value) = pair?;
                    negotiation.handle(key, value)?;
                }
                if header.transit {
                    let logged_in = self.complete(header, &proof, negotiation)?;
                    self.state = State::Complete(Box::new(logged_in));
                    return Ok(());
                }
                negotiation.take_replies(&mut self.unsent);
                self.want_transit = true;
                State::Operational(proof, negotiation)
            }
            over => over,
        };
        self.queue_request();
        Ok(())
    }

    /// The tag comes with the first complete response (section 6.3), so that nothing that depends on
    /// a secret was said to the wrong group.
    fn check_portal_group(&self, negotiation: &Negotiation) -> Result<(), Error> {
        let found = negotiation.portal_group();
        match self.config.portal_group {
            Some(expected) if found != Some(expected) && self.config.target_name.is_some() => {
                Err(PeerIncompatible::PortalGroup { expected, found }.into())
            }
            _ => Ok(()),
        }
    }

    fn complete(
        &mut self,
        header: &LoginResponse,
        proof: &SecurityDone,
        negotiation: Negotiation,
    ) -> Result<LoggedIn, Error> {
        // A session without a handle could never be reinstated or told from another.
        if header.tsih == Tsih(0) {
            return Err(PeerMisbehaved::LoginMismatch.into());
        }
        // No command was sent yet, so none can have been received.
        if header.exp_cmd_sn != self.cmd_sn {
            return Err(PeerMisbehaved::ExpCmdSn.into());
        }
        Ok(LoggedIn {
            parameters: negotiation.finish()?,
            tsih: header.tsih,
            isid: self.config.isid,
            cid: self.config.cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: header.stat_sn.next(),
            exp_cmd_sn: header.exp_cmd_sn,
            max_cmd_sn: header.max_cmd_sn,
            chap_algorithm: proof.algorithm,
            target_authenticated: proof.target_proven,
            read_ahead: self.inbox.rest(),
            session_type: self.config.session_type,
            target_name: self.config.target_name.clone(),
        })
    }

    /// Puts the next request into the outbox, with as much of the unsent text as fits.
    fn queue_request(&mut self) {
        let (stage, limit) = match &self.state {
            State::Security(_, n) => (Stage::SecurityNegotiation, n.segment_limit()),
            State::Operational(_, n) => (Stage::OperationalNegotiation, n.segment_limit()),
            State::Redirected(_) | State::Complete(_) | State::Failed(_) => return,
        };
        let segment = self.unsent.take_segment(limit);
        let cont = !self.unsent.is_empty();
        let transit = self.want_transit && !cont;
        self.request = InFlight {
            stage,
            transit,
            cont,
        };
        let header = LoginRequest {
            transit,
            cont,
            csg: stage,
            nsg: if transit {
                next_stage(stage)
            } else {
                Stage::SecurityNegotiation
            },
            version_max: VERSION,
            version_min: VERSION,
            // At most MAX_SEGMENT.
            data_segment_length: segment.len() as u32,
            isid: self.config.isid,
            tsih: self.config.tsih,
            itt: self.itt,
            cid: self.config.cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn.unwrap_or_default(),
        };
        self.sent = 0;
        self.outbox.clear();
        self.outbox.extend_from_slice(header.emit().as_bytes());
        self.outbox.extend_from_slice(&segment);
        self.outbox
            .resize(self.outbox.len() + pad_len(segment.len()), 0);
    }
}

const fn next_stage(stage: Stage) -> Stage {
    match stage {
        Stage::SecurityNegotiation => Stage::OperationalNegotiation,
        _ => Stage::FullFeature,
    }
}

/// The declarations that belong into the first request and into no other.
fn write_names(config: &LoginConfig, text: &mut TextBuf) {
    text.push(Key::InitiatorName.name(), &config.initiator_name);
    if let Some(alias) = &config.initiator_alias {
        text.push(Key::InitiatorAlias.name(), alias);
    }
    if let Some(target) = &config.target_name {
        text.push(Key::TargetName.name(), target);
    }
    let session_type = match config.session_type {
        SessionType::Normal => "Normal",
        SessionType::Discovery => "Discovery",
    };
    text.push(Key::SessionType.name(), session_type);
}

/// Where it stands, and nothing of what was said: that may answer a challenge.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Security(..) => "SecurityNegotiation",
            State::Operational(..) => "OperationalNegotiation",
            State::Redirected(_) => "Redirected",
            State::Complete(_) => "Complete",
            State::Failed(_) => "Failed",
        };
        f.debug_struct("Login")
            .field("state", &state)
            .field("rounds", &self.rounds)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
