//! What comes along with the libraries. The lock file and `cargo` are asked, without the network.

use std::{collections::BTreeSet, process::Command};

use crate::{LIBRARIES, PUBLISHED, read, root, section};

/// More would each have to be looked after.
const MOST: usize = 15;

fn direct(krate: &str) -> BTreeSet<String> {
    let manifest = read(&format!("{krate}/Cargo.toml"));
    let heads = manifest
        .lines()
        .filter(|line| line.ends_with("dependencies]"));
    let heads = heads.filter(|head| !head.contains("dev-") && !head.contains("build-"));
    heads
        .flat_map(|head| section(&manifest, head.trim_matches(['[', ']'])))
        .map(|line| {
            line.split_once(['=', '.', ' '])
                .unwrap()
                .0
                .trim()
                .to_owned()
        })
        .filter(|name| !["iscsi-proto", "iscsi-client", "mpio"].contains(&name.as_str()))
        .collect()
}

#[test]
fn k23_direct_dependencies_are_few_and_each_has_its_reason() {
    let reasons = read("docs/ARCHITECTURE.md");
    let reasons = reasons.split_once("## Dependencies").unwrap().1;
    for krate in PUBLISHED {
        let direct = direct(krate);
        assert!(direct.len() <= MOST, "{krate}: {direct:?}");
        for name in &direct {
            assert!(reasons.contains(&format!("`{name}`")), "{krate}: {name}");
        }
    }
}

/// From one registry, each with its checksum; nothing from a repository or a place on a disk but our own crates.
#[test]
fn k23_everything_is_from_the_registry_and_locked() {
    for path in ["Cargo.lock", "fuzz/Cargo.lock", "no_std_gate/Cargo.lock"] {
        let lock = read(path);
        let packages = lock.split("[[package]]").skip(1);
        let mut foreign = 0;
        for package in packages {
            let line = |key: &str| {
                let mut lines = package.lines();
                lines.find_map(|line| line.strip_prefix(&format!("{key} = ")))
            };
            let name = line("name").unwrap().trim_matches('"');
            let Some(source) = line("source") else {
                let ours = name.starts_with("iscsi-")
                    || ["mpio", "no_std_gate", "no-std-gate"].contains(&name);
                assert!(ours, "{path}: {name}");
                continue;
            };
            let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
            assert_eq!(source, registry, "{path}: {name}");
            assert_eq!(line("checksum").map(str::len), Some(66), "{path}: {name}");
            foreign += 1;
        }
        assert!(foreign > 5, "{path}");
    }
}

/// The same list as in `deny.toml`.
const LICENCES: [&str; 4] = ["MIT", "Apache-2.0", "BSD-3-Clause", "Unicode-3.0"];

/// `cargo deny check` says more; this says it without the network, and without a tool that is not there.
#[test]
fn k23_licences_are_those_that_users_can_live_with() {
    let deny = read("deny.toml");
    for licence in LICENCES {
        assert!(deny.contains(&format!("\"{licence}\"")), "{licence}");
    }
    for krate in LIBRARIES {
        let args = [
            "tree",
            "--offline",
            "--locked",
            "--all-features",
            "--prefix",
            "none",
        ];
        let tree = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(args)
            .args(["-e", "normal", "-f", "{p}: {l}", "-p", krate])
            .output()
            .unwrap();
        let told = String::from_utf8(tree.stderr).unwrap();
        assert!(tree.status.success(), "{told}");
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.lines().count() > 5, "{tree}");
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let (package, licences) = line.trim_end_matches(" (*)").split_once(": ").unwrap();
            // Older manifests write `MIT/Apache-2.0`.
            let licences = licences.replace('/', " OR ").replace(['(', ')'], "");
            let is_allowed = |one: &str| LICENCES.contains(&one.trim());
            let all = licences
                .split(" AND ")
                .all(|choice| choice.split(" OR ").any(is_allowed));
            assert!(all, "{package}: {licences}");
        }
    }
}
