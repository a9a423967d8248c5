//! The keys of one login: what we offered, what the target said, what is agreed so far.

use alloc::vec::Vec;

use crate::{
    error::{DecodeError, Error, PeerIncompatible, PeerMisbehaved},
    ids::TargetPortalGroupTag,
    login::config::LoginConfig,
    text::{
        Digest, Key, OperationalOffer, Parameters, SessionType, TaskReporting, TaskReportingOffer,
        codec::{MAX_SEGMENT, TextBuf},
        keys::Rule,
        negotiate::{self, Answer, Value, Wish, parse_number},
    },
};

/// A set of keys.
#[derive(Clone, Copy, Debug, Default)]
struct KeySet(u64);

// One bit per key.
const _: () = assert!(Key::ALL.len() <= 64);

impl KeySet {
    const fn contains(self, key: Key) -> bool {
        self.0 & (1 << key as u32) != 0
    }

    /// Whether the key was new.
    const fn insert(&mut self, key: Key) -> bool {
        let new = !self.contains(key);
        self.0 |= 1 << key as u32;
        new
    }
}

/// The keys that we offer, in the order in which they are sent.
const OFFERED: &[Key] = &[
    Key::HeaderDigest,
    Key::DataDigest,
    Key::MaxConnections,
    Key::InitialR2T,
    Key::ImmediateData,
    Key::MaxBurstLength,
    Key::FirstBurstLength,
    Key::DefaultTime2Wait,
    Key::DefaultTime2Retain,
    Key::MaxOutstandingR2T,
    Key::DataPDUInOrder,
    Key::DataSequenceInOrder,
    Key::ErrorRecoveryLevel,
    Key::TaskReporting,
    Key::IScsiProtocolLevel,
];

/// Whether section 13, or RFC 7144 section 7.1.1, calls the key irrelevant in a discovery session.
const fn irrelevant_in_discovery(key: Key) -> bool {
    matches!(
        key,
        Key::MaxConnections
            | Key::InitialR2T
            | Key::ImmediateData
            | Key::MaxBurstLength
            | Key::FirstBurstLength
            | Key::MaxOutstandingR2T
            | Key::DataPDUInOrder
            | Key::DataSequenceInOrder
            | Key::TaskReporting
            | Key::IScsiProtocolLevel
    )
}

#[derive(Debug)]
pub(super) struct Negotiation {
    offer: OperationalOffer,
    session_type: SessionType,
    parameters: Parameters,
    /// What the target has mentioned, in whatever role.
    seen: KeySet,
    offered: KeySet,
    /// What got a value from both sides.
    agreed: KeySet,
    replies: TextBuf,
    /// Whether `replies` holds one that the target cannot do without.
    owes_reply: bool,
    max_text: u32,
}

impl Negotiation {
    pub(super) fn new(config: &LoginConfig) -> Self {
        let parameters = Parameters {
            max_recv_data_segment_length: config.offer.max_recv_data_segment_length,
            ..Parameters::default()
        };
        Self {
            offer: config.offer,
            session_type: config.session_type,
            parameters,
            seen: KeySet::default(),
            offered: KeySet::default(),
            agreed: KeySet::default(),
            replies: TextBuf::new(),
            owes_reply: false,
            max_text: config.limits.max_text,
        }
    }

    /// What we want for a key that can be negotiated; `None` for the others.
    fn wish(&self, key: Key) -> Option<Wish<'static>> {
        let offer = &self.offer;
        // An array of one vendor chooses CRC32C in a discovery session and then drops it: offer
        // nothing that is not needed there.
        let digest = |digest: crate::text::DigestOffer| match self.session_type {
            SessionType::Discovery => Wish::List(&["None"]),
            SessionType::Normal => Wish::List(digest.list()),
        };
        Some(match key {
            Key::HeaderDigest => digest(offer.header_digest),
            Key::DataDigest => digest(offer.data_digest),
            Key::MaxConnections => Wish::Number(offer.max_connections.into()),
            Key::InitialR2T => Wish::Boolean(offer.initial_r2t),
            Key::ImmediateData => Wish::Boolean(offer.immediate_data),
            Key::MaxBurstLength => Wish::Number(offer.max_burst_length),
            Key::FirstBurstLength => Wish::Number(offer.first_burst_length()),
            Key::DefaultTime2Wait => Wish::Number(offer.default_time2wait.into()),
            Key::DefaultTime2Retain => Wish::Number(offer.default_time2retain.into()),
            Key::MaxOutstandingR2T => Wish::Number(offer.max_outstanding_r2t.into()),
            Key::DataPDUInOrder | Key::DataSequenceInOrder => Wish::Boolean(true),
            Key::ErrorRecoveryLevel => Wish::Number(0),
            Key::TaskReporting => Wish::List(offer.task_reporting.list()),
            Key::IScsiProtocolLevel => Wish::Number(offer.protocol_level.into()),
            _ => return None,
        })
    }

    /// Writes our declaration and our offers, except what the target already brought up.
    pub(super) fn write_offers(&mut self, text: &mut TextBuf) {
        text.push(
            Key::MaxRecvDataSegmentLength.name(),
            self.offer.max_recv_data_segment_length,
        );
        for key in OFFERED.iter().copied() {
            let irrelevant =
                self.session_type == SessionType::Discovery && irrelevant_in_discovery(key);
            let silent = key == Key::TaskReporting
                && self.offer.task_reporting == TaskReportingOffer::Silent;
            if irrelevant || silent || self.seen.contains(key) {
                continue;
            }
            match self.wish(key) {
                Some(Wish::Number(n)) => text.push(key.name(), n),
                Some(Wish::Boolean(b)) => text.push(key.name(), negotiate::boolean(b)),
                Some(Wish::List(list)) => text.push(key.name(), list.join(",")),
                None => continue,
            }
            self.offered.insert(key);
        }
    }

    /// Takes a pair that is not part of the security negotiation.
    pub(super) fn handle(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let Some(key) = Key::from_name(name) else {
            return self.handle_unknown(name, value);
        };
        // No key is negotiated or declared twice in one login, but for the one that may be (section 6.3).
        if !self.seen.insert(key) && key != Key::TargetAddress {
            return Err(PeerMisbehaved::DuplicateKey.into());
        }
        let rule = key.rule();
        match (&rule, Answer::of(value)) {
            (Rule::Chap, _) => Err(PeerMisbehaved::Chap.into()),
            (Rule::Declared | Rule::DeclaredNumber(_), answer) => self.declared(key, answer),
            (_, Answer::Value(value)) if self.offered.contains(key) => {
                let wish = self.wish(key).ok_or(PeerMisbehaved::BadValue)?;
                self.agree(key, negotiate::settle(&rule, wish, value)?);
                Ok(())
            }
            (_, _) if self.offered.contains(key) => self.refused(key),
            (_, Answer::Value(value)) => self.respond(key, value),
            (_, _) => Err(PeerMisbehaved::DuplicateKey.into()),
        }
    }

    fn handle_unknown(&mut self, name: &str, value: &str) -> Result<(), Error> {
        // An answer to a key that we cannot even have offered. Answering it would never end.
        if !matches!(Answer::of(value), Answer::Value(_)) {
            return Err(PeerMisbehaved::DuplicateKey.into());
        }
        self.reply(name, "NotUnderstood")
    }

    /// Something that only one side says, without an answer.
    fn declared(&mut self, key: Key, answer: Answer<'_>) -> Result<(), Error> {
        let Answer::Value(value) = answer else {
            // What the target thinks of our own declarations.
            return match key {
                Key::InitiatorAlias | Key::MaxRecvDataSegmentLength => Ok(()),
                Key::InitiatorName | Key::TargetName | Key::SessionType => {
                    Err(PeerIncompatible::KeyRefused.into())
                }
                _ => Err(PeerMisbehaved::DuplicateKey.into()),
            };
        };
        let number = |key: Key| match key.rule() {
            Rule::DeclaredNumber(range) => {
                parse_number(value, &range).ok_or(PeerMisbehaved::BadValue)
            }
            _ => Err(PeerMisbehaved::BadValue),
        };
        match key {
            Key::MaxRecvDataSegmentLength => {
                self.parameters.max_xmit_data_segment_length = number(key)?;
            }
            Key::TargetPortalGroupTag => {
                let tag = u16::try_from(number(key)?).map_err(|_| PeerMisbehaved::BadValue)?;
                self.parameters.target_portal_group_tag = Some(TargetPortalGroupTag(tag));
            }
            // Not worth a failed login, but nothing that could spoil a log is kept.
            Key::TargetAlias => {
                let clean = !value.is_empty() && !value.contains(char::is_control);
                self.parameters.target_alias = clean.then(|| value.into());
            }
            // Of interest in a redirection only.
            Key::TargetAddress | Key::TargetName => {}
            // Keys of the initiator.
            _ => return Err(PeerMisbehaved::DuplicateKey.into()),
        }
        Ok(())
    }

    /// NotUnderstood, Irrelevant and Reject all leave the default in force (section 6.2).
    fn refused(&self, key: Key) -> Result<(), Error> {
        let digest = matches!(key, Key::HeaderDigest | Key::DataDigest);
        match self.wish(key) {
            Some(Wish::List(list)) if digest && !list.contains(&"None") => {
                Err(PeerIncompatible::DigestRefused.into())
            }
            _ => Ok(()),
        }
    }

    /// The target brought up a key that is ours to answer.
    fn respond(&mut self, key: Key, value: &str) -> Result<(), Error> {
        self.owes_reply = true;
        if self.session_type == SessionType::Discovery && irrelevant_in_discovery(key) {
            return self.reply(key.name(), "Irrelevant");
        }
        let rule = key.rule();
        if rule == Rule::Obsolete {
            let marker = matches!(key, Key::IfMarker | Key::OfMarker);
            return self.reply(key.name(), if marker { "No" } else { "Reject" });
        }
        // AuthMethod has no wish here: it is settled before anything else, once.
        let wish = self.wish(key).ok_or(PeerMisbehaved::DuplicateKey)?;
        match negotiate::respond(&rule, value, wish) {
            Some(result) => {
                self.agree(key, result);
                self.reply(key.name(), &alloc::format!("{result}"))
            }
            None => {
                self.refused(key)?;
                self.reply(key.name(), "Reject")
            }
        }
    }

    fn reply(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.replies.push(name, value);
        let length = u32::try_from(self.replies.len()).unwrap_or(u32::MAX);
        if length > self.max_text {
            return Err(DecodeError::TextTooLong {
                length,
                limit: self.max_text,
            }
            .into());
        }
        Ok(())
    }

    fn agree(&mut self, key: Key, value: Value<'_>) {
        self.agreed.insert(key);
        self.apply(key, value);
    }

    fn apply(&mut self, key: Key, value: Value<'_>) {
        let p = &mut self.parameters;
        let digest = |name: &str| {
            if name == "CRC32C" {
                Digest::Crc32c
            } else {
                Digest::None
            }
        };
        // The ranges of the keys that are u16 here end at 65535.
        let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        match (key, value) {
            (Key::HeaderDigest, Value::Choice(name)) => p.header_digest = digest(name),
            (Key::DataDigest, Value::Choice(name)) => p.data_digest = digest(name),
            (Key::MaxConnections, Value::Number(n)) => p.max_connections = short(n),
            (Key::InitialR2T, Value::Boolean(b)) => p.initial_r2t = b,
            (Key::ImmediateData, Value::Boolean(b)) => p.immediate_data = b,
            (Key::MaxBurstLength, Value::Number(n)) => p.max_burst_length = n,
            (Key::FirstBurstLength, Value::Number(n)) => p.first_burst_length = n,
            (Key::DefaultTime2Wait, Value::Number(n)) => p.default_time2wait = short(n),
            (Key::DefaultTime2Retain, Value::Number(n)) => p.default_time2retain = short(n),
            (Key::MaxOutstandingR2T, Value::Number(n)) => p.max_outstanding_r2t = short(n),
            (Key::DataPDUInOrder, Value::Boolean(b)) => p.data_pdu_in_order = b,
            (Key::DataSequenceInOrder, Value::Boolean(b)) => p.data_sequence_in_order = b,
            (Key::ErrorRecoveryLevel, Value::Number(n)) => {
                p.error_recovery_level = u8::try_from(n).unwrap_or_default();
            }
            (Key::TaskReporting, Value::Choice(name)) => {
                p.task_reporting = TaskReporting::from_name(name).unwrap_or_default();
            }
            (Key::IScsiProtocolLevel, Value::Number(n)) => {
                p.protocol_level = u8::try_from(n).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Moves the replies that are due into the next request.
    pub(super) fn take_replies(&mut self, text: &mut TextBuf) {
        text.append(&mut self.replies);
        self.owes_reply = false;
    }

    /// The portal group, as far as it was told.
    pub(super) const fn portal_group(&self) -> Option<TargetPortalGroupTag> {
        self.parameters.target_portal_group_tag
    }

    /// How much text one of our requests may carry: the target may have declared less than the
    /// default by now, but never more before full feature phase.
    pub(super) fn segment_limit(&self) -> usize {
        usize::try_from(self.parameters.max_xmit_data_segment_length)
            .map_or(MAX_SEGMENT, |declared| declared.min(MAX_SEGMENT))
    }

    /// The target has left the operational stage: what holds now?
    pub(super) fn finish(mut self) -> Result<Parameters, Error> {
        // It offered something and did not wait for our answer. Unknown keys may be left hanging.
        if self.owes_reply {
            return Err(PeerMisbehaved::DuplicateKey.into());
        }
        let defaults = Parameters::default();
        let silent: Vec<Key> = OFFERED
            .iter()
            .copied()
            .filter(|key| self.offered.contains(*key) && !self.seen.contains(*key))
            .collect();
        for key in silent {
            // Not answered, though section 6.2 demands it for most keys. Whichever of offer and
            // default the target has in mind, the stricter of the two is safe with both.
            let (ours, default) = match (self.wish(key), default_value(&defaults, key)) {
                (Some(Wish::Number(n)), Some(default)) => (Value::Number(n), default),
                (Some(Wish::Boolean(b)), Some(default)) => (Value::Boolean(b), default),
                _ => {
                    self.refused(key)?;
                    continue;
                }
            };
            if let Some(value) = negotiate::combine(&key.rule(), ours, default) {
                self.apply(key, value);
            }
        }
        let p = &mut self.parameters;
        let agreed = self.agreed.contains(Key::FirstBurstLength)
            && self.agreed.contains(Key::MaxBurstLength);
        let relevant = !p.initial_r2t || p.immediate_data;
        if agreed && relevant && p.first_burst_length > p.max_burst_length {
            return Err(PeerMisbehaved::BadValue.into());
        }
        p.first_burst_length = p.first_burst_length.min(p.max_burst_length);
        Ok(self.parameters)
    }
}

fn default_value(defaults: &Parameters, key: Key) -> Option<Value<'static>> {
    Some(match key {
        Key::MaxConnections => Value::Number(defaults.max_connections.into()),
        Key::InitialR2T => Value::Boolean(defaults.initial_r2t),
        Key::ImmediateData => Value::Boolean(defaults.immediate_data),
        Key::MaxBurstLength => Value::Number(defaults.max_burst_length),
        Key::FirstBurstLength => Value::Number(defaults.first_burst_length),
        Key::DefaultTime2Wait => Value::Number(defaults.default_time2wait.into()),
        Key::DefaultTime2Retain => Value::Number(defaults.default_time2retain.into()),
        Key::MaxOutstandingR2T => Value::Number(defaults.max_outstanding_r2t.into()),
        Key::DataPDUInOrder => Value::Boolean(defaults.data_pdu_in_order),
        Key::DataSequenceInOrder => Value::Boolean(defaults.data_sequence_in_order),
        Key::ErrorRecoveryLevel => Value::Number(defaults.error_recovery_level.into()),
        Key::IScsiProtocolLevel => Value::Number(defaults.protocol_level.into()),
        _ => return None,
    })
}
