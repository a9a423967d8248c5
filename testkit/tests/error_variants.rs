//! Each kind of error of the protocol core is named by a test.
//!
//! What nobody has seen happen may be wrong, or impossible. Each variant has to appear as `Enum::Variant` in a
//! test of the workspace: in a file under a `tests` directory, or behind `#[cfg(test)]` at the end of a source file.
//! This reads the sources, so it cannot tell whether the test is a good one.

use std::{collections::BTreeMap, fs, path::Path};

/// The files in which the enums are.
const ERRORS: [&str; 4] = [
    "iscsi-proto/src/error.rs",
    "iscsi-proto/src/session/command.rs",
    "iscsi-proto/src/name.rs",
    "iscsi-proto/src/login/credentials.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let within = path.strip_prefix(root()).unwrap();
            found.push((format!("/{}", within.display()), text));
        }
    }
}

/// The part of a file that is a test.
fn test_part<'a>(path: &str, text: &'a str) -> &'a str {
    if path.contains("/tests/") || path.ends_with("tests.rs") {
        return text;
    }
    text.find("#[cfg(test)]\nmod tests {")
        .map_or("", |at| &text[at..])
}

/// Whether `full` is there, and not as the end or the beginning of a longer name.
fn names_it(text: &str, full: &str) -> bool {
    text.match_indices(full).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + full.len()..].chars().next();
        ![before, after]
            .into_iter()
            .flatten()
            .any(|c| c.is_ascii_alphanumeric())
    })
}

/// The variants of each public enum of a file whose name says that it is an error, or that derives one.
fn variants(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let (mut name, mut is_error) = (None::<String>, false);
    for line in text.lines() {
        if line.starts_with("#[derive(") {
            is_error = line.contains("thiserror::Error");
        } else if let Some(rest) = line.strip_prefix("pub enum ") {
            name = is_error.then(|| rest.trim_end_matches(" {").to_owned());
        } else if line == "}" {
            name = None;
        } else if let (Some(name), Some(rest)) = (&name, line.strip_prefix("    ")) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
            let variant = &rest[..end.unwrap_or(rest.len())];
            if variant.starts_with(|c: char| c.is_ascii_uppercase()) {
                found.entry(name.clone()).or_default().push(variant.into());
            }
        }
    }
    found
}

#[test]
fn every_variant_is_named_by_a_test() {
    let root = root();
    let mut files = Vec::new();
    for dir in ["iscsi-proto", "iscsi-client", "mpio", "testkit", "examples"] {
        sources(&root.join(dir), &mut files);
    }
    let tests: Vec<_> = files
        .iter()
        .map(|(path, text)| test_part(path, text))
        .collect();
    let (mut enums, mut unseen) = (0, Vec::new());
    for file in ERRORS {
        let text = fs::read_to_string(root.join(file)).unwrap();
        for (name, variants) in variants(&text) {
            enums += 1;
            assert!(!variants.is_empty(), "{name} has no variants");
            // Tests shorten one name.
            let names = match &*name {
                "Error" => vec!["Error".to_owned(), "CoreError".to_owned()],
                _ => vec![name],
            };
            for variant in variants {
                let is_seen = names.iter().any(|name| {
                    let full = format!("{name}::{variant}");
                    tests.iter().any(|text| names_it(text, &full))
                });
                if !is_seen {
                    unseen.push(format!("{}::{variant}", names[0]));
                }
            }
        }
    }
    assert!(enums >= 10, "only {enums} enums were found");
    assert!(unseen.is_empty(), "named by no test: {unseen:?}");
}
