//! Bad input: each is a clear error (what, where, what to do) before anything is spent. No call
//! is made, no job is kept, and standard output stays empty.

#![allow(clippy::unwrap_used, reason = "a test may say what it did not expect by panicking")]

mod support;

use support::{Sandbox, Sim};

/// A job in order; the cases break it.
const JOB: &str = "\
name: bad
privacy: P0
input: rows.csv
prompt: 'Say a word on {{ name }}.'
max_tokens: 50
";
const ROWS: &str = "name,city\nAda,London\nGrace,New York\n";
const LEVELS: &str = "say how private the prompts are: P0 (public), P1 (low sensitivity), P2 (confidential, stays on \
    your machines) or P3 (secret, never leaves this machine)";
const USAGE: &str = "\n\nFor more information, try '--help'.";

/// A broken job.
struct Case<'a> {
    /// `job.yaml`.
    job: &'a [u8],
    /// A further file and its content.
    file: (&'a str, &'a [u8]),
    args: &'a [&'a str],
}

impl Case<'_> {
    /// Plans and runs the job: both say `error`, all of it, and nothing comes of it.
    #[track_caller]
    fn says(&self, error: &str) {
        let sandbox = Sandbox::new();
        let sim = Sim::start(&sandbox, "instant");
        sandbox.write("job.yaml", self.job);
        sandbox.write("rows.csv", ROWS);
        sandbox.write(self.file.0, self.file.1);
        for command in ["plan", "run"] {
            let mut args = vec!["--json", "swarm", command, "job.yaml", "--sim", &sim.url];
            args.extend(self.args);
            let ran = sandbox.empire(&args);
            assert_eq!(ran.error(), error, "{ran:#?}");
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:#?}");
        }
        assert_eq!(sim.received(), 0);
        assert!(sandbox.jobs().is_empty());
    }
}

/// A job file that is wrong.
#[track_caller]
fn job(text: impl AsRef<[u8]>, error: &str) {
    Case { job: text.as_ref(), file: ("rows.csv", ROWS.as_bytes()), args: &[] }.says(error);
}

/// A job file that is wrong because of one more line.
#[track_caller]
fn line(line: &str, error: &str) {
    job(format!("{JOB}{line}\n"), error);
}

/// An input that is wrong.
#[track_caller]
fn input(name: &str, content: impl AsRef<[u8]>, error: &str) {
    Case { job: JOB.as_bytes(), file: (name, content.as_ref()), args: &["--input", name] }.says(error);
}

/// An option that is wrong.
#[track_caller]
fn option(args: &[&str], error: &str) {
    Case { job: JOB.as_bytes(), file: ("rows.csv", ROWS.as_bytes()), args }.says(error);
}

#[test]
fn a_job_file_that_is_none() {
    job(
        "name: bad\nprivacy: [P0\nprompt: x\n",
        "job.yaml:3:7: not a job spec in YAML: illegal placement of ':' indicator: correct it there",
    );
    job(
        b"name: bad\nprivacy: P0\nprompt: \xff\xfe\n",
        "job.yaml:3: the job file is not valid UTF-8: save it as UTF-8",
    );
    let sandbox = Sandbox::new();
    let ran = sandbox.empire(&["swarm", "run", "none.yaml"]);
    let error = "cannot read the job file none.yaml: No such file or directory (os error 2): check the path; \
        shipped jobs are in config/jobs/";
    assert_eq!((ran.code, ran.error()), (Some(2), error));
}

#[test]
fn unknown_field() {
    job(
        JOB.replace("prompt:", "promt:"),
        "job.yaml:4:1: unknown field `promt`, perhaps `prompt`: the fields are name, goal, role, privacy, input, \
         prompt, system, answer, route, policy, difficulty, fallback, cache, budget, deadline, priority, max_tokens, \
          pack, retries, allow, clamp, failure_rule, reduce, out",
    );
    line("max_tokens: 9", "job.yaml:6:1: the field `max_tokens` comes twice: remove one");
}

#[test]
fn privacy_that_is_not_declared() {
    job(JOB.replace("privacy: P0\n", ""), &format!("job.yaml:1:1: missing `privacy`: {LEVELS}"));
    job(JOB.replace("P0", "internal"), &format!("job.yaml:2:10: `privacy` is `internal`: {LEVELS}"));
    input(
        "rows.jsonl",
        "{\"name\": \"Ada\"}\n{\"name\": \"Grace\", \"privacy\": \"P9\"}\n",
        "rows.jsonl, line 2: column `privacy`: unknown privacy level `P9`: use P0 (public), P1 (low sensitivity), \
         P2 (confidential, stays on your machines) or P3 (secret, never leaves this machine)",
    );
}

#[test]
fn template_that_does_not_go_with_the_input() {
    job(
        JOB.replace("{{ name }}", "{{ nmae }}"),
        "job.yaml: row 1 (rows.csv, line 2): template `prompt`, line 1: unknown field `nmae`: the row has name, city; \
         beside them there are row, item, goal, role, job: correct the template, or the input",
    );
    job(
        JOB.replace("{{ name }}", "{{ name }"),
        "job.yaml:4:9: `prompt` template, line 1: syntax error: unexpected `}`, expected end of variable block: \
         correct the template",
    );
}

#[test]
fn empty_input() {
    for (name, content) in
        [("a.csv", ""), ("b.csv", "name,city\n"), ("c.json", "[]"), ("d.jsonl", "\n\n"), ("e.txt", "\n")]
    {
        let error =
            format!("{name} holds no items: add at least one, or pass another file with `--input FILE`");
        input(name, content, &error);
    }
    job(
        JOB.replace("input: rows.csv\n", ""),
        "job.yaml has no input: add `input: FILE` to it, or give `--input FILE`",
    );
}

#[test]
fn input_that_is_not_there_or_not_to_be_read() {
    option(
        &["--input", "none.csv"],
        "cannot open the input none.csv: No such file or directory (os error 2): check the path (one in a spec is \
         relative to the spec)",
    );
    input(
        "rows.tsv",
        "name\tcity\n",
        "cannot tell the format of rows.tsv: name it .csv, .jsonl, .ndjson, .json or .txt, or say which in the spec: \
         `input: {format: csv}` (csv, jsonl, json or lines)",
    );
    input(
        "rows.csv",
        "name,city\nAda\n",
        "rows.csv, line 2: 1 value, but the header has 2 columns: quote values that hold the delimiter, and fill up \
         rows that are short",
    );
    input(
        "rows.csv",
        "name,city\nAda,London\n\"Grace,New York\nAlan,Wilmslow\n",
        "rows.csv, line 3: 1 value on 3 lines, but the header has 2 columns: is a quote left open here?",
    );
}

#[test]
fn broken_line_of_a_long_jsonl() {
    let mut rows: Vec<String> = (1..=50_000).map(|n| format!("{{\"name\": \"number {n}\"}}")).collect();
    rows[40_122] = "{\"name\": \"number 40123\"".into();
    input(
        "rows.jsonl",
        rows.join("\n"),
        "rows.jsonl, line 40123: EOF while parsing an object (column 23): correct or remove this item",
    );
}

#[test]
fn invalid_utf8_in_the_input() {
    for (name, content, place) in [
        ("a.csv", &b"name,city\nAda,London\nJos\xe9,Lisboa\n"[..], "line 3: invalid UTF-8 at byte 24"),
        ("b.jsonl", b"{\"name\": \"Ada\"}\n{\"name\": \"Jos\xe9\"}\n", "line 2: invalid UTF-8 at byte 29"),
        ("c.json", b"[{\"name\": \"Ada\"},\n{\"name\": \"Jos\xe9\"}]\n", "line 2: invalid UTF-8 at byte 31"),
    ] {
        input(name, content, &format!("{name}, {place} of the file: save it as UTF-8"));
    }
    let lines = JOB.replace("rows.csv", "{file: rows.txt, format: lines, field: name}");
    let case = Case { job: lines.as_bytes(), file: ("rows.txt", b"Ada\nJos\xe9\n"), args: &[] };
    case.says("rows.txt, line 2: invalid UTF-8 at byte 7 of the file: save it as UTF-8");
}

#[test]
fn answer_schema_that_is_no_schema() {
    line(
        "answer: {type: strnig}",
        "job.yaml:6:9: `answer` is no valid JSON Schema at `/type`: \"strnig\" is not valid under any of the schemas \
         listed in the 'anyOf' keyword: correct it, or write `text`",
    );
    line(
        "answer: 5",
        "job.yaml:6:9: `answer` is no JSON Schema: write `text`, or a map such as {type: object, properties: …}",
    );
}

#[test]
fn route_with_an_unknown_model() {
    line(
        "route: [ollama, kimi-k3]",
        "job.yaml:6:8: `route`: no model or provider is called `kimi-k3`: known are claude, kimi, ollama, \
         claude-opus-4-6, claude-sonnet-4-6, deepseek-r1:8b, glm-4.7-flash, kimi-k2.6, qwen2.5-coder:7b",
    );
    line(
        "route: []",
        "job.yaml:6:8: `route` must be a list of 1 to 16 names, it is a list of 0: list the models to try, in order, \
         such as `route: [ollama, kimi]`",
    );
}

#[test]
fn cloud_route_without_a_key() {
    let sandbox = Sandbox::new();
    let sim = Sim::start(&sandbox, "instant");
    sandbox.write("job.yaml", format!("{JOB}route: [kimi]\n"));
    sandbox.write("rows.csv", ROWS);
    sandbox.write("home/empire.toml", format!("[providers.kimi]\nbase_url = \"{}\"\n", sim.url));
    for command in ["plan", "run"] {
        let ran = sandbox.empire(&["swarm", command, "job.yaml"]);
        let error =
            "job.yaml:6:8: `route`: kimi has no key: set MOONSHOT_API_KEY, or leave kimi out of the route";
        assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error));
    }
    assert_eq!(sim.received(), 0);
    assert!(sandbox.jobs().is_empty());
}

#[test]
fn budget_of_zero_or_below() {
    let advice =
        "it must be above 0: write what the job may spend at most, such as 0.50, or use a local route";
    line("budget: 0", &format!("job.yaml:6:9: `budget` is 0, {advice}"));
    line("budget: -1", &format!("job.yaml:6:9: `budget` is -1, {advice}"));
    let lots = "`lots` is no amount of money: write dollars, like 0.50, $0.50 or \"0.50 USD\"";
    line("budget: lots", &format!("job.yaml:6:9: `budget` is unusable: {lots}"));
    let positive = "a budget must be more than 0: say what may be spent at most, like 0.50";
    for (amount, problem) in [("0", positive), ("-1", positive), ("$-1", positive), ("lots", lots)] {
        let error = format!("invalid value '{amount}' for '--budget <AMOUNT>': {problem}{USAGE}");
        option(&["--budget", amount], &error);
    }
}

#[test]
fn limit_of_zero() {
    for limit in ["0", "-3", "ten"] {
        let error = format!(
            "invalid value '{limit}' for '--limit <N>': write a whole number from 1 to 4,294,967,295{USAGE}"
        );
        option(&["--limit", limit], &error);
    }
}

#[test]
fn wrong_configuration() {
    option(
        &["--config", "none.toml"],
        "none.toml: cannot be read: No such file or directory (os error 2): check the path and its permissions",
    );
    for (toml, error) in [
        ("[budget\n", "my.toml:1: not valid TOML: unclosed table, expected `]`: correct this line"),
        (
            "[budget]\ntotl = \"1.00\"\n",
            "my.toml:2: unknown field `budget.totl`: did you mean `total`? known are eur_usd, total, job_default, month, day, roles, alerts, approval_above, approval_timeout",
        ),
        (
            "[budget]\ntotal = \"-1.00\"\n",
            "my.toml:2: `budget.total` is \"-1.00\", which is no amount of money: write dollars or euros with \
             up to six decimals, like \"0.95\" or \"0.95 EUR\"",
        ),
    ] {
        let args = &["--config", "my.toml"];
        Case { job: JOB.as_bytes(), file: ("my.toml", toml.as_bytes()), args }.says(error);
    }
}

#[test]
fn simulator_that_is_none() {
    let sandbox = Sandbox::new();
    sandbox.write("job.yaml", JOB);
    sandbox.write("rows.csv", ROWS);
    let unknown = "there is no scenario `stormy`: name one of steady, instant, slow, flaky, storm, outage, hang, \
        garbage, dry, or a YAML file that exists";
    for (given, error) in [
        ("stormy", unknown),
        (
            "http://example.com",
            "--sim http://example.com: a simulator runs on this machine only: use http://127.0.0.1:PORT",
        ),
        ("http://127.0.0.1:1", "--sim http://127.0.0.1:1: nothing answers there: start it with `empire sim`"),
    ] {
        let ran = sandbox.empire(&["swarm", "run", "job.yaml", "--sim", given]);
        assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error));
    }
    let ran = sandbox.empire(&["sim", "stormy"]);
    assert_eq!((ran.code, ran.error()), (Some(2), unknown));
    let ran = sandbox.empire(&["sim", "--listen", "0.0.0.0:0"]);
    assert!(ran.code == Some(2) && ran.error().contains("listens on loopback only"), "{ran:#?}");
    assert!(sandbox.jobs().is_empty());
}

#[test]
fn out_folder_that_cannot_be_written_to() {
    let sandbox = Sandbox::new();
    let sim = Sim::start(&sandbox, "instant");
    sandbox.write("job.yaml", JOB);
    sandbox.write("rows.csv", ROWS);
    for (out, why) in [
        ("rows.csv/below", "Not a directory (os error 20)"),
        ("rows.csv", "File exists (os error 17)"),
        ("/proc/empire", "No such file or directory (os error 2)"),
    ] {
        let ran = sandbox.empire(&["swarm", "run", "job.yaml", "--sim", &sim.url, "--out", out]);
        let error = format!(
            "cannot write to the output folder {out}: {why}: make it writable, or choose another with --out"
        );
        assert_eq!((ran.code, ran.out.as_str(), ran.error()), (Some(2), "", error.as_str()));
    }
    assert_eq!(sim.received(), 0);
    assert!(sandbox.jobs().is_empty());
}

#[test]
fn sim_before_the_job() {
    let sandbox = Sandbox::new();
    sandbox.write("job.yaml", JOB);
    let ran = sandbox.empire(&["swarm", "run", "--sim", "job.yaml"]);
    let tip = "tip: `--sim job.yaml` took job.yaml for its scenario: write `job.yaml --sim`";
    assert!(ran.code == Some(2) && ran.out.is_empty() && ran.error().ends_with(tip), "{ran:#?}");
}
