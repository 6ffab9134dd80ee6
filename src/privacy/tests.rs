//! Every rule that ships, by its own samples.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use empire_actors::gates::detect::Detector;

use super::*;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(load(&Look::default()).unwrap()));

#[test]
fn every_sample_of_every_rule_does_what_it_should() {
    assert_eq!(DETECTOR.misfires(), []);
    assert!(DETECTOR.rules().len() >= 200, "{} rules", DETECTOR.rules().len());
}

#[test]
fn every_file_of_rules_ships() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/privacy");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = names.filter(|name| name.starts_with("secrets")).collect();
    let built_in: BTreeSet<String> = SHIPPED.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(there, built_in);
}

#[test]
fn a_wrong_rule_is_named() {
    let rule = |more: &str| {
        format!("[[rule]]\nid = \"r\"\nabout = \"x\"\npositive = [\"a\"]\nnear = [\"b\"]\n{more}")
    };
    for (text, says) in [
        (rule("shape = \"abcd{nope:3}\""), "rule `r`, `shape`: unknown alphabet `nope`"),
        (rule("shape = \"abcd{hex:x}\""), "rule `r`, `shape`: `hex:x` is no length"),
        (rule("shape = \"{hex:32}\""), "rule `r`, `context`: a shape without a literal part needs words"),
        (rule("shape = \"a{hex:32}\""), "rule `r`, `shape`: its first literal part is too short"),
        (rule("shape = \"abcd{hex:3\""), "rule `r`, `shape`: `{` is not closed"),
        (rule("shape = \"abcd{hex:3}\"\nscore = 101"), "rule `r`, `score`"),
    ] {
        let file = parse("x.toml", &text).unwrap();
        let error = Rules::compile(&[file]).unwrap_err().to_string();
        assert!(error.starts_with("x.toml: ") && error.contains(says), "{error}");
    }
    let file = |name: &str| parse(name, &rule("shape = \"abcd{hex:3}\"")).unwrap();
    let error = Rules::compile(&[file("built-in a.toml"), file("x.toml")]).unwrap_err().to_string();
    assert!(error.starts_with("x.toml: rule `r`, `id`: built-in a.toml has a rule of this name"), "{error}");
    let error = parse("x.toml", &rule("shappe = \"x\"")).unwrap_err().to_string();
    assert!(error.contains("x.toml") && error.contains("shappe"), "{error}");
}
