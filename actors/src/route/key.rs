//! What makes two calls the same call: a hash of all that a vendor is told, and of what keeps
//! answers apart.

use crate::call::{Request, Speaker};
use crate::model::{Structured, Thinking};
use crate::ports::CallKey;
use crate::route::rules::Destination;

/// Part of every key. Raise it when dialects tell vendors something else for the same request.
const VERSION: &[u8] = b"empire-call-2";

/// The key of a request as it would leave, after redaction. Equal keys mean that the vendor is
/// told the same, at the same `destination`; a level never shares a key with another, nor a simulated call with a real one.
/// Job and item are no part of it, nor is the price.
#[must_use]
pub fn call_key(request: &Request, destination: Destination, simulated: bool) -> CallKey {
    let model = &request.model;
    let mut digest = Digest(blake3::Hasher::new());
    digest.part(VERSION).part(&[u8::from(simulated), request.level.as_u8()]);
    digest.part(&destination.0);
    digest.part(model.provider.as_str().as_bytes()).part(model.id.as_bytes());
    digest.part(&model.context.to_le_bytes()).part(&request.max_tokens.to_le_bytes());
    digest.part(&[thinking(model.thinking), structured(model.structured)]);
    for number in [model.temperature, model.top_p] {
        digest.optional(number.map(f64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }
    digest.optional(request.schema.as_ref().map(|schema| schema.text().as_bytes()));
    digest.optional(request.system.as_deref().map(str::as_bytes));
    for turn in &request.turns {
        let speaker = match turn.speaker {
            Speaker::User => 0,
            Speaker::Assistant => 1,
        };
        digest.part(&[speaker]).part(turn.text.as_bytes());
    }
    CallKey(*digest.0.finalize().as_bytes())
}

fn thinking(thinking: Thinking) -> u8 {
    match thinking {
        Thinking::VendorDefault => 0,
        Thinking::Off => 1,
        Thinking::On => 2,
    }
}

fn structured(structured: Structured) -> u8 {
    match structured {
        Structured::Schema => 0,
        Structured::JsonObject => 1,
        Structured::PromptOnly => 2,
    }
}

/// A hash over parts, each with its length, so that no two lists of parts look alike.
struct Digest(blake3::Hasher);

impl Digest {
    fn part(&mut self, bytes: &[u8]) -> &mut Digest {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// A part that may be missing, which differs from an empty one.
    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.part(&[u8::from(bytes.is_some())]).part(bytes.unwrap_or_default());
    }
}

#[cfg(all(test, not(empire_loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::call::{Standing, Turn};
    use crate::level::Level;
    use crate::model::Model;
    use crate::schema::Schema;

    /// Everything that decides a key, as small numbers.
    #[derive(Debug, Clone, PartialEq)]
    struct Parts {
        simulated: bool,
        destination: u8,
        level: usize,
        id: String,
        provider: String,
        context: u32,
        max_tokens: u32,
        thinking: bool,
        structured: bool,
        temperature: Option<u8>,
        top_p: Option<u8>,
        schema: Option<u8>,
        system: Option<String>,
        turns: Vec<(bool, String)>,
    }

    impl Parts {
        fn key(&self, job: &str, item: u32, price: bool) -> CallKey {
            let model = Model {
                id: self.id.clone(),
                provider: self.provider.as_str().into(),
                price: price.then_some(crate::money::Price::FREE),
                context: self.context,
                max_output: 9,
                thinking: if self.thinking { Thinking::On } else { Thinking::Off },
                structured: if self.structured { Structured::Schema } else { Structured::JsonObject },
                temperature: self.temperature.map(f64::from),
                top_p: self.top_p.map(f64::from),
                timeout: Duration::from_secs(u64::from(item)),
            };
            let turn = |(ours, text): &(bool, String)| match ours {
                true => Turn::user(text),
                false => Turn::assistant(text),
            };
            let request = Request {
                job: job.into(),
                item,
                model: Arc::new(model),
                system: self.system.clone(),
                turns: self.turns.iter().map(turn).collect(),
                schema: self.schema.map(|n| Arc::new(Schema::new(json!({ "const": n })))),
                max_tokens: self.max_tokens,
                level: Level::ALL[self.level],
                shared: None,
                standing: Standing::default(),
            };
            call_key(&request, Destination([self.destination; 32]), self.simulated)
        }
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let text = || "[ab]{0,2}";
        let first =
            (any::<bool>(), 0usize..4, text(), text(), 1u32..3, 1u32..3, any::<bool>(), any::<bool>());
        let small = || prop::option::of(0u8..2);
        let turns = prop::collection::vec((any::<bool>(), text()), 0..3);
        ((first, 0u8..2), small(), small(), small(), prop::option::of(text()), turns).prop_map(
            |((first, destination), temperature, top_p, schema, system, turns)| {
                let (simulated, level, id, provider, context, max_tokens, thinking, structured) = first;
                Parts {
                    simulated,
                    destination,
                    level,
                    id,
                    provider,
                    context,
                    max_tokens,
                    thinking,
                    structured,
                    temperature,
                    top_p,
                    schema,
                    system,
                    turns,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_if_all_that_matters_is(a in parts(), b in parts()) {
            prop_assert_eq!(a.key("j", 1, true) == b.key("other", 2, false), a == b);
        }

        #[test]
        fn any_one_change_of_what_matters_changes_the_key(a in parts(), which in 0usize..14) {
            let mut b = a.clone();
            let flip = |number: Option<u8>| number.map_or(Some(7), |_| None);
            match which {
                0 => b.simulated = !b.simulated,
                1 => b.level = (b.level + 1) % 4,
                2 => b.id.push('x'),
                3 => b.provider.push('x'),
                4 => b.context += 1,
                5 => b.max_tokens += 1,
                6 => b.thinking = !b.thinking,
                7 => b.structured = !b.structured,
                8 => b.temperature = flip(b.temperature),
                9 => b.top_p = flip(b.top_p),
                10 => b.schema = flip(b.schema),
                11 => b.system = b.system.map_or(Some(String::new()), |_| None),
                12 => b.destination += 1,
                _ => b.turns.push((true, String::new())),
            }
            prop_assert_ne!(a.key("j", 1, true), b.key("j", 1, true));
        }
    }
}
