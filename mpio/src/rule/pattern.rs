//! Names with wildcards.

use std::{fmt, sync::Arc};

/// A name in which `*` stands for any characters, or none, and `?` for one. With `!` before it, it
/// means every name but those. Upper and lower case differ.
///
/// Unlike the regular expressions of multipath.conf it is about the whole name: `LUN` is not `LUNZ`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    text: Arc<str>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.text.strip_prefix('!') {
            Some(others) => !glob(others.as_bytes(), name.as_bytes()),
            None => glob(self.text.as_bytes(), name.as_bytes()),
        }
    }
}

/// Goes back to the last `*` only, which is enough, so hostile names cost no more than their length times
/// that of the pattern.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when the rest does not fit: after the star, and one character further.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_question_marks_and_negation_are_about_the_whole_name() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("LUN", "LUNZ", false),
            ("!LUN*", "LUNZ", false),
            ("!LUN*", "disk", true),
            ("**", "x", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    /// Exponential in the number of stars where it goes back to all of them.
    #[test]
    fn a_pattern_of_many_stars_comes_to_an_end() {
        let pattern = Pattern::new(&"a*".repeat(100));
        let name = "a".repeat(10_000) + "b";
        assert!(pattern.matches(&name));
        assert!(!Pattern::new(&("a*".repeat(100) + "c")).matches(&name));
    }
}
