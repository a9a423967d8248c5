//! Offer and answer to result (RFC 7143 section 6.2), as pure functions.
//!
//! Either side can use them: who answers calls [`respond`], who offered calls [`settle`], and both
//! come to the same value. No function here knows whose turn it is; that is the business of the
//! state machine that calls it.

use core::{fmt, ops::RangeInclusive};

use crate::{error::PeerMisbehaved, text::keys::Rule};

/// What one side wants for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// For numbers.
    Number(u32),
    /// For booleans.
    Boolean(bool),
    /// For lists: what is supported, best first.
    List(&'a [&'a str]),
}

/// A value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of a number.
    Number(u32),
    /// Of a boolean.
    Boolean(bool),
    /// Of a list.
    Choice(&'a str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Boolean(b) => f.write_str(boolean(*b)),
            Self::Choice(c) => f.write_str(c),
        }
    }
}

/// What came back for a key that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A value of the key.
    Value(&'a str),
    /// The other side does not know the key.
    NotUnderstood,
    /// The key means nothing beside the other values.
    Irrelevant,
    /// The other side refuses; whatever held before still holds.
    Reject,
}

impl<'a> Answer<'a> {
    /// Tells the three words that are no values from values.
    #[must_use]
    pub fn of(value: &'a str) -> Self {
        match value {
            "NotUnderstood" => Self::NotUnderstood,
            "Irrelevant" => Self::Irrelevant,
            "Reject" => Self::Reject,
            value => Self::Value(value),
        }
    }
}

/// `Yes` or `No`.
#[must_use]
pub const fn boolean(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// Reads `Yes` or `No`; nothing else, and case matters.
#[must_use]
pub fn parse_boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// Reads a number in decimal or after `0x` (section 6.1), which must lie in `range`.
#[must_use]
pub fn parse_number(value: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    let (digits, radix) = match value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    {
        Some(hex) => (hex, 16),
        None => (value, 10),
    };
    // `from_str_radix` alone would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .filter(|n| range.contains(n))
}

/// The first entry of the comma-separated list `offered` that is in `supported`.
#[must_use]
pub fn choose<'a>(offered: &'a str, supported: &[&str]) -> Option<&'a str> {
    offered.split(',').find(|entry| supported.contains(entry))
}

/// The one value of two, for rules that have a function; `None` for the others and for wishes that
/// are not of the rule's type.
#[must_use]
pub fn combine(rule: &Rule, a: Value<'_>, b: Value<'_>) -> Option<Value<'static>> {
    Some(match (rule, a, b) {
        (Rule::And, Value::Boolean(a), Value::Boolean(b)) => Value::Boolean(a && b),
        (Rule::Or, Value::Boolean(a), Value::Boolean(b)) => Value::Boolean(a || b),
        (Rule::Min(_), Value::Number(a), Value::Number(b)) => Value::Number(a.min(b)),
        (Rule::Max(_), Value::Number(a), Value::Number(b)) => Value::Number(a.max(b)),
        _ => return None,
    })
}

fn parse<'a>(rule: &Rule, value: &'a str) -> Option<Value<'a>> {
    match rule {
        Rule::And | Rule::Or => parse_boolean(value).map(Value::Boolean),
        Rule::Min(range) | Rule::Max(range) | Rule::DeclaredNumber(range) => {
            parse_number(value, range).map(Value::Number)
        }
        Rule::List => Some(Value::Choice(value)),
        Rule::Declared | Rule::Chap | Rule::Obsolete => None,
    }
}

/// The answer to the other side's offer, which is also the result; `None` means to answer `Reject`.
#[must_use]
pub fn respond<'a>(rule: &Rule, offered: &'a str, ours: Wish<'_>) -> Option<Value<'a>> {
    let ours = match ours {
        Wish::Number(n) => Value::Number(n),
        Wish::Boolean(b) => Value::Boolean(b),
        Wish::List(supported) => {
            return choose(offered, supported)
                .filter(|_| matches!(rule, Rule::List))
                .map(Value::Choice);
        }
    };
    combine(rule, parse(rule, offered)?, ours)
}

/// The result of our offer and the other side's answer, which must be a value that the rule could
/// have made of our offer.
///
/// [`PeerMisbehaved::BadValue`] for a value out of range, of another type, larger than a minimum or
/// smaller than a maximum could be, or not in our list.
pub fn settle<'a>(
    rule: &Rule,
    offered: Wish<'_>,
    answer: &'a str,
) -> Result<Value<'a>, PeerMisbehaved> {
    let value = parse(rule, answer).ok_or(PeerMisbehaved::BadValue)?;
    let ours = match (offered, value) {
        (Wish::Number(n), _) => Value::Number(n),
        (Wish::Boolean(b), _) => Value::Boolean(b),
        (Wish::List(list), Value::Choice(choice)) if list.contains(&choice) => return Ok(value),
        (Wish::List(_), _) => return Err(PeerMisbehaved::BadValue),
    };
    // The result of a function is a fixed point of it: combining it with our offer once more must
    // not change it.
    match combine(rule, ours, value) {
        Some(result) if result == value => Ok(value),
        _ => Err(PeerMisbehaved::BadValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::keys::Key;

    const BAD: Result<Value<'static>, PeerMisbehaved> = Err(PeerMisbehaved::BadValue);

    /// C-10, C-22, C-23, C-24, H40 to H43.
    #[test]
    fn numbers_follow_minimum_or_maximum_and_stay_in_range() {
        use Value::Number as N;
        for (key, offer, answer, result) in [
            (Key::MaxBurstLength, 262_144, "262144", Ok(N(262_144))),
            (Key::MaxBurstLength, 262_144, "0x200", Ok(N(512))),
            (Key::MaxBurstLength, 262_144, "262145", BAD),
            (Key::MaxBurstLength, 262_144, "511", BAD),
            (Key::MaxBurstLength, 262_144, "0", BAD),
            (Key::MaxBurstLength, 262_144, "16777216", BAD),
            (Key::FirstBurstLength, 65_536, "0", BAD),
            (Key::MaxConnections, 1, "2", BAD),
            (Key::MaxConnections, 4, "1", Ok(N(1))),
            (Key::MaxOutstandingR2T, 4, "0", BAD),
            (Key::MaxOutstandingR2T, 4, "3", Ok(N(3))),
            (Key::ErrorRecoveryLevel, 0, "1", BAD),
            (Key::ErrorRecoveryLevel, 0, "0", Ok(N(0))),
            (Key::DefaultTime2Wait, 2, "5", Ok(N(5))),
            (Key::DefaultTime2Wait, 2, "1", BAD),
            (Key::DefaultTime2Wait, 2, "2147483648", BAD),
            (Key::DefaultTime2Retain, 0, "0", Ok(N(0))),
            (Key::DefaultTime2Retain, 0, "20", BAD),
        ] {
            assert_eq!(
                settle(&key.rule(), Wish::Number(offer), answer),
                result,
                "{key}={answer}"
            );
        }
        for answer in [
            "-1",
            "+5",
            "0x",
            "1e3",
            "12345678901234567890",
            "",
            " 1",
            "1 ",
            "0x1g",
            "ff",
        ] {
            let rule = Key::MaxOutstandingR2T.rule();
            assert_eq!(
                settle(&rule, Wish::Number(65_535), answer),
                BAD,
                "{answer:?}"
            );
        }
    }

    /// C-11, H44.
    #[test]
    fn booleans_follow_and_or() {
        for (key, offer, answer, result) in [
            (Key::InitialR2T, false, "No", Some(false)),
            (Key::InitialR2T, false, "Yes", Some(true)),
            (Key::InitialR2T, true, "Yes", Some(true)),
            (Key::InitialR2T, true, "No", None),
            (Key::ImmediateData, true, "No", Some(false)),
            (Key::ImmediateData, false, "No", Some(false)),
            (Key::ImmediateData, false, "Yes", None),
            (Key::ImmediateData, true, "Maybe", None),
            (Key::ImmediateData, true, "yes", None),
            (Key::DataPDUInOrder, true, "", None),
        ] {
            let got = settle(&key.rule(), Wish::Boolean(offer), answer);
            assert_eq!(
                got.ok(),
                result.map(Value::Boolean),
                "{key}: {offer} and {answer}"
            );
        }
    }

    /// C-09, C-15, H44.
    #[test]
    fn of_a_list_one_offered_entry_is_taken() {
        let rule = Key::HeaderDigest.rule();
        let ours = Wish::List(&["CRC32C", "None"]);
        assert_eq!(settle(&rule, ours, "None"), Ok(Value::Choice("None")));
        for answer in ["CRC32C,None", "crc32c", "MD5", ""] {
            assert_eq!(settle(&rule, ours, answer), BAD, "{answer}");
        }
        assert_eq!(
            respond(&rule, "X,None,CRC32C", ours),
            Some(Value::Choice("None"))
        );
        assert_eq!(respond(&rule, "X", ours), None);
    }

    #[test]
    fn both_sides_come_to_the_same_result() {
        for key in Key::ALL {
            let rule = key.rule();
            let wishes: &[Wish<'_>] = match &rule {
                Rule::And | Rule::Or => &[Wish::Boolean(false), Wish::Boolean(true)],
                Rule::Min(range) | Rule::Max(range) => {
                    let middle = range.start().midpoint(*range.end());
                    &[*range.start(), middle, *range.end()].map(Wish::Number)
                }
                Rule::List => &[Wish::List(&["a", "b"]), Wish::List(&["b"])],
                _ => continue,
            };
            for (offer, ours) in wishes
                .iter()
                .flat_map(|a| wishes.iter().map(move |b| (a, b)))
            {
                let offered = match offer {
                    Wish::Number(n) => alloc::format!("{n}"),
                    Wish::Boolean(b) => boolean(*b).into(),
                    Wish::List(l) => l.join(","),
                };
                if let Some(answer) = respond(&rule, &offered, *ours) {
                    let answered = alloc::format!("{answer}");
                    assert_eq!(
                        settle(&rule, *offer, &answered),
                        Ok(answer),
                        "{key} {offer:?} {ours:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_key_is_found_by_its_exact_name_only() {
        for key in Key::ALL {
            assert_eq!(Key::from_name(key.name()), Some(*key));
            assert!(key.name().len() <= crate::text::codec::MAX_KEY);
        }
        assert_eq!(Key::from_name("headerdigest"), None);
    }
}
