//! The harness from outside: what it refuses, where, and with which exit code.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code and everything that was said.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_empire-loadtest")).args(args).current_dir(folder).output();
    let done = done.unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

const SCENARIO: &str = "name: mine
about: one of my own
simulator: |
  ollama: {}
jobs:
  - name: words
    items: 10
    spec: |
      privacy: P0
      prompt: \"Define {{ word }}\"
limit: 30s
thresholds:
  lost: none
";

#[test]
fn bad_input_is_told_with_its_line_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.yaml"), SCENARIO).unwrap();
    let (code, said) = run(folder.path(), &["run", "mine.yaml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("mine.yaml") && said.contains("line 13") && said.contains("at_least"), "{said}");
    let (code, said) = run(folder.path(), &["run", "theirs.yaml"]);
    assert!(code == Some(2) && said.contains("half-million"), "{said}");
    assert!(!folder.path().join("out").try_exists().unwrap(), "nothing was begun");
}

#[test]
fn a_program_that_is_not_there_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = SCENARIO.replace("lost: none", "lost: 0");
    fs::write(folder.path().join("mine.yaml"), scenario).unwrap();
    let (code, said) = run(folder.path(), &["run", "mine.yaml", "--empire", "nowhere/empire"]);
    assert!(code == Some(2) && said.contains("cargo build --release"), "{said}");
}

#[test]
fn what_ships_and_what_can_be_bounded_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = run(folder.path(), &["list"]);
    assert!(code == Some(0) && said.contains("soak") && said.lines().count() == 12, "{said}");
    let (code, said) = run(folder.path(), &["list", "--thresholds"]);
    assert!(code == Some(0) && said.contains("peak_memory_mib"), "{said}");
    let (code, said) = run(folder.path(), &["compare", "a.json", "b.json"]);
    assert!(code == Some(2) && said.contains("a.json cannot be read"), "{said}");
}
