//! The program that the README shows: it is what stands in `first_program.rs`, and it works.

#[expect(dead_code, reason = "this program is not one of the tools")]
#[path = "common/mod.rs"]
mod common;

use std::fs;

use common::{TARGET, run, stdout, target};
use iscsi_testkit::canary::OURS;

const TOOL: &str = "first_program";

#[test]
fn the_readme_shows_it_to_the_letter() {
    let readme = include_str!("../../README.md");
    let (_, program) = include_str!("../first_program.rs")
        .split_once("\n\n")
        .unwrap();
    let shown = format!("```rust,no_run\n{program}```\n");
    assert!(
        readme.contains(&shown),
        "README.md shows another program than first_program.rs"
    );
}

#[test]
fn it_logs_in_with_chap_through_both_nics_to_the_lun_that_was_chosen() {
    let target = target(Some(("somebody", OURS)));
    let portal = target.portal(0).to_string();
    let file = std::env::temp_dir().join(format!("iscsi-examples-{}-secret", std::process::id()));
    fs::write(&file, format!("{OURS}\n")).unwrap();
    let secret = file.to_str().unwrap();
    let output = run(
        TOOL,
        &[
            &portal,
            TARGET,
            "1",
            "127.0.0.1",
            "127.0.0.3",
            "somebody",
            secret,
        ],
    );
    let wrong = run(
        TOOL,
        &[
            &portal,
            TARGET,
            "1",
            "127.0.0.1",
            "127.0.0.3",
            "nobody",
            secret,
        ],
    );
    fs::remove_file(&file).unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("36001405f15c51d000000000000000001 "),
        "{text}"
    );
    assert_eq!(text.matches("active ready running").count(), 2, "{text}");
    assert!(text.ends_with("\nas it was written: true\n"), "{text}");
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("login refused: 0201"), "{said}");
    assert_eq!(target.core().violations(), []);
}

#[test]
fn without_arguments_it_says_what_it_wants() {
    let output = run(TOOL, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("give PORTAL TARGET LUN "), "{text}");
}
