//! Searches what was said for the secrets of the tests.
//!
//! ```text
//! RUST_TEST_NOCAPTURE=1 cargo test --workspace --all-features > all.txt 2>&1
//! cargo run -p iscsi-testkit --bin canary -- all.txt
//! ```
//!
//! Fails if one of them is there in any form, and if the text is not that of a run with RUST_TEST_NOCAPTURE: what
//! tests show has to be seen. That all of them ran is for `cargo test` to say.

use std::{env, fs, process::ExitCode};

use iscsi_testkit::canary;

/// What the test prints that shows most; it is in the text only if tests were not captured.
const MARK: &str = "k02: all that can be shown was shown";

fn main() -> ExitCode {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("error: name the files to search");
        return ExitCode::from(2);
    }
    let mut status = ExitCode::SUCCESS;
    for file in files {
        if let Err(why) = search(&file) {
            eprintln!("error: {file}: {why}");
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn search(file: &str) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let secrets = canary::ALL.map(str::as_bytes);
    let leaks = canary::leaks(&secrets, &text);
    let forms: usize = secrets
        .iter()
        .map(|secret| canary::forms(secret).len())
        .sum();
    println!(
        "searched {file}: {} lines, {} bytes, for {} secrets in {forms} forms: text, hexadecimal, numbers and \
         base64 of each 8 bytes of them, and their hashes. {} found.",
        text.lines().count(),
        bytes.len(),
        secrets.len(),
        leaks.len(),
    );
    if let Some(leak) = leaks.first() {
        return Err(format!("{leak}, and {} more", leaks.len() - 1));
    }
    // The answer to a challenge is as good as the secret to whoever guesses: so is the raw text of a login.
    let answer = ["CHAP_R=0x", "CHAP_R=0X", "CHAP_R=0b", "CHAP_R=0B"];
    if let Some(line) = text
        .lines()
        .position(|line| answer.iter().any(|key| line.contains(key)))
    {
        return Err(format!("line {} has the answer to a challenge", line + 1));
    }
    match text.contains(MARK) {
        true => Ok(()),
        false => Err(format!(
            "what tests print was captured: set RUST_TEST_NOCAPTURE=1 (there is no line {MARK:?})"
        )),
    }
}
