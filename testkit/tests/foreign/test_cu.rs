//! iscsi-test-cu, libiscsi's test suite for targets: every test of it, against the checked-in list of
//! how each one ends.
//!
//! A test that ends otherwise than the list says, is new, or has vanished fails ours. The list gives a
//! reason for everything that is not passed: the tool's own words where it skips, ours where it fails.

use std::{collections::BTreeMap, fmt::Write as _};

use iscsi_testkit::target::{LunConfig, TargetConfig, TcpTarget};

use crate::{
    support::{TARGET, serve},
    tool::{Tool, text},
};

const LIST: &str = include_str!("test_cu.txt");

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// With the tool's words.
    Skipped(String),
    /// With the assertions that did not hold, by file and line.
    Failed(Vec<String>),
}

impl End {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
        }
    }
}

type Ends = BTreeMap<String, End>;

/// The section `name` of the list.
fn listed(name: &str) -> Ends {
    let mut ends = Ends::new();
    let mut inside = false;
    for line in LIST.lines() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = section == name;
            continue;
        }
        if !inside {
            continue;
        }
        let (test, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (word, reason) = rest.split_once(": ").unwrap_or((rest, ""));
        let end = match word {
            "passed" => End::Passed,
            "skipped" if !reason.is_empty() => End::Skipped(reason.into()),
            // Assertions, and in parentheses why they cannot hold.
            "failed" if reason.ends_with(')') => {
                let (assertions, _) = reason.split_once(" (").unwrap_or((reason, ""));
                End::Failed(assertions.split(' ').map(str::to_owned).collect())
            }
            _ => panic!("a line of the list without an end or without its reason: {line}"),
        };
        assert_eq!(
            ends.insert(test.into(), end),
            None,
            "{test} is listed twice"
        );
    }
    assert!(!ends.is_empty(), "no section {name} in the list");
    ends
}

/// Reads the tool's output: `Suite: name`, then per test `Test: name ...`, what the test says, and its
/// end, which begins a line or follows the dots. The assertions that did not hold come after the end.
fn parse(output: &str) -> Ends {
    let mut ends = Ends::new();
    let mut suite = "";
    let mut test = String::new();
    let mut open: Option<Vec<&str>> = None;
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("Suite: ") {
            suite = name.trim();
        }
        if let Some(End::Failed(assertions)) = ends.get_mut(&test) {
            assertions.extend(assertion(line));
        }
        let mut said = line;
        let begins = line.strip_prefix("  Test: ");
        if let Some((name, rest)) = begins.and_then(|rest| rest.split_once(" ...")) {
            test = format!("{suite}.{name}");
            open = Some(Vec::new());
            said = rest;
        }
        let Some(words) = &mut open else {
            continue;
        };
        let end = if said.starts_with("passed") {
            let skipped = words
                .iter()
                .find_map(|word| word.strip_prefix("[SKIPPED] "));
            skipped.map_or(End::Passed, |reason| End::Skipped(reason.to_owned()))
        } else if said.starts_with("FAILED") {
            End::Failed(Vec::new())
        } else {
            words.push(said.trim());
            continue;
        };
        open = None;
        ends.insert(test.clone(), end);
    }
    assert_eq!(open, None, "{test} did not end:\n{output}");
    ends
}

/// `    1. file.c:9  - CU_ASSERT(0)`: the file and the line.
fn assertion(line: &str) -> Option<String> {
    let (number, rest) = line.trim_start().split_once(". ")?;
    number.parse::<u32>().ok()?;
    let (place, _) = rest.split_once("  - ")?;
    Some(place.to_owned())
}

/// A line of the list.
fn line(test: &str, end: &End) -> String {
    match end {
        End::Passed => format!("{test} passed"),
        End::Skipped(reason) => format!("{test} skipped: {reason}"),
        End::Failed(assertions) => format!("{test} failed: {} (why?)", assertions.join(" ")),
    }
}

/// Runs `tests` against LUN 0 of `target`, over one or two of its portals, and compares.
fn compare(section: &str, tests: &[&str], target: &TcpTarget, portals: usize) {
    let Some(tool) = Tool::libiscsi("iscsi-test-cu") else {
        return;
    };
    let urls: Vec<_> = (0..portals)
        .map(|portal| format!("iscsi://{}/{TARGET}/0", target.portal(portal)))
        .collect();
    let mut found = Ends::new();
    for family in tests {
        let mut args = vec!["--dataloss", "--verbose", "--test", family];
        args.extend(urls.iter().map(String::as_str));
        let output = tool.run(&args);
        let said = text(&output.stdout);
        // Its exit status depends on the tests' ends as well; this line does not.
        let complete = said.contains("Tests completed with return value: 0");
        assert!(complete, "{said}{}", text(&output.stderr));
        found.extend(parse(&said));
    }
    let expected = listed(section);
    let mut differences = String::new();
    for (test, end) in &found {
        let listed = expected.get(test);
        if listed != Some(end) {
            let listed = listed.map_or("not listed", End::word);
            let _ = writeln!(differences, "{}   <- was {listed}", line(test, end));
        }
    }
    for test in expected.keys().filter(|test| !found.contains_key(*test)) {
        let _ = writeln!(differences, "{test}   <- did not run");
    }
    assert!(
        differences.is_empty(),
        "section [{section}] of testkit/tests/foreign/test_cu.txt:\n{differences}"
    );
}

fn target(unit: LunConfig) -> TargetConfig {
    TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 1)
        .with_lun(unit)
}

#[test]
fn a_thin_unit_with_blocks_of_512_ends_each_test_as_listed() {
    let mut unit = LunConfig::new(0, 1 << 30).with_thin_provisioning();
    unit.fua = true;
    compare("thin, 512", &["ALL"], &serve(target(unit)), 2);
}

#[test]
fn a_unit_with_blocks_of_4096_ends_each_test_as_listed() {
    let unit = LunConfig::new(0, 1 << 30).with_block_size(4096);
    compare("thick, 4096", &["ALL"], &serve(target(unit)), 1);
}

/// Where the target takes no immediate data, libiscsi sends every write as Data-Out.
#[test]
fn without_immediate_data_the_iscsi_tests_end_as_listed() {
    let mut config = target(LunConfig::new(0, 1 << 30));
    config.limits.immediate_data = false;
    compare("no immediate data", &["ALL.iSCSI*"], &serve(config), 1);
}

#[test]
fn the_tools_output_is_understood() {
    let output = "
Suite: Read6
  Test: Simple ...passed
  Test: BeyondEol ...    [SKIPPED] LUN is too big.
    [SKIPPED] another line
passed    [SKIPPED] of the suite's end.

Suite: Write6
  Test: Simple ...    [FAILED] no
FAILED
    1. file.c:9  - CU_ASSERT(0)
    2. file.c:12  - no. 3    [SKIPPED] of the suite's end.
";
    let ends = parse(output);
    let expected = [
        ("Read6.Simple", End::Passed),
        ("Read6.BeyondEol", End::Skipped("LUN is too big.".into())),
        (
            "Write6.Simple",
            End::Failed(vec!["file.c:9".into(), "file.c:12".into()]),
        ),
    ];
    assert_eq!(
        ends,
        expected.map(|(test, end)| (test.to_owned(), end)).into()
    );
}
