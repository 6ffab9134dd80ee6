//! The rules that no compiler checks: which folder may name what, how long a file may be, that
//! what ships can be read, and that every dependency is used. See `docs/ARCHITECTURE.md`.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod architecture {
    pub(crate) mod source;
}

use std::collections::BTreeSet;
use std::path::Path;

use architecture::source::{Source, files_below, names, root, sources};

/// Lines that one Rust file may have; about 500 is the aim.
const MOST_LINES: usize = 600;

/// A name, and the only places of the workspace whose code may use it.
struct Home {
    name: &'static str,
    places: &'static [&'static str],
    why: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        name: "ractor",
        // A benchmark measures ours against it.
        places: &["actors/src/kernel", "benches/cells"],
        why: "control actors are the kernel's; use `kernel::control`",
    },
    Home {
        name: "kameo",
        // A benchmark measures ours against it.
        places: &["actors/src/kernel", "benches/cells"],
        why: "groups are the kernel's; use `kernel::group`",
    },
    Home {
        name: "sqlx",
        // A test forges the database of a newer version.
        places: &["src/store", "tests/support"],
        why: "the store hides its database",
    },
    Home {
        name: "keyring_core",
        // A test puts a secret there.
        places: &["src/privacy/keychain", "tests/privacy_gate"],
        why: "the keychain is read in one place; use `privacy::keychain`",
    },
    Home { name: "redis", places: &["src/queue"], why: "the queue hides its broker" },
    Home {
        name: "reqwest",
        // The configuration only reads addresses, as URLs; the load test is a program of its own.
        places: &["src/providers", "src/config", "src/sim/tests", "loadtest"],
        why: "only providers go out; use `providers`",
    },
    Home {
        name: "TcpStream",
        places: &["src/providers", "src/sim", "src/control", "tests/common", "tests/support"],
        why: "only providers go out; use `providers`",
    },
    Home {
        name: "axum",
        places: &["src/sim", "src/control", "src/metrics", "src/providers/tests"],
        why: "servers are the simulator, the control API and the metrics",
    },
    Home {
        name: "ratatui",
        places: &["src/cli/screen"],
        why: "one command draws a screen; the others print",
    },
    Home {
        name: "hyper",
        places: &["src/control"],
        why: "only the control API drives connections by itself",
    },
];

/// What the brain must not know: crates, and modules of `std` and `tokio`. (The clocks of `jiff` are
/// banned by `clippy.toml`; its calendar is pure.)
const OUTSIDE_CRATES: &[&str] =
    &["reqwest", "axum", "hyper", "sqlx", "rusqlite", "redis", "uuid", "fastrand", "toml", "serde_saphyr"];
const OUTSIDE_MODULES: &[&str] = &["fs", "env", "net", "process", "io", "signal", "os", "path"];

/// Decisions: no clock, no waiting, no I/O.
const PURE: &[&str] = &[
    "actors/src/alerts/",
    "actors/src/gates/book.rs",
    "actors/src/gates/book/",
    "actors/src/gates/calendar.rs",
    "actors/src/gates/detect.rs",
    "actors/src/gates/detect/",
    "actors/src/gates/forecast.rs",
    "actors/src/gates/lane.rs",
    "actors/src/gates/lane/",
    "actors/src/gates/meter.rs",
    "actors/src/gates/meter/",
    "actors/src/gates/room.rs",
    "actors/src/gates/scope.rs",
    "actors/src/gates/slab.rs",
    "actors/src/guard/pressure.rs",
    "actors/src/kernel/policy.rs",
    "actors/src/level.rs",
    "actors/src/money.rs",
    "actors/src/route/key.rs",
    "actors/src/route/rules.rs",
    "src/cli/screen/columns.rs",
    "src/cli/screen/draw.rs",
    "src/cli/screen/keys.rs",
    "src/cli/screen/paint.rs",
    "src/cli/screen/panes.rs",
    "src/cli/screen/view.rs",
    "src/plan.rs",
    "src/plan/",
    "src/report.rs",
    "src/report/",
    "src/run/reconcile.rs",
];
const IMPURE: &[&str] = &["async", "await", "tokio", "SystemTime", "File", "fs"];

fn fail_on(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Whether `path` is the module `place`: its file, or a file in its folder.
fn is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn each_outside_thing_has_one_home() {
    let mut faults = Vec::new();
    for source in sources() {
        for home in HOMES {
            let at_home = home.places.iter().any(|place| is_in(&source.path, place));
            if !at_home && let Some(line) = source.first_line_naming(home.name) {
                faults.push(format!("{}:{line} names {}: {}", source.path, home.name, home.why));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn actors_know_nothing_of_the_outside() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("actors/src/")) {
        for name in OUTSIDE_CRATES {
            if let Some(line) = source.first_line_naming(name) {
                faults.push(format!("{}:{line} names {name}: state the need in ports.rs", source.path));
            }
        }
        for root in ["std", "tokio"] {
            for module in OUTSIDE_MODULES {
                if let Some(line) = source.first_line_using(root, module) {
                    let path = &source.path;
                    faults.push(format!("{path}:{line} uses {root}::{module}: state the need in ports.rs"));
                }
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn decisions_are_pure() {
    let mut faults = Vec::new();
    let is_pure = |source: &&Source| {
        PURE.iter().any(|pure| source.path == *pure || (pure.ends_with('/') && source.path.starts_with(pure)))
    };
    for source in sources().iter().filter(is_pure) {
        let named = IMPURE.iter().filter_map(|name| Some((*name, source.first_line_naming(name)?)));
        let clock = source.first_line_using("Instant", "now").map(|line| ("Instant::now", line));
        for (name, line) in named.chain(clock) {
            faults.push(format!("{}:{line} names {name}: decisions take what they need", source.path));
        }
    }
    fail_on(&faults);
}

#[test]
fn files_are_short() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > MOST_LINES).then(|| format!("{} has {lines} lines: divide it", source.path))
    };
    fail_on(&sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_to_do() {
    let mut faults = Vec::new();
    for source in sources() {
        for name in ["todo", "unimplemented", "dbg"] {
            if source.code.contains(&format!("{name}!")) {
                faults.push(format!("{} has a {name}!", source.path));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn a_lint_is_silenced_with_a_reason() {
    let mut faults = Vec::new();
    for source in sources() {
        for (at, _) in source.code.match_indices("clippy::disallowed_methods") {
            let attribute = source.code[at..].split(']').next().unwrap();
            if !attribute.contains("reason") {
                faults.push(format!("{}:{} gives no reason", source.path, source.line_of(at)));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    // Put together here, so that this file does not name them itself.
    let places =
        [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"], ["/wo", "rk/"]].map(|parts| parts.concat());
    let mut faults = Vec::new();
    for path in files_below("") {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| names_folder(line, place)) {
                faults.push(format!("{path}:{} names {place}", index + 1));
            }
        }
    }
    fail_on(&faults);
}

/// Whether `line` holds `folder` at the start of a path, not as a part of a longer one or of a URL.
fn names_folder(line: &str, folder: &str) -> bool {
    let starts_path = |at: usize| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-}~".contains(before))
    };
    line.match_indices(folder).any(|(at, _)| starts_path(at))
}

#[test]
fn every_dependency_is_used() {
    let mut faults = Vec::new();
    for (manifest, folders) in [
        ("Cargo.toml", &["src/", "tests/", "benches/"][..]),
        ("actors/Cargo.toml", &["actors/"][..]),
        ("loadtest/Cargo.toml", &["loadtest/"][..]),
    ] {
        let toml: toml::Table = std::fs::read_to_string(root().join(manifest)).unwrap().parse().unwrap();
        let of = |table: &toml::Table| -> Vec<String> {
            let tables = ["dependencies", "dev-dependencies"].map(|kind| table.get(kind));
            tables.into_iter().flatten().flat_map(|kind| kind.as_table().unwrap().keys().cloned()).collect()
        };
        let mut dependencies = of(&toml);
        for target in toml.get("target").into_iter().flat_map(|targets| targets.as_table().unwrap().values())
        {
            dependencies.extend(of(target.as_table().unwrap()));
        }
        assert!(!dependencies.is_empty(), "{manifest} was not understood");
        let used: BTreeSet<String> = sources()
            .iter()
            .filter(|source| folders.iter().any(|folder| source.path.starts_with(folder)))
            .flat_map(|source| names(&source.code).map(str::to_owned))
            .collect();
        let is_unused = |name: &&String| !used.contains(&name.replace('-', "_"));
        let unused = dependencies.iter().filter(is_unused);
        faults.extend(unused.map(|name| format!("{manifest} names {name}, which nothing uses: remove it")));
    }
    fail_on(&faults);
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let page = std::fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let is_there = |file: &str, test: &str| {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        text.lines().any(|line| line.contains(&format!("fn {test}(")))
    };
    let (mut faults, mut named) = (Vec::new(), 0);
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    for (index, line) in rows.filter(|(_, line)| !line.contains("| promise |") && !line.starts_with("|---")) {
        let quoted = line.split('`').skip(1).step_by(2);
        let tests: Vec<_> = quoted.filter_map(|quoted| quoted.split_once("::")).collect();
        named += tests.len();
        if tests.is_empty() {
            faults.push(format!("docs/promises.md:{} names no test", index + 1));
        }
        for (file, test) in tests.into_iter().filter(|(file, test)| !is_there(file, test)) {
            faults.push(format!("docs/promises.md:{}: there is no {test} in {file}", index + 1));
        }
    }
    assert!(named >= 50, "the page was not understood");
    fail_on(&faults);
}

#[test]
fn shipped_jobs_can_be_read() {
    let jobs = files_below("config/jobs");
    let jobs: Vec<&String> = jobs.iter().filter(|path| path.ends_with(".yaml")).collect();
    assert!(jobs.len() >= 3, "{jobs:?}");
    for path in jobs {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let spec =
            empire::job::JobSpec::parse(&text, Path::new(path)).unwrap_or_else(|error| panic!("{error}"));
        let stem = Path::new(path).file_stem().unwrap().to_str();
        assert_eq!(Some(spec.name.as_str()), stem, "{path}: its name is its file's");
    }
}

#[test]
fn shipped_scenarios_are_built_in_and_can_be_read() {
    let mut shipped = BTreeSet::new();
    for path in files_below("config/sim") {
        let file = root().join(&path);
        let scenario = empire::sim::Scenario::load(file.to_str().unwrap());
        let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            Some(scenario.name()),
            file.file_stem().unwrap().to_str(),
            "{path}: its name is its file's"
        );
        shipped.insert(scenario.name().to_owned());
    }
    let built_in: BTreeSet<String> = empire::sim::Scenario::names().map(str::to_owned).collect();
    assert_eq!(shipped, built_in);
}

#[test]
fn shipped_configuration_can_be_read() {
    let none = |_: &str| None;
    let config = empire::config::Config::load(Path::new("no-such-folder"), None, &none);
    config.unwrap_or_else(|error| panic!("{error}"));
}
