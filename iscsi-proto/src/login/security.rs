//! The security stage. It ends in a [`SecurityDone`], which nothing else can make.

use crate::{
    error::{Error, PeerIncompatible, PeerMisbehaved},
    login::{
        chap::{self, ChapKeys},
        config::{Authentication, ChapCredentials, LoginConfig},
        negotiation::Negotiation,
    },
    text::{
        Key,
        codec::{Pairs, TextBuf},
        negotiate::Answer,
    },
};

/// Proof that the security stage ended as the configuration demands. The operational stage cannot
/// be entered without one, and full feature phase only from there.
#[derive(Debug)]
pub(super) struct SecurityDone {
    authenticated: bool,
}

impl SecurityDone {
    /// The target does not want to know who we are.
    fn unauthenticated(config: &LoginConfig) -> Result<Self, Error> {
        if chap_required(config) {
            return Err(PeerIncompatible::AuthenticationSkipped.into());
        }
        Ok(Self {
            authenticated: false,
        })
    }

    pub(super) const fn authenticated(&self) -> bool {
        self.authenticated
    }
}

/// Whether this login must not go on without CHAP.
pub(super) const fn chap_required(config: &LoginConfig) -> bool {
    config.require_chap && matches!(config.authentication, Authentication::Chap(_))
}

/// Which response comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To `AuthMethod`.
    Method,
    /// To `CHAP_A`: the challenge.
    Challenge,
    /// To `CHAP_R`. Only a target that takes it may go to the next stage.
    Verdict,
    /// No authentication: nothing but the transition.
    Open,
}

#[derive(Debug)]
pub(super) struct Security {
    step: Step,
}

/// What to do after a response.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Send the text (perhaps none), with or without asking for the next stage.
    Send { transit: bool },
    /// The stage is over.
    Done(SecurityDone),
}

/// What one response said.
#[derive(Debug, Default)]
struct Said<'a> {
    method: Option<&'a str>,
    chap: ChapKeys<'a>,
}

impl Said<'_> {
    const fn any_chap(&self) -> bool {
        self.chap.algorithm.is_some()
            || self.chap.identifier.is_some()
            || self.chap.challenge.is_some()
    }
}

impl Security {
    /// Writes the offer. The second value is whether to ask for the next stage at once.
    pub(super) fn begin(config: &LoginConfig, text: &mut TextBuf) -> (Self, bool) {
        // Never `CHAP,None` where CHAP is required: a man in the middle would choose.
        let methods = match (&config.authentication, config.require_chap) {
            (Authentication::None, _) => "None",
            (Authentication::Chap(_), true) => "CHAP",
            (Authentication::Chap(_), false) => "CHAP,None",
        };
        text.push(Key::AuthMethod.name(), methods);
        (Self { step: Step::Method }, methods == "None")
    }

    /// Takes a complete response. `transit` is its T bit, which is set only where we asked for it.
    pub(super) fn handle(
        &mut self,
        config: &LoginConfig,
        response: &[u8],
        transit: bool,
        negotiation: &mut Negotiation,
        text: &mut TextBuf,
    ) -> Result<Verdict, Error> {
        let said = read(response, negotiation)?;
        if said.method.is_some() && self.step != Step::Method {
            return Err(PeerMisbehaved::DuplicateKey.into());
        }
        if said.any_chap() && self.step != Step::Challenge {
            return Err(PeerMisbehaved::Chap.into());
        }
        match (self.step, &config.authentication) {
            (Step::Method, Authentication::None) => {
                not_asked_for_credentials(said.method)?;
                self.step = Step::Open;
            }
            (Step::Method, Authentication::Chap(_)) => {
                if chooses_chap(config, said.method)? {
                    chap::offer_algorithms(&config.algorithms, text);
                    self.step = Step::Challenge;
                    return Ok(Verdict::Send { transit: false });
                }
                self.step = Step::Open;
            }
            (Step::Challenge, Authentication::Chap(credentials)) => {
                Self::answer(config, credentials, &said.chap, text)?;
                self.step = Step::Verdict;
                return Ok(Verdict::Send { transit: true });
            }
            _ => {}
        }
        match (transit, self.step) {
            (false, _) => Ok(Verdict::Send { transit: true }),
            (true, Step::Verdict) => Ok(Verdict::Done(SecurityDone {
                authenticated: true,
            })),
            (true, _) => SecurityDone::unauthenticated(config).map(Verdict::Done),
        }
    }

    fn answer(
        config: &LoginConfig,
        credentials: &ChapCredentials,
        keys: &ChapKeys<'_>,
        text: &mut TextBuf,
    ) -> Result<(), Error> {
        if keys.refused() {
            return Err(PeerIncompatible::NoCommonAuthMethod.into());
        }
        keys.check(&config.algorithms)?.answer(credentials, text);
        Ok(())
    }
}

fn read<'a>(response: &'a [u8], negotiation: &mut Negotiation) -> Result<Said<'a>, Error> {
    let mut said = Said::default();
    for pair in Pairs::new(response) {
        let (name, value) = pair?;
        let (slot, twice) = match Key::from_name(name) {
            Some(Key::AuthMethod) => (&mut said.method, PeerMisbehaved::DuplicateKey),
            Some(Key::ChapA) => (&mut said.chap.algorithm, PeerMisbehaved::Chap),
            Some(Key::ChapI) => (&mut said.chap.identifier, PeerMisbehaved::Chap),
            Some(Key::ChapC) => (&mut said.chap.challenge, PeerMisbehaved::Chap),
            // CHAP_N and CHAP_R would answer a challenge that we did not send; `handle` says so.
            _ => {
                negotiation.handle(name, value)?;
                continue;
            }
        };
        if slot.replace(value).is_some() {
            return Err(twice.into());
        }
    }
    Ok(said)
}

/// Without credentials: the target must be content with `None`.
fn not_asked_for_credentials(method: Option<&str>) -> Result<(), Error> {
    match method.map(Answer::of) {
        None | Some(Answer::Value("None") | Answer::NotUnderstood | Answer::Irrelevant) => Ok(()),
        Some(Answer::Value("CHAP" | "SRP" | "KRB5") | Answer::Reject) => {
            Err(PeerIncompatible::CredentialsRequired.into())
        }
        Some(Answer::Value(_)) => Err(PeerMisbehaved::BadValue.into()),
    }
}

/// With credentials: whether the target wants them.
fn chooses_chap(config: &LoginConfig, method: Option<&str>) -> Result<bool, Error> {
    match method.map(Answer::of) {
        Some(Answer::Value("CHAP")) => Ok(true),
        Some(Answer::Reject) => Err(PeerIncompatible::NoCommonAuthMethod.into()),
        None | Some(Answer::Value("None") | Answer::NotUnderstood | Answer::Irrelevant) => {
            SecurityDone::unauthenticated(config).map(|_| false)
        }
        Some(Answer::Value(_)) => Err(PeerMisbehaved::BadValue.into()),
    }
}
