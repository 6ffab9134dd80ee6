use std::path::Path;

use serde_json::json;

use super::*;

const LEAST: &str = "name: a\nprivacy: P0\nprompt: hello\n";

fn parse(text: &str) -> Result<JobSpec, SpecError> {
    JobSpec::parse(text, Path::new("job.yaml"))
}

fn with(lines: &str) -> Result<JobSpec, SpecError> {
    parse(&format!("{LEAST}{lines}\n"))
}

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), message);
}

#[track_caller]
fn refused_with(lines: &str, message: &str) {
    assert_eq!(with(lines).unwrap_err().to_string(), message);
}

#[test]
fn the_least_spec_has_the_documented_defaults() {
    let spec = parse(LEAST).unwrap();
    assert_eq!((spec.role, spec.privacy, spec.answer), (Role::Research, Level::P0, Answer::Text));
    assert_eq!((spec.max_tokens, spec.pack, spec.retries), (512, Pack::Fixed(1), 3));
    assert_eq!(spec.failure_rule, Some(FailureRule { failed: 20, of_first: 50 }));
    assert_eq!((spec.input, spec.route, spec.budget, spec.deadline), (None, None, None, None));
    assert_eq!((spec.reduce, spec.out), (None, None));
}

#[test]
fn every_field_is_read() {
    let spec = with(
        "goal: g\nrole: qa\nsystem: s\nanswer: {type: integer}\nroute: [ollama, kimi]\nbudget: $1.50\ndeadline: 1d 2h\n\
         max_tokens: 9\npack: auto\nretries: 0\nfailure_rule: off\nout: results\n\
         input: {file: x.tsv, format: csv, delimiter: tab}\nreduce: {prompt: '{{ answers }}', group: 7}",
    )
    .unwrap();
    assert_eq!(spec.budget, Some(Micros(1_500_000)));
    assert_eq!(spec.deadline, Some(Duration::from_secs(26 * 3600)));
    assert_eq!((spec.pack, spec.retries, spec.failure_rule), (Pack::Auto, 0, None));
    assert_eq!(
        spec.answer.schema().map(|schema| schema.to_string()).as_deref(),
        Some(r#"{"type":"integer"}"#)
    );
    let reduce = Reduce { prompt: "{{ answers }}".into(), final_prompt: None, group: 7, max_tokens: 512 };
    assert_eq!(spec.reduce, Some(reduce));
    let file = FileInput {
        file: Some("x.tsv".into()),
        format: Some(Format::Csv),
        field: None,
        delimiter: Some(b'\t'),
    };
    assert_eq!(spec.input, Some(Input::File(file)));
}

#[test]
fn what_is_no_spec_is_refused_with_its_place() {
    refused(
        "name: [a\nprompt: x\n",
        "job.yaml:2:7: not a job spec in YAML: illegal placement of ':' indicator: correct it there",
    );
    let no_fields = "not a job spec: write its fields, such as `name: leads`, each on a line";
    for text in ["- a\n- b\n", "just words"] {
        refused(text, &format!("job.yaml:1:1: {no_fields}"));
    }
    refused(
        "name: a\nprivcy: P0\nprompt: x\n",
        "job.yaml:2:1: unknown field `privcy`, perhaps `privacy`: the fields are name, goal, role, privacy, input, \
         prompt, system, answer, route, policy, difficulty, fallback, cache, budget, deadline, priority, max_tokens, \
          pack, retries, allow, clamp, failure_rule, reduce, out",
    );
    refused("name: a\nname: b\n", "job.yaml:2:1: the field `name` comes twice: remove one");
    refused("", "job.yaml:1:1: missing `name`: give the job a name, such as `name: leads`");
    refused(
        "name: a\nprompt: x\n",
        "job.yaml:1:1: missing `privacy`: say how private the prompts are: P0 (public), P1 (low sensitivity), P2 \
         (confidential, stays on your machines) or P3 (secret, never leaves this machine)",
    );
    refused(
        "name: a\nprivacy: secret\nprompt: x\n",
        "job.yaml:2:10: `privacy` is `secret`: say how private the prompts are: P0 (public), P1 (low sensitivity), P2 \
         (confidential, stays on your machines) or P3 (secret, never leaves this machine)",
    );
    refused(
        "name: Leads 1\nprivacy: P0\nprompt: x\n",
        "job.yaml:1:7: `name` must be 1 to 64 of a-z, 0-9 and -, it is `Leads 1`",
    );
    let huge = format!("{LEAST}goal: {}\n", "x".repeat(1 << 20));
    assert!(parse(&huge).unwrap_err().to_string().contains("put the items in a file"));
}

#[test]
fn words_and_odd_values_of_a_list_stay_what_they_are() {
    let spec =
        with("input: [y, no, on, off, 'true', true, 007, 1_000, 2020-01-01, 1e3, 0x10, 1.50]").unwrap();
    let Some(Input::Rows(rows)) = spec.input else { panic!("no rows") };
    let texts: Vec<String> =
        rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap()["text"].to_string()).collect();
    let expected = [
        r#""y""#,
        r#""no""#,
        r#""on""#,
        r#""off""#,
        r#""true""#,
        "true",
        r#""007""#,
        r#""1_000""#,
        r#""2020-01-01""#,
        "1000.0",
        "16",
        "1.5",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn money_and_time_must_be_above_zero() {
    let positive =
        "must be above 0: write what the job may spend at most, such as 0.50, or use a local route";
    refused_with("budget: 0", &format!("job.yaml:4:9: `budget` is 0, it {positive}"));
    refused_with("budget: -3.5", &format!("job.yaml:4:9: `budget` is -3.5, it {positive}"));
    refused_with("budget: $0.00", &format!("job.yaml:4:9: `budget` is $0.00, it {positive}"));
    refused_with(
        "budget: lots",
        "job.yaml:4:9: `budget` is unusable: `lots` is no amount of money: write dollars, like 0.50, $0.50 or \"0.50 USD\"",
    );
    for bad in ["0s", "-2h", "soon", "7"] {
        refused_with(
            &format!("deadline: {bad}"),
            &format!(
                "job.yaml:4:11: `deadline` is {}: write a time span above 0 with its unit, such as 90s, 2h or 1d 12h",
                if bad == "7" { "7".to_owned() } else { format!("`{bad}`") }
            ),
        );
    }
}

#[test]
fn numbers_and_names_out_of_range_are_refused() {
    refused_with(
        "max_tokens: 40000",
        "job.yaml:4:13: `max_tokens` must be a whole number from 1 to 32768, it is 40000",
    );
    refused_with(
        "pack: 101",
        "job.yaml:4:7: `pack` must be a whole number from 1 to 100, it is 101; or write auto",
    );
    refused_with("retries: -1", "job.yaml:4:10: `retries` must be a whole number from 0 to 20, it is -1");
    refused_with(
        "role: boss",
        "job.yaml:4:7: `role` must be one of research, content, dev, ops, qa, security, growth, it is `boss`",
    );
    refused_with("route: [kimi, kimi]", "job.yaml:4:8: `route` names `kimi` twice: remove one");
    refused_with(
        "failure_rule: {failed: 9, of_first: 5}",
        "job.yaml:4:15: `failure_rule` can never hold: 9 failures of the first 5 items: make `failed` at most `of_first`, or write off",
    );
    refused_with(
        "reduce: {promt: x}",
        "job.yaml:4:9: `reduce` has an unknown field `promt`: use prompt, final_prompt, group, max_tokens",
    );
    refused_with("input: []", "job.yaml:4:8: `input` is an empty list: add at least one item");
    refused_with(
        "input: {count: 0}",
        "job.yaml:4:8: `input` has a bad `count`, which must be a whole number from 1 to 4294967295, it is 0",
    );
    refused_with(
        "input: [{privacy: P9}]",
        "job.yaml:4:8: `input` has a bad item 1: column `privacy`: unknown privacy level `P9`: use P0 (public), P1 (low \
         sensitivity), P2 (confidential, stays on your machines) or P3 (secret, never leaves this machine)",
    );
}

#[test]
fn templates_and_schemas_are_compiled_before_anything_runs() {
    refused(
        "name: a\nprivacy: P0\nprompt: |\n  one\n  {% if %}\n",
        "job.yaml:4:3: `prompt` template, line 2: syntax error: unexpected end of block: correct the template",
    );
    refused_with(
        "reduce:\n  prompt: |\n    all\n    {{ anwsers }}",
        "job.yaml:5:3: `reduce` template `reduce.prompt`, line 2: unknown field `anwsers`: a reduce knows answers, count, goal, role, job",
    );
    assert!(
        with("reduce: {prompt: '{% for i in range(count) %}{{ loop.index }} {{ answers[i] }}{% endfor %}'}")
            .is_ok()
    );
    refused_with(
        "answer: {type: objekt}",
        "job.yaml:4:9: `answer` is no valid JSON Schema at `/type`: \"objekt\" is not valid under any of the schemas listed \
         in the 'anyOf' keyword: correct it, or write `text`",
    );
    refused_with(
        "answer: [1]",
        "job.yaml:4:9: `answer` is no JSON Schema: write `text`, or a map such as {type: object, properties: …}",
    );
}

#[test]
fn the_published_schema_takes_what_the_parser_takes() {
    let schema = jsonschema::options().offline().build(&spec_json_schema()).unwrap();
    let least = json!({"name": "a", "privacy": "P0", "prompt": "x"});
    assert!(
        schema.is_valid(&least),
        "{:?}",
        schema.iter_errors(&least).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    for missing in ["name", "privacy", "prompt"] {
        let mut spec = least.clone();
        spec.as_object_mut().unwrap().shift_remove(missing);
        assert!(!schema.is_valid(&spec), "{missing} is required");
    }
    let cases = [
        ("input", json!("a.csv"), true),
        ("input", json!(["a", {"b": 1}]), true),
        ("input", json!({"count": 3}), true),
        ("input", json!({"format": "lines", "field": "word"}), true),
        ("input", json!({"count": 0}), false),
        ("pack", json!("auto"), true),
        ("pack", json!(0), false),
        ("failure_rule", json!("off"), true),
        ("budget", json!(0), false),
        ("budget", json!("$2"), true),
        ("role", json!("boss"), false),
        ("privcy", json!("P0"), false),
        ("answer", json!({"type": "string"}), true),
        ("answer", json!("txt"), false),
        ("retries", json!(21), false),
    ];
    for (field, value, good) in cases {
        let mut spec = least.clone();
        spec[field] = value;
        assert_eq!(schema.is_valid(&spec), good, "schema on {spec}");
        assert_eq!(parse(&spec.to_string()).is_ok(), good, "parser on {spec}");
    }
}
