use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(lines: &str) -> JobSpec {
    JobSpec::parse(&format!("name: a\nprivacy: P1\n{lines}\n"), Path::new("job.yaml")).unwrap()
}

fn item(number: u32, row: &str) -> Item {
    Item { number, first: number, key: ItemKey([0; 16]), level: None, row: row.into() }
}

fn rendered(prompt: &str) -> Rendered {
    Rendered { system: Some("s".into()), prompt: prompt.into() }
}

#[test]
fn templates_see_columns_aliases_and_the_jobs_words() {
    let script = JobScript::new(
        &spec(
            "goal: sell\nrole: growth\nsystem: '{{ job }} {{ role }} {{ goal }}'\n\
             prompt: '{{ item }}: {{ gics_sector }} {{ row[\"GICS Sector\"] }} {{ n + 1 }} {{ tags | join(\"+\") }} {{ row | length }}'",
        ),
        false,
    );
    let row = r#"{"GICS Sector":"<Energy>","n":1,"tags":["x","y"]}"#;
    let expected =
        Rendered { system: Some("a growth sell".into()), prompt: "7: <Energy> <Energy> 2 x+y 3".into() };
    assert_eq!(script.render(&item(6, row)), Ok(expected));
    // A column wins over the job's own words.
    let script = JobScript::new(&spec("prompt: '{{ role }} {{ item }}'"), false);
    assert_eq!(script.render(&item(0, r#"{"role":"x","item":"y","Role":1}"#)).unwrap().prompt, "x y");
}

#[test]
fn an_unknown_field_names_itself_the_template_and_the_columns_there_are() {
    let script = JobScript::new(&spec("prompt: |\n  one\n  {{ sectr }}"), false);
    assert_eq!(
        script.render(&item(16, r#"{"Name":"x","GICS Sector":"y"}"#)).unwrap_err(),
        "row 17: template `prompt`, line 2: unknown field `sectr`: the row has Name (name), GICS Sector (gics_sector); \
         beside them there are row, item, goal, role, job"
    );
    let nested = JobScript::new(&spec("prompt: '{{ row.address.city }}'"), false);
    let message = nested.render(&item(0, r#"{"address":{}}"#)).unwrap_err();
    assert!(message.contains("unknown field `row.address.city`"), "{message}");
}

#[test]
fn packs_ask_once_and_for_room_enough() {
    let script = JobScript::new(&spec("system: be brief\nmax_tokens: 100\nprompt: 'Define {{ w }}'"), false);
    let pack = script.render_pack(&[item(0, r#"{"w":"x"}"#), item(1, r#"{"w":"y"}"#)]).unwrap();
    assert_eq!(pack.system.as_deref(), Some("be brief"));
    assert!(pack.prompt.contains("\n### Item 1\nDefine x\n\n### Item 2\nDefine y\n"), "{}", pack.prompt);
    assert_eq!((script.max_tokens(1), script.max_tokens(10)), (100, 1160));
    assert!(script.max_tokens(1) < script.max_tokens(2));
    assert!(script.schema().is_none());
    assert_eq!(
        **script.pack_schema(1),
        json!({
            "type": "object", "properties": {"1": {"type": "string"}}, "required": ["1"], "additionalProperties": false,
        })
    );
}

#[test]
fn keys_follow_what_decides_the_answer_and_nothing_else() {
    let key = |lines: &str, simulated| JobScript::new(&spec(lines), simulated).item_key(&rendered("p"), None);
    let base = key("prompt: x", false);
    for same in [
        "prompt: y",
        "prompt: x\nretries: 9",
        "prompt: x\nbudget: 1\nroute: [kimi]\npack: 20",
        "prompt: x\ngoal: g",
    ] {
        assert_eq!(key(same, false), base, "{same}");
    }
    assert_ne!(key("prompt: x", true), base, "simulated answers stand for themselves");
    assert_ne!(key("prompt: x\nmax_tokens: 5", false), base);
    assert_ne!(key("prompt: x\nanswer: {type: string}", false), base);
    let script = JobScript::new(&spec("prompt: x"), false);
    assert_ne!(script.item_key(&rendered("q"), None), base);
    let no_system = Rendered { system: None, prompt: "p".into() };
    let empty_system = Rendered { system: Some(String::new()), prompt: "p".into() };
    assert_ne!(script.item_key(&no_system, None), script.item_key(&empty_system, None));
    // The job is P1: only a level above that sets a row apart.
    assert_eq!(script.item_key(&rendered("p"), Some(Level::P0)), base);
    assert_ne!(script.item_key(&rendered("p"), Some(Level::P2)), base);
    assert_eq!(script.level(Some(Level::P0)), Level::P1);
    assert_eq!(script.level(Some(Level::P3)), Level::P3);
}

#[test]
fn a_reduce_sums_answers_up_and_ends_with_its_own_words() {
    let script = JobScript::new(
        &spec(
            "goal: g\nprompt: x\nreduce:\n  prompt: '{{ count }} {{ answers[0].fit }}'\n  final_prompt: 'last {{ goal }} {{ answers | join(\",\") }}'",
        ),
        false,
    );
    let answers: Vec<Box<str>> = vec![r#"{"fit":7}"#.into(), r#""text""#.into()];
    assert_eq!(script.render_reduce(&answers, false).unwrap().unwrap().prompt, "2 7");
    assert_eq!(script.render_reduce(&answers[1..], true).unwrap().unwrap().prompt, "last g text");
    let failed = script.render_reduce(&answers[1..], false).unwrap().unwrap_err();
    assert!(failed.contains("template `reduce.prompt`, line 1: unknown field `answers[0].fit`"), "{failed}");
    assert_ne!(script.reduce_key(0, &answers), script.reduce_key(1, &answers));
    assert_ne!(script.reduce_key(0, &answers), script.reduce_key(0, &answers[..1]));
    assert!(JobScript::new(&spec("prompt: x"), false).render_reduce(&answers, true).is_none());
}

proptest! {
    /// Rendering depends on the row alone, and moving bytes between system and prompt or between
    /// reduce inputs never keeps a key.
    #[test]
    fn rendering_is_deterministic_and_keys_keep_parts_apart(word in "[a-z\"\\\\é ]{0,20}", cut in 0usize..8) {
        let script = JobScript::new(&spec("system: '[{{ w }}]'\nprompt: '{{ w }} {{ row.w }}'"), false);
        let row = json!({ "w": word }).to_string();
        let first = script.render(&item(3, &row)).unwrap();
        prop_assert_eq!(&first.prompt, &format!("{word} {word}"));
        prop_assert_eq!(&first, &script.render(&item(3, &row)).unwrap());
        let text = "abcdefgh";
        let split = |at: usize| Rendered { system: Some(text[..at].into()), prompt: text[at..].into() };
        prop_assert_ne!(script.item_key(&split(cut), None), script.item_key(&split(cut + 1), None));
        let parts = |at: usize| vec![text[..at].into(), text[at..].into()];
        prop_assert_ne!(script.reduce_key(0, &parts(cut)), script.reduce_key(0, &parts(cut + 1)));
    }
}
