//! `docs/story.md`, executed: its `console` blocks are typed into shells of network namespaces, one after the other,
//! with tgtd as the target, and what comes back has to be what stands there.
//!
//! In what is expected `[..]` is anything within a line, `...` any number of lines, and `[HALF]` a number from 40
//! to 60. `? N` is the exit status of a command that did not end with 0. Without tgtd or root this says so and does
//! nothing, unless `ISCSI_INTEROP=require` is set: then it fails.

mod document;
mod terminal;

// The network and the target are those of the interop tests, of which not all is wanted here.
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the other tests' part"
)]
#[macro_use]
#[path = "../../../testkit/tests/interop/harness/mod.rs"]
mod harness;

use std::{fs, path::PathBuf};

use document::{Step, steps};
use harness::{Kind, Network, PORTAL, Peer, Place, Setup, have};
use iscsi_examples::command::PROMPT;
use regex::Regex;
use snapbox::{Assert, IntoData, Redactions, report::Palette};
use terminal::Terminal;

/// A step of which nothing is executed says so in its heading.
const IN_WORDS: &str = "(in words)";

fn story() -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/story.md");
    fs::read_to_string(file).expect("docs/story.md")
}

/// Puts paths that are shown one below the other in the order of their names: which of them has joined first, and
/// is shown first, differs from run to run.
fn in_order(shown: &str) -> String {
    const BRANCHES: [&str; 2] = ["  |- ", "  `- "];
    let branch = |line: &str| {
        BRANCHES
            .iter()
            .find(|branch| line.starts_with(**branch))
            .copied()
    };
    let hcil = Regex::new(r"^\d+:0:0:\d+ ").expect("a pattern");
    // A line without what tells its place, where it is one of a path.
    let path = |line: &str| match branch(line) {
        Some(branch) => line.get(branch.len()..).map(str::to_owned),
        None => hcil.find(line).map(|found| line[found.end()..].to_owned()),
    };
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    for paths in lines.chunk_by_mut(|a, b| path(a).is_some() && path(b).is_some()) {
        let drawn: Vec<_> = paths.iter().map(|line| branch(line)).collect();
        paths.sort_by_key(|line| path(line));
        for (line, branch) in paths.iter_mut().zip(drawn) {
            if let Some(branch) = branch {
                line.replace_range(..branch.len(), branch);
            }
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn paths_are_put_in_order_and_nothing_else_is() {
    let shown = "b\na\n  |- 2 x\n  `- 1 y\nb\n0:0:0:1 b x\n1:0:0:1 a y\nb\na\n";
    let wanted = "b\na\n  |- 1 y\n  `- 2 x\nb\n1:0:0:1 a y\n0:0:0:1 b x\nb\na\n";
    assert_eq!(in_order(shown), wanted);
    assert_eq!(in_order(wanted), wanted);
}

/// Compares what was shown with what stands in the document.
fn compare(title: &str, expected: &str, shown: &str) -> Result<(), String> {
    let half = Regex::new(r"\b(?<redacted>4[0-9]|5[0-9]|60) %").expect("a pattern");
    let mut placeholders = Redactions::new();
    placeholders
        .insert("[HALF]", half)
        .expect("a name for a placeholder");
    let assert = Assert::new()
        .redact_with(placeholders)
        .normalize_paths(false)
        .palette(Palette::plain());
    let title = title.to_owned();
    let compared = assert.try_eq(
        Some(&title),
        shown.to_owned().into_data(),
        expected.to_owned().into_data(),
    );
    compared.map_err(|difference| difference.to_string())
}

#[test]
fn every_executed_block_shows_what_stands_there() {
    let document = story();
    let steps = steps(&document);
    let Some((mut terminal, _network, _peer)) = place() else {
        return;
    };
    for step in &steps {
        execute(step, &mut terminal);
    }
    assert!(terminal.console.is_none(), "the console was told to quit");
}

fn execute(step: &Step, terminal: &mut Terminal) {
    let Step { title, blocks } = step;
    match blocks.len() {
        0 => println!("{title}: nothing to execute"),
        count => println!("{title}: {count} blocks"),
    }
    for block in blocks {
        let shown = in_order(&terminal.execute(block));
        if let Err(difference) = compare(title, &block.text, &shown) {
            panic!(
                "docs/story.md, line {}, \"{title}\":\n{difference}\nall that was shown:\n{shown}",
                block.line
            );
        }
    }
}

/// The cables and the target; `None` where that is not possible, which has been said then.
fn place() -> Option<(Terminal, Network, Peer)> {
    if !have(&["tc", "ss", "sfdisk", "bash", "setpriv"]) {
        return None;
    }
    let network = Network::lay()?;
    let setup = Setup {
        place: Place::Namespace {
            name: network.storage.clone(),
            portals: vec![PORTAL.parse().expect("an address")],
        },
        ..Setup::default()
    };
    let peer = Peer::start(Kind::Tgtd, setup)?;
    let directory = peer.backing();
    let directory = directory.parent().expect("a file in a directory");
    let terminal = Terminal {
        places: vec![
            ("host", network.host.clone()),
            ("switch", network.switch.clone()),
            ("storage", network.storage.clone()),
        ],
        directory: directory.to_owned(),
        environment: vec![("TGT_IPC_SOCKET", directory.join("ipc"))],
        prompt: PROMPT,
        console: None,
    };
    Some((terminal, network, peer))
}

#[test]
fn a_step_has_something_to_execute_or_says_that_it_is_words() {
    let document = story();
    let steps = steps(&document);
    assert!(steps.len() > 9, "{steps:?}");
    for step in &steps {
        let words = step.title.ends_with(IN_WORDS);
        assert_eq!(words, step.blocks.is_empty(), "{}", step.title);
    }
}

#[test]
fn a_difference_is_found_and_shown() {
    let expected = "$ a\npath [..] is up\n...\nlast\nnic1 [HALF] %\n";
    let shown = |first: &str, share: u8| format!("$ a\npath {first}\nx\ny\nlast\nnic1 {share} %\n");
    for share in [40, 52, 60] {
        assert_eq!(compare("one", expected, &shown("1 is up", share)), Ok(()));
    }
    let difference = compare("one", expected, &shown("1 is down", 50)).unwrap_err();
    assert!(difference.contains("path 1 is down"), "{difference}");
    for share in [39, 61] {
        let difference = compare("one", expected, &shown("1 is up", share)).unwrap_err();
        assert!(difference.contains(&share.to_string()), "{difference}");
    }
    let difference = compare("one", "$ a\n", "$ a\n? 1\n").unwrap_err();
    assert!(difference.contains("? 1"), "{difference}");
}
