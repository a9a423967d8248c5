//! What is promised in writing.

use crate::{read, root, rust_files};

#[test]
fn k24_whoever_finds_something_knows_where_to_go() {
    let security = read("SECURITY.md");
    for promise in [
        "security advisories",
        "90 days",
        "## Supported versions",
        "docs/threat-model.md",
    ] {
        assert!(security.contains(promise), "{promise}");
    }
    assert!(read("README.md").contains("SECURITY.md"));
}

/// Each row of the table names its tests; each of these is there.
#[test]
fn k25_every_security_rule_has_its_row_and_every_test_that_a_row_names_is_there() {
    let document = read("docs/threat-model.md");
    let table = document.split_once("## Security rules").unwrap().1;
    let table = table.split_once("\n## ").map_or(table, |(table, _)| table);
    let mut tests = Vec::new();
    for number in 1..=26 {
        let row = format!("| K-{number:02} |");
        let row = table.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("K-{number:02} has no row"));
        let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named = column.split('`').skip(1).step_by(2);
        for name in named {
            if name.contains('/') {
                assert!(root().join(name).exists(), "{name}");
            } else {
                tests.push(name.rsplit("::").next().unwrap().to_owned());
            }
        }
    }
    assert!(tests.len() > 26, "{tests:?}");
    let code: String = rust_files().into_iter().map(|(_, text)| text).collect();
    for test in tests {
        let is_there =
            code.contains(&format!("fn {test}(")) || code.contains(&format!("mod {test}"));
        assert!(is_there, "{test}");
    }
}
