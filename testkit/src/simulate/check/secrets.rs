//! I13, second half: no secret is said.

use std::fmt::Write as _;

use super::violation::{Row, Violation};

/// I13: none of `secrets` is in any of the lines that were `said` (events, errors, what `Debug` shows), as it
/// is, in hexadecimal digits or as a list of numbers.
///
/// # Errors
///
/// The first line that has one; the secret itself is not repeated.
pub fn are_kept(secrets: &[&[u8]], said: &[String]) -> Result<(), Violation> {
    for (number, secret) in secrets.iter().enumerate() {
        let forms = forms(secret);
        for (line, text) in said.iter().enumerate() {
            if let Some(form) = forms.iter().position(|form| text.contains(form)) {
                let form = ["as it is", "in hexadecimal", "as numbers"][form];
                let what = format!("line {line} has secret {number}, {form}");
                return Err(Violation::new(Row::I13, what));
            }
        }
    }
    Ok(())
}

fn forms(secret: &[u8]) -> [String; 3] {
    let hex = secret.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    });
    let list = format!("{secret:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    [String::from_utf8_lossy(secret).into_owned(), hex, list]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_form() {
        let secret: &[u8] = b"canary in a cage";
        let row = |line: String| {
            let said = ["nothing".to_owned(), line];
            let judged = are_kept(&[b"another one", secret], &said);
            judged.err().map(|violation| violation.row)
        };
        assert_eq!(row("a canary in a mine".into()), None);
        assert_eq!(
            row("login with canary in a cage failed".into()),
            Some(Row::I13)
        );
        assert_eq!(
            row("0x63616e61727920696e20612063616765".into()),
            Some(Row::I13)
        );
        assert_eq!(row(format!("Bytes({secret:?})")), Some(Row::I13));
    }
}
