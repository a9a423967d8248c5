//! With which secrets tests log in.

use std::collections::BTreeSet;

use iscsi_testkit::canary;

use crate::rust_files;

/// Files with secrets of their own, which go into no login of a test.
const OTHERS: [&str; 2] = [
    // URLs that are read, by the length of what is in them.
    "iscsi-client/tests/target_url.rs",
    // A fuzz target, as those in `fuzz`: they are run apart from the tests.
    "iscsi-proto/src/login/fuzz.rs",
];

/// What is between `before` and the first letter that `ends` it, wherever that is.
fn between<'a>(
    text: &'a str,
    before: &'a str,
    ends: fn(char) -> bool,
) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(move |rest| rest.split(ends).next())
}

/// The search of what the tests print knows those of `iscsi_testkit::canary` and no other.
#[test]
fn k02_tests_log_in_with_secrets_that_are_searched_for() {
    let mut known = 0;
    let mut others = BTreeSet::new();
    let files = rust_files().into_iter();
    for (path, text) in files.filter(|(path, _)| !path.starts_with("fuzz/")) {
        // However it is broken into lines.
        let text: String = text.split_whitespace().collect();
        let secrets = between(&text, "Secret::new(b\"", |letter| letter == '"');
        let in_urls = between(&text, "_password=", |letter| {
            !letter.is_ascii_alphanumeric() && letter != '-'
        });
        for secret in secrets.chain(in_urls.filter(|secret| !secret.is_empty())) {
            if canary::ALL.contains(&secret) {
                known += 1;
            } else {
                assert!(OTHERS.contains(&path.as_str()), "{path}: {secret}");
                others.insert(path.clone());
            }
        }
    }
    assert!(known > 2, "{known}");
    assert_eq!(others.len(), OTHERS.len(), "{others:?}");
}
