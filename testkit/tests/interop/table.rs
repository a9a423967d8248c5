//! Every test that `docs/interop.md` names is there.

use std::{env, process::Command};

use crate::harness::run_tool;

/// The document's part about this test program; other parts have their own.
const PART: [&str; 2] = ["<!-- targets -->", "<!-- end of targets -->"];

#[test]
fn every_test_that_the_matrix_names_exists() {
    let document = include_str!("../../../docs/interop.md");
    let part = document.split_once(PART[0]).expect("it begins").1;
    let part = part.split_once(PART[1]).expect("it ends").0;
    let mut list = Command::new(env::current_exe().expect("this program"));
    let list = run_tool(list.arg("--list"));
    let tests: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    // In code font, with a path: a test and nothing else.
    let named: Vec<_> = part
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::"))
        .collect();
    assert!(named.len() > 40, "the matrix names its tests: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let untold: Vec<_> = tests
        .iter()
        .filter(|test| test.contains("tgtd") || test.contains("istgt"))
        .filter(|test| !named.contains(test))
        .collect();
    assert!(untold.is_empty(), "not in the matrix: {untold:?}");
}
