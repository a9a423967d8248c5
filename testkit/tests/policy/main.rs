//! What holds for all of the source and for what it depends on: rows K-02 and K-16 to K-25 of
//! `docs/threat-model.md`.

mod dependencies;
mod documents;
mod secrets;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The crates that users link.
pub(crate) const LIBRARIES: [&str; 3] = ["iscsi-proto", "iscsi-client", "mpio"];
/// Those that are published.
pub(crate) const PUBLISHED: [&str; 4] = ["iscsi-proto", "iscsi-client", "mpio", "testkit"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust files of the project, by path.
pub(crate) fn rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                left.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).unwrap();
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, text));
            }
        }
    }
    assert!(found.len() > 200, "{}", found.len());
    found.sort();
    found
}

/// The lines of a section of a manifest, comments left out.
pub(crate) fn section(manifest: &str, name: &str) -> Vec<String> {
    let lines = manifest.lines().map(str::trim);
    let mut lines = lines.skip_while(|line| *line != format!("[{name}]"));
    lines.next();
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// All Rust files of a crate's library, by path, without their comments, without the modules of tests at their
/// ends, and without the bodies of fuzz targets, which no user builds.
pub(crate) fn sources(library: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(library).join("src")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "tests" {
                    left.push(path);
                }
            } else if name.ends_with(".rs")
                && !name.ends_with("tests.rs")
                && !["fuzz.rs", "fuzzing.rs"].contains(&name)
            {
                let text = fs::read_to_string(&path).unwrap();
                let code: Vec<&str> = text
                    .lines()
                    .take_while(|line| *line != "mod tests {")
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, code.join("\n")));
            }
        }
    }
    assert!(found.len() > 20, "{library}");
    found.sort();
    found
}
