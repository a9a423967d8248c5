//! A target that plays with CHAP (RFC 7143 section 12.1.3): rows H51 to H61.

use iscsi_proto::{
    Instant, Isid,
    login::{
        Authentication, ChapCredentials, Login, LoginConfig, LoginOutcome, Secret,
        TargetCredentials,
    },
    pdu::Stage,
    planted::Planted,
    text::{binary, codec::TextBuf},
};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;

use crate::{
    Script,
    peer::{Request, respond},
};

const OURS: &[u8] = b"opensesame12";
const THEIRS: &[u8] = b"the target's own";

/// What a login with these credentials may come to.
struct Policy {
    mutual: bool,
    required: bool,
    /// The name that the target must give.
    named: bool,
}

fn hash(algorithm: &str, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    fn digest<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
        let hash = parts
            .iter()
            .fold(D::new(), |hash, part| hash.chain_update(part));
        hash.finalize().to_vec()
    }
    let parts = [&[identifier][..], secret, challenge];
    match algorithm {
        "5" => digest::<Md5>(parts),
        "6" => digest::<Sha1>(parts),
        "7" => digest::<Sha256>(parts),
        _ => digest::<Sha3_256>(parts),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".into(), |text, byte| format!("{text}{byte:02x}"))
}

fn config(policy: &Policy) -> LoginConfig {
    let name = |text: &str| text.parse().expect("a name");
    let mut chap = ChapCredentials::new("user", Secret::new(OURS)).expect("long enough");
    if policy.mutual {
        let mut target = TargetCredentials::new(Secret::new(THEIRS)).expect("long enough");
        if policy.named {
            target = target.with_name("shelf").expect("a name");
        }
        chap = chap.with_target(target).expect("two secrets");
    }
    let (host, disk) = (
        name("iqn.2026-01.example:host"),
        name("iqn.2026-01.example:disk"),
    );
    LoginConfig::normal(host, disk, Isid([2; 6]))
        .with_authentication(Authentication::Chap(chap))
        .with_require_chap(policy.required)
}

/// What the target has said and heard so far.
#[derive(Default)]
struct Exchange {
    algorithm: String,
    identifier: String,
    challenge: String,
    /// Our identifier and challenge, as the target has them.
    asked: Option<(u8, Vec<u8>)>,
    /// The proof that was sent last, if it is the right one, under the right name.
    proven: bool,
    /// Our answer went out.
    answered: bool,
}

impl Exchange {
    /// Looks at what we said: an answer to the target's challenge must be the right one, and there must
    /// have been one to answer.
    fn hear(&mut self, request: &Request, policy: &Policy) {
        let pairs = request.pairs();
        let said = |key| {
            pairs
                .iter()
                .find(|(of, _)| *of == key)
                .map(|(_, value)| *value)
        };
        if let Some(response) = said("CHAP_R") {
            let challenge = binary::decode(&self.challenge, 1024).expect("it was answered");
            assert!(challenge.len() >= 8, "H61");
            let identifier = self.identifier.parse().expect("it was answered");
            let expected = hash(&self.algorithm, identifier, OURS, &challenge);
            assert_eq!(binary::decode(response, 1024), Some(expected));
            assert_eq!(said("CHAP_N"), Some("user"));
            assert_eq!(said("CHAP_C").is_some(), policy.mutual);
            self.answered = true;
            self.asked = said("CHAP_C").map(|own| {
                let own = binary::decode(own, 1024).expect("our own");
                assert_ne!(own, challenge, "H55");
                let identifier = said("CHAP_I").and_then(|i| i.parse().ok());
                (identifier.expect("it goes with CHAP_C"), own)
            });
        }
        if policy.required || policy.mutual {
            let downgrade = said("AuthMethod").is_some_and(|offer| offer.contains("None"));
            assert!(!downgrade, "H59");
        }
    }

    fn challenge(&mut self, script: &mut Script<'_>, text: &mut TextBuf) {
        self.algorithm = script
            .pick(&["5", "6", "7", "8", "0x7", "9", "5,7", ""])
            .into();
        self.identifier = match script.byte() {
            255 => "256".into(),
            254 => "-1".into(),
            small => (small / 2).to_string(),
        };
        let kind = script.byte();
        let len = match kind & 7 {
            0..=3 => 16,
            4 => script.below(12),
            5 => 1020 + script.below(10),
            _ => script.below(64),
        };
        let bytes = script.bytes(len).to_vec();
        self.challenge = match kind >> 3 & 7 {
            // As random as zero bytes are: what we would draw ourselves, see `chap`.
            0 => hex(&vec![0; len]),
            1 => hex(&bytes).to_uppercase().replacen("0X", "0x", 1),
            2 => String::from_utf8_lossy(&bytes).replace('\0', ""),
            3 => format!("{}0", hex(&bytes)),
            _ => hex(&bytes),
        };
        text.push("CHAP_A", &self.algorithm);
        text.push("CHAP_I", &self.identifier);
        text.push("CHAP_C", &self.challenge);
        // For the oracle, in the one form that it knows.
        self.algorithm = self.algorithm.trim_start_matches("0x").into();
    }

    fn prove(&mut self, script: &mut Script<'_>, policy: &Policy, text: &mut TextBuf) {
        let (identifier, own) = self.asked.clone().unwrap_or_default();
        let right = hash(&self.algorithm, identifier, THEIRS, &own);
        let proof = match script.byte() % 8 {
            0..=2 => right.clone(),
            3 => {
                let mut wrong = right.clone();
                let bit = script.below(wrong.len() * 8);
                wrong[bit / 8] ^= 1 << (bit % 8);
                wrong
            }
            4 => right[..script.below(right.len())].to_vec(),
            5 => [&right[..], &[0]].concat(),
            // H56: what our own secret would give.
            6 => hash(&self.algorithm, identifier, OURS, &own),
            _ => script.bytes(right.len()).to_vec(),
        };
        let name = script.pick(&["shelf", "shelf", "other", "", "user"]);
        self.proven = proof == right && self.asked.is_some() && (!policy.named || name == "shelf");
        text.push("CHAP_N", name);
        text.push("CHAP_R", hex(&proof));
    }

    /// One response; of its parts, what the script says.
    fn say(&mut self, script: &mut Script<'_>, policy: &Policy) -> TextBuf {
        let mut text = TextBuf::new();
        let parts = script.byte();
        if Script::bit(parts, 0) {
            text.push(
                "AuthMethod",
                script.pick(&["CHAP", "CHAP", "None", "Reject", "CHAP,None"]),
            );
        }
        if Script::bit(parts, 1) {
            self.challenge(script, &mut text);
        }
        if Script::bit(parts, 2) {
            self.prove(script, policy, &mut text);
        }
        if Script::bit(parts, 3) {
            let key = script.pick(&["CHAP_R", "CHAP_N", "CHAP_A", "CHAP_C", "HeaderDigest"]);
            let value: String = script
                .bytes(8)
                .iter()
                .map(|b| char::from(b % 95 + 32))
                .collect();
            // Whatever it is, it is not the right proof.
            text.push(key, value);
        }
        text
    }
}

/// Oracles: with mutual CHAP full feature phase needs the target's right proof of this challenge under its
/// right name; with CHAP required, our answer; an answer is right, and goes out only to a challenge of at
/// least eight bytes that is not our own; the number of rounds is bounded.
///
/// # Panics
///
/// Where they do not hold.
pub fn chap(input: &[u8]) {
    chap_with(input, Planted::NONE);
}

/// As [`chap`], with a bug switched on, for the proof that the oracles see it.
///
/// # Panics
///
/// Where they do.
pub fn chap_with(input: &[u8], planted: Planted) {
    let mut script = Script::new(input);
    let kind = script.byte();
    let policy = Policy {
        mutual: Script::bit(kind, 0),
        required: Script::bit(kind, 1),
        named: Script::bit(kind, 2),
    };
    let mut login = Login::new(
        config(&policy).with_planted(planted),
        Instant::ZERO,
        &mut |bytes| bytes.fill(0),
    );
    let mut exchange = Exchange::default();
    let mut rounds = 0;
    while let Some(request) = Request::take(&mut login) {
        rounds += 1;
        assert!(rounds <= 33, "rounds without end");
        exchange.hear(&request, &policy);
        let mut header = request.agreed(rounds);
        // It stays in the stage, or claims to be elsewhere.
        match script.byte() {
            1..=31 => header.transit = false,
            32 => header.transit = true,
            33 => header.csg = Stage::OperationalNegotiation,
            34 => header.nsg = Stage::FullFeature,
            _ => {}
        }
        let text = exchange.say(&mut script, &policy);
        if respond(&mut login, &header, text.as_bytes()).is_err() {
            break;
        }
        // What is past the end says nothing, and for ever.
        if script.is_over() && rounds > 8 {
            break;
        }
    }
    if let LoginOutcome::Complete(logged_in) = login.outcome() {
        assert_eq!(logged_in.is_authenticated(), exchange.answered);
        assert_eq!(logged_in.is_target_authenticated(), policy.mutual);
        assert!(!policy.mutual || exchange.proven, "a wrong proof was taken");
        assert!(
            exchange.answered || !(policy.mutual || policy.required),
            "H59"
        );
    }
}
