//! The matrix in `docs/interop.md` names all tests here, and no others.

use std::{env, process::Command};

/// The document's part about this test program; other parts have their own.
const PART: [&str; 2] = ["<!-- initiators -->", "<!-- end of initiators -->"];

#[test]
fn the_matrix_names_every_test_with_an_initiator() {
    let document = include_str!("../../../docs/interop.md");
    let part = document.split_once(PART[0]).expect("it begins").1;
    let part = part.split_once(PART[1]).expect("it ends").0;
    let list = Command::new(env::current_exe().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let tests: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        // These two look at no initiator.
        .filter(|test| !test.starts_with("table::") && !test.ends_with("is_understood"))
        .collect();
    // In code font, with a path: a test and nothing else.
    let named: Vec<_> = part
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::"))
        .collect();
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let untold: Vec<_> = tests.iter().filter(|test| !named.contains(test)).collect();
    assert!(untold.is_empty(), "not in the matrix: {untold:?}");
}
