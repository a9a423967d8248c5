//! The secrets of the tests, and the search for them in whatever was said.
//!
//! A test that logs in with CHAP does it with one of [`ALL`] (`tests/policy/secrets.rs` looks), and shows what it
//! gets with [`show`] and [`show_error`], in every form there is. What all tests print is searched afterwards by the program `canary`
//! (`.ci/run` does), so a secret that comes to light anywhere, in an error, an event, a panic or what `Debug`
//! says, fails the build.

use std::{error::Error, fmt};

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::{Digest, Sha3_256};

/// The initiator's secret. Nowhere but in secrets; it has no word in it that would be found elsewhere.
pub const OURS: &str = "Kq7vX2mRt9Lw4Zc";
/// The target's.
pub const THEIRS: &str = "Wd3nYp8sGh5Jb6T";
/// A third one: where one has to be wrong for both, and that of tests that compare with known answers.
pub const ANOTHER: &str = "opensesame12";
/// All that are looked for.
pub const ALL: [&str; 3] = [OURS, THEIRS, ANOTHER];

/// How a secret may be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// In words.
    pub name: &'static str,
    /// What to look for.
    pub text: String,
}

/// So many bytes in a row are a leak.
const PIECE: usize = 8;

/// How eight bytes and more of `secret` look in text, hexadecimal digits, lists of numbers and base64, and what
/// hashes of it would be known by.
#[must_use]
pub fn forms(secret: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut form = |name, text: String| forms.push(Form { name, text });
    for piece in secret.windows(PIECE.min(secret.len().max(1))) {
        form("as it is", String::from_utf8_lossy(piece).into_owned());
        for (name, between) in [
            ("in hexadecimal", ""),
            ("in hexadecimal, apart", " "),
            ("in hexadecimal, apart", ":"),
            ("in hexadecimal, apart", ", "),
            ("in hexadecimal, apart", ", 0x"),
            ("in hexadecimal, apart", "\\x"),
        ] {
            let digits: Vec<String> = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let digits = digits.join(between);
            form(name, digits.to_uppercase().replace(['X'], "x"));
            form(name, digits);
        }
        let list = format!("{piece:?}");
        form("as numbers", list.trim_matches(['[', ']']).to_owned());
        for lead in 0..3 {
            form("in base64", base64(piece, lead));
        }
    }
    for (name, hash) in [
        ("its MD5", Md5::digest(secret).to_vec()),
        ("its SHA-1", Sha1::digest(secret).to_vec()),
        ("its SHA-256", Sha256::digest(secret).to_vec()),
        ("its SHA3-256", Sha3_256::digest(secret).to_vec()),
    ] {
        let hash = hash.iter().map(|byte| format!("{byte:02x}"));
        let hash: String = hash.take(PIECE).collect();
        form(name, hash.to_uppercase());
        form(name, hash);
    }
    forms
}

/// The letters that `bytes` become in base64 whatever stands around them, where `lead` more come first (modulo 3).
fn base64(bytes: &[u8], lead: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| {
        at.checked_sub(8 * lead)
            .map(|at| bytes[at / 8] >> (7 - at % 8) & 1)
    };
    let ends = 8 * (lead + bytes.len());
    (0..ends / 6)
        .filter(|letter| letter * 6 >= 8 * lead)
        .map(|letter| {
            let bits = letter * 6..letter * 6 + 6;
            let index = bits.fold(0, |index, at| {
                index << 1 | usize::from(bit(at).unwrap_or(0))
            });
            char::from(LETTERS[index])
        })
        .collect()
}

/// A secret that was said. Its text does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The number of the line, from 1; 0 if it goes over several.
    pub line: usize,
    /// Which of the secrets, from 0.
    pub secret: usize,
    /// How.
    pub form: &'static str,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, secret, form } = self;
        write!(f, "line {line} has secret {secret}, {form}")
    }
}

/// Every form of `secrets` that is in `text`, each where it is first.
#[must_use]
pub fn leaks(secrets: &[&[u8]], text: &str) -> Vec<Leak> {
    // As `{:#?}` shows lists.
    let joined: Vec<&str> = text.split_whitespace().collect();
    let joined = joined.join(" ");
    let mut leaks = Vec::new();
    for (number, secret) in secrets.iter().enumerate() {
        for form in forms(secret) {
            let line = match text.find(&form.text) {
                Some(at) => text[..at].matches('\n').count() + 1,
                None if joined.contains(&form.text) => 0,
                None => continue,
            };
            leaks.push(Leak {
                line,
                secret: number,
                form: form.name,
            });
        }
    }
    leaks
}

/// Shows all that `Debug` says of something, for the search.
pub fn show(what: &dyn fmt::Debug) {
    println!("{what:?}\n{what:#?}");
}

/// Shows an error and its causes in all ways that there are, for the search.
pub fn show_error(error: &dyn Error) {
    let mut cause = Some(error);
    while let Some(error) = cause {
        println!("{error}\n{error:#}");
        show(&error);
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&'static str> {
        leaks(&[b"another one of nobody", OURS.as_bytes()], text)
            .first()
            .map(|leak| leak.form)
    }

    #[test]
    fn a_secret_is_found_in_each_form_and_in_parts() {
        let bytes = OURS.as_bytes();
        let hex = |between: &str| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<Vec<_>>().join(between)
        };
        assert_eq!(found("a canary in a mine, 4b71 and S3E3"), None);
        assert_eq!(
            found(&format!("login with {OURS} failed")),
            Some("as it is")
        );
        assert_eq!(found(&format!("({:.9}...)", OURS)), Some("as it is"));
        assert_eq!(found(&format!("(...{})", &OURS[7..])), Some("as it is"));
        assert_eq!(found(&format!("0x{}", hex(""))), Some("in hexadecimal"));
        assert_eq!(found(&hex("").to_uppercase()), Some("in hexadecimal"));
        for between in [" ", ":", ", ", ", 0x", "\\x"] {
            assert_eq!(
                found(&hex(between)),
                Some("in hexadecimal, apart"),
                "{between}"
            );
        }
        assert_eq!(
            found(&hex(" ").to_uppercase()),
            Some("in hexadecimal, apart")
        );
        assert_eq!(found(&format!("Bytes({bytes:?})")), Some("as numbers"));
        let nested = format!("{:#?}", [Some(bytes)]);
        assert_eq!(found(&nested), Some("as numbers"));
    }

    /// By other means: `printf '%s' "$prefix$secret$suffix" | base64`.
    #[test]
    fn base64_is_found_wherever_it_begins() {
        for text in [
            "S3E3dlgybVJ0OUx3NFpj",
            "eEtxN3ZYMm1SdDlMdzRaY3h5",
            "eHhLcTd2WDJtUnQ5THc0WmN4",
            "BEtxN3ZYMm1SdDlMdzRaYwABAgMEBQ==",
        ] {
            assert_eq!(found(text), Some("in base64"), "{text}");
        }
    }

    /// By other means: `printf %s "$secret" | md5sum`, and so on.
    #[test]
    fn hashes_are_found() {
        for (hash, name) in HASHES {
            assert_eq!(found(&format!("<{hash}>")), Some(name));
        }
    }

    const HASHES: [(&str, &str); 3] = [
        ("5de6ba17c198ab854a3c022a80001b84", "its MD5"),
        ("7cf4d96cc31c2c9546299fcd54c2c77802ca4a4c", "its SHA-1"),
        (
            "060beae5b9c3a8cbb1cb2da110f77fc4bfb4fceb12dfb86bf35432a929f5ed88",
            "its SHA-256",
        ),
    ];
}
