//! Packing: several items of one template in one call, and their answers told apart again.

use std::fmt;
use std::fmt::Write as _;

use empire_actors::ports::Rendered;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::answer::{AnswerCheck, MAX_STARTS};

/// The one prompt for all of `parts`. A system prompt that all share stays the system prompt;
/// ones that differ go with their items.
pub(super) fn join(parts: &[Rendered]) -> Rendered {
    let shared = parts.first().and_then(|first| first.system.as_ref());
    let shared = shared.filter(|system| parts.iter().all(|part| part.system.as_ref() == Some(*system)));
    let n = parts.len();
    let mut prompt = format!(
        "Do the following task for each of the {n} numbered items, each on its own. Answer with one JSON \
         object whose keys are the item numbers as strings, \"1\" to \"{n}\", and whose values are the \
         answers to the items: every number once, and nothing outside the object.\n"
    );
    for (index, part) in parts.iter().enumerate() {
        let _infallible = write!(prompt, "\n### Item {}\n", index + 1);
        if let (None, Some(own)) = (shared, &part.system) {
            prompt.push_str(own);
            prompt.push_str("\n\n");
        }
        prompt.push_str(&part.prompt);
        prompt.push('\n');
    }
    Rendered { system: shared.cloned(), prompt }
}

/// Tells the answers of a pack of `n` apart and checks each.
pub(super) fn split(
    check: &AnswerCheck,
    answer: &str,
    n: usize,
) -> Result<Vec<Result<Box<str>, String>>, String> {
    let parts = find_parts(answer, n)?;
    let each = parts.into_iter().enumerate().map(|(index, part)| match part {
        Part::Missing => Err(format!("the answer to item {} is missing", index + 1)),
        Part::Doubled => Err(format!("item {} was answered more than once", index + 1)),
        Part::Once(value) => check.check_value(&value),
    });
    Ok(each.collect())
}

enum Part {
    Missing,
    Once(Value),
    Doubled,
}

/// Reads the first object in `answer` that holds the answer to any item. One that breaks off
/// still gives what came before the break.
fn find_parts(answer: &str, n: usize) -> Result<Vec<Part>, String> {
    let mut readable = false;
    for (start, _) in answer.match_indices('{').take(MAX_STARTS) {
        let mut parts: Vec<Part> = (0..n).map(|_| Part::Missing).collect();
        let mut reader = serde_json::Deserializer::from_str(&answer[start..]);
        readable |= Collect(&mut parts).deserialize(&mut reader).is_ok();
        if parts.iter().any(|part| !matches!(part, Part::Missing)) {
            return Ok(parts);
        }
    }
    let found = if readable { "has none of the item numbers as keys" } else { "holds no JSON object" };
    Err(format!("the answer {found}: answer with one JSON object with the keys \"1\" to \"{n}\""))
}

struct Collect<'a>(&'a mut Vec<Part>);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of answers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            // What is said of an item a second time settles nothing, even if it cannot be read.
            let place = key.parse::<usize>().ok().and_then(|number| self.0.get_mut(number.checked_sub(1)?));
            let Some(place) = place else {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            if !matches!(place, Part::Missing) {
                *place = Part::Doubled;
            }
            let value = map.next_value()?;
            if matches!(place, Part::Missing) {
                *place = Part::Once(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn numbers() -> AnswerCheck {
        AnswerCheck::schema(&Arc::new(
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        ))
        .unwrap()
    }

    fn rendered(system: Option<&str>, prompt: &str) -> Rendered {
        Rendered { system: system.map(str::to_owned), prompt: prompt.to_owned() }
    }

    #[test]
    fn a_shared_system_prompt_stays_and_ones_that_differ_go_with_their_items() {
        let same = join(&[rendered(Some("be brief"), "one"), rendered(Some("be brief"), "two")]);
        assert_eq!(same.system.as_deref(), Some("be brief"));
        assert!(same.prompt.ends_with("\n### Item 1\none\n\n### Item 2\ntwo\n"), "{}", same.prompt);
        let differing = join(&[rendered(Some("a"), "one"), rendered(Some("b"), "two")]);
        assert_eq!(differing.system, None);
        assert!(differing.prompt.ends_with("\n### Item 1\na\n\none\n\n### Item 2\nb\n\ntwo\n"));
    }

    #[test]
    fn an_answer_that_breaks_off_gives_what_came_before() {
        let parts =
            split(&numbers(), r#"Here {you} go: {"1": {"n": 1}, "2": {"n": 2}, "3": {"n""#, 3).unwrap();
        assert_eq!(parts[0].as_deref(), Ok(r#"{"n":1}"#));
        assert_eq!(parts[1].as_deref(), Ok(r#"{"n":2}"#));
        assert_eq!(parts[2], Err("the answer to item 3 is missing".to_owned()));
    }

    #[test]
    fn what_holds_no_answers_is_refused_as_a_whole() {
        assert_eq!(
            split(&numbers(), "sorry", 2).unwrap_err(),
            "the answer holds no JSON object: answer with one JSON object with the keys \"1\" to \"2\""
        );
        assert_eq!(
            split(&numbers(), r#"{"n": 1}"#, 2).unwrap_err(),
            "the answer has none of the item numbers as keys: answer with one JSON object with the keys \"1\" to \"2\""
        );
    }

    proptest! {
        /// Whatever is dropped, doubled or broken, every other part arrives as it was.
        #[test]
        fn parts_are_told_apart(
            answers in prop::collection::vec((any::<i64>(), 0u8..5), 1..20),
            fence in any::<bool>(), seed in any::<u64>(),
        ) {
            let mut entries: Vec<String> = Vec::new();
            for (index, (number, fate)) in answers.iter().enumerate() {
                let good = format!(r#""{}": {{"n": {number}}}"#, index + 1);
                match fate {
                    0 => {}
                    1 => entries.extend([good.clone(), good]),
                    2 => entries.push(format!(r#""{}": {{"n": "x}}{{"}}"#, index + 1)),
                    _ => entries.push(good),
                }
            }
            let turn = if entries.is_empty() { 0 } else { (seed as usize) % entries.len() };
            entries.rotate_left(turn);
            let object = format!("{{{}}}", entries.join(", "));
            let text = if fence { format!("Here:\n```json\n{object}\n```\n") } else { object };
            match split(&numbers(), &text, answers.len()) {
                Err(_) => prop_assert!(entries.is_empty()),
                Ok(parts) => for (index, (part, (number, fate))) in parts.iter().zip(&answers).enumerate() {
                    match fate {
                        0 => prop_assert_eq!(part, &Err(format!("the answer to item {} is missing", index + 1))),
                        1 => prop_assert_eq!(part, &Err(format!("item {} was answered more than once", index + 1))),
                        2 => prop_assert!(part.as_ref().is_err_and(|why| why.contains("at `/n`"))),
                        _ => prop_assert_eq!(part.clone(), Ok(format!(r#"{{"n":{number}}}"#).into())),
                    }
                },
            }
        }

        #[test]
        fn texts_survive_a_pack(texts in prop::collection::vec("[a-z\"{}\\[\\]\\\\ ]{0,20}", 1..8)) {
            let object: serde_json::Map<String, Value> =
                texts.iter().enumerate().map(|(i, text)| ((i + 1).to_string(), text.as_str().into())).collect();
            let parts = split(&AnswerCheck::text(), &Value::Object(object).to_string(), texts.len()).unwrap();
            for (part, text) in parts.iter().zip(&texts) {
                match text.trim() {
                    "" => prop_assert_eq!(part, &Err("the answer is empty".to_owned())),
                    text => prop_assert_eq!(part.clone(), Ok(Value::from(text).to_string().into())),
                }
            }
        }
    }
}
