//! I13, second half: no secret is said.

use super::violation::{Row, Violation};
use crate::canary;

/// I13: none of `secrets` is in any of the lines that were `said` (events, errors, what `Debug` shows), in any of
/// its [forms](canary::forms).
///
/// # Errors
///
/// The first line that has one; the secret itself is not repeated.
pub fn are_kept(secrets: &[&[u8]], said: &[String]) -> Result<(), Violation> {
    match canary::leaks(secrets, &said.join("\n")).first() {
        Some(leak) => Err(Violation::new(Row::I13, leak.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_was_said_breaks_the_rule() {
        let secret: &[u8] = b"canary in a cage";
        let row = |line: String| {
            let said = ["nothing".to_owned(), line];
            let judged = are_kept(&[b"another one", secret], &said);
            judged.err().map(|violation| violation.row)
        };
        assert_eq!(row("a bird in a mine".into()), None);
        assert_eq!(
            row("login with canary in a cage failed".into()),
            Some(Row::I13)
        );
        assert_eq!(row(format!("Bytes({secret:?})")), Some(Row::I13));
    }
}
