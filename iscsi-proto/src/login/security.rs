//! The security stage. It ends in a [`SecurityDone`], which nothing else can make.

use alloc::vec::Vec;

use crate::{
    error::{Error, PeerIncompatible, PeerMisbehaved},
    login::{
        chap::{self, Answered, ChapKeys, Dice, Expected, ProofKeys, TargetProven},
        config::LoginConfig,
        credentials::{Authentication, ChapAlgorithm, ChapCredentials},
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
    /// What we answered with, if the target asked.
    pub(super) algorithm: Option<ChapAlgorithm>,
    pub(super) target_proven: bool,
}

impl SecurityDone {
    /// The target does not want to know who we are.
    fn unauthenticated(config: &LoginConfig) -> Result<Self, Error> {
        if chap_required(config) {
            return Err(PeerIncompatible::AuthenticationSkipped.into());
        }
        Ok(Self {
            algorithm: None,
            target_proven: false,
        })
    }

    /// The target took our answer, and had nothing to prove.
    const fn one_way(algorithm: ChapAlgorithm) -> Self {
        Self {
            algorithm: Some(algorithm),
            target_proven: false,
        }
    }

    /// The target took our answer, and proved itself.
    const fn mutual(algorithm: ChapAlgorithm, _proof: &TargetProven) -> Self {
        Self {
            algorithm: Some(algorithm),
            target_proven: true,
        }
    }
}

/// Whether this login must not go on without CHAP.
pub(super) const fn chap_required(config: &LoginConfig) -> bool {
    match &config.authentication {
        Authentication::Chap(credentials) => config.require_chap || credentials.is_mutual(),
        Authentication::None => false,
    }
}

/// Which response comes next.
#[derive(Debug)]
enum Step {
    /// To `AuthMethod`.
    Method,
    /// To `CHAP_A`: the challenge.
    Challenge,
    /// To `CHAP_R`. Only a target that takes it may go to the next stage.
    Verdict(ChapAlgorithm),
    /// To `CHAP_R` and our own challenge: the target's proof.
    Proof(ChapAlgorithm, Expected),
    /// The target has proven itself: nothing but the transition.
    Proven(ChapAlgorithm, TargetProven),
    /// No authentication: nothing but the transition.
    Open,
}

/// The challenges of both directions, for whoever looks for reflections among many logins.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    pub(super) ours: Option<Vec<u8>>,
    pub(super) theirs: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Security {
    step: Step,
    /// With mutual CHAP only.
    dice: Option<Dice>,
    pub(super) challenges: Challenges,
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
    proof: ProofKeys<'a>,
}

impl Security {
    /// Writes the offer. The second value is whether to ask for the next stage at once.
    pub(super) fn begin(
        config: &LoginConfig,
        entropy: &mut dyn FnMut(&mut [u8]),
        text: &mut TextBuf,
    ) -> (Self, bool) {
        // Never `CHAP,None` where CHAP is required: a man in the middle would choose.
        let methods = match &config.authentication {
            Authentication::None => "None",
            Authentication::Chap(_) if chap_required(config) => "CHAP",
            Authentication::Chap(_) => "CHAP,None",
        };
        text.push(Key::AuthMethod.name(), methods);
        let mutual = match &config.authentication {
            Authentication::Chap(credentials) => credentials.is_mutual(),
            Authentication::None => false,
        };
        let security = Self {
            step: Step::Method,
            dice: mutual.then(|| Dice::throw(entropy)),
            challenges: Challenges::default(),
        };
        (security, methods == "None")
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
        let step = core::mem::replace(&mut self.step, Step::Open);
        if said.method.is_some() && !matches!(step, Step::Method) {
            return Err(PeerMisbehaved::DuplicateKey.into());
        }
        if said.chap.any() && !matches!(step, Step::Challenge)
            || said.proof.any() && !matches!(step, Step::Proof(..))
        {
            return Err(PeerMisbehaved::Chap.into());
        }
        let (step, done) = match (step, &config.authentication) {
            (Step::Method, Authentication::None) => {
                not_asked_for_credentials(said.method)?;
                (Step::Open, SecurityDone::unauthenticated(config)?)
            }
            (Step::Method, Authentication::Chap(_)) => {
                if chooses_chap(config, said.method)? {
                    chap::offer_algorithms(&config.algorithms, text);
                    self.step = Step::Challenge;
                    return Ok(Verdict::Send { transit: false });
                }
                (Step::Open, SecurityDone::unauthenticated(config)?)
            }
            (Step::Challenge, Authentication::Chap(credentials)) => {
                self.step = self.answer(config, credentials, &said.chap, text)?;
                return Ok(Verdict::Send { transit: true });
            }
            (Step::Verdict(algorithm), _) => {
                let done = SecurityDone::one_way(algorithm);
                (Step::Verdict(algorithm), done)
            }
            // A target may think about it; but whoever goes on without an answer has none.
            (Step::Proof(..), _) if !said.proof.any() && transit => {
                return Err(PeerIncompatible::TargetProofMissing.into());
            }
            (Step::Proof(algorithm, expected), _) if !said.proof.any() => {
                self.step = Step::Proof(algorithm, expected);
                return Ok(Verdict::Send { transit: true });
            }
            (Step::Proof(algorithm, expected), _) => {
                let proof = expected.check(&said.proof, config.planted)?;
                let done = SecurityDone::mutual(algorithm, &proof);
                (Step::Proven(algorithm, proof), done)
            }
            (Step::Proven(algorithm, proof), _) => {
                let done = SecurityDone::mutual(algorithm, &proof);
                (Step::Proven(algorithm, proof), done)
            }
            (Step::Open | Step::Challenge, _) => {
                (Step::Open, SecurityDone::unauthenticated(config)?)
            }
        };
        self.step = step;
        if transit {
            Ok(Verdict::Done(done))
        } else {
            Ok(Verdict::Send { transit: true })
        }
    }

    fn answer(
        &mut self,
        config: &LoginConfig,
        credentials: &ChapCredentials,
        keys: &ChapKeys<'_>,
        text: &mut TextBuf,
    ) -> Result<Step, Error> {
        let challenge = keys.check(&config.algorithms)?;
        let Answered {
            algorithm,
            theirs,
            ours,
        } = challenge.answer(credentials, self.dice.as_ref(), text)?;
        self.challenges.theirs = Some(theirs);
        Ok(match ours {
            None => Step::Verdict(algorithm),
            Some((ours, expected)) => {
                self.challenges.ours = Some(ours);
                Step::Proof(algorithm, expected)
            }
        })
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
            Some(Key::ChapN) => (&mut said.proof.name, PeerMisbehaved::Chap),
            Some(Key::ChapR) => (&mut said.proof.response, PeerMisbehaved::Chap),
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
