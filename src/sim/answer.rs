//! Makes up the answer to a request: what it says, how it ends, what it costs.

use empire_actors::money::Usage;
use serde_json::{Value, json};

use super::ask::{Ask, Wanted};
use super::dialect::Dialect;
use super::dice::{Dice, Draw};
use super::fit::MARK;
use super::quotes::{self, Quotes};
use super::scenario::Behaviour;
use super::schema::Schema;
use super::settings::Garbage;

/// What a thinking model is said to think.
pub(super) const THOUGHTS: &str = "[simulated] nothing was thought";
const BYTES_A_TOKEN: usize = 4;
/// Tokens that frame a conversation.
const FRAME_TOKENS: u64 = 8;

/// An answer, whatever its dialect.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    /// It ends because of the requested maximum.
    pub(super) cut_off: bool,
    pub(super) usage: Usage,
    /// Whether usage is told to the caller.
    pub(super) tells_usage: bool,
    /// How its body is spoilt, if it is.
    pub(super) garbage: Option<Garbage>,
}

/// Answers `ask`. The data depends on `seed` and the question, the faults on `dice`.
pub(super) fn compose(dialect: Dialect, ask: &Ask, behaviour: &Behaviour, dice: Dice, seed: u64) -> Answer {
    let settings = &behaviour.settings;
    let mut text = says(ask, behaviour, dice, seed);
    let asked = ask.max_tokens.unwrap_or(u64::MAX);
    let thoughts = if ask.thinks { tokens(THOUGHTS.len()) } else { 0 };
    let needed = tokens(text.len()) + thoughts;
    let mut output = settings.output_tokens.draw(dice).max(needed).min(asked);
    let mut cut_off = needed > asked;
    if cut_off {
        let room = usize::try_from(asked.saturating_sub(thoughts)).unwrap_or(usize::MAX);
        text.truncate(text.floor_char_boundary(room.saturating_mul(BYTES_A_TOKEN)));
    }
    let garbage = dice.hits(Draw::Garbage, settings.garbage_rate.0).then(|| {
        let kinds =
            if settings.garbage_kinds.is_empty() { &Garbage::ALL[..] } else { &settings.garbage_kinds };
        kinds[dice.below(Draw::GarbageKind, kinds.len() as u64) as usize]
    });
    match garbage {
        Some(Garbage::Empty) => {
            text.clear();
            output = 0;
        }
        Some(Garbage::AllThinking) => {
            text.clear();
            output = ask.max_tokens.unwrap_or(output);
            cut_off = true;
        }
        Some(Garbage::CutOff) => {
            text.truncate(text.floor_char_boundary(text.len() / 2));
            cut_off = true;
        }
        Some(Garbage::Malformed | Garbage::Truncated) | None => {}
    }
    Answer {
        text,
        cut_off,
        usage: times(
            settings.bills_times.0,
            &usage(dialect, ask, settings.cached_input_rate.0, output, dice),
        ),
        tells_usage: !dice.hits(Draw::Usage, settings.no_usage_rate.0),
        garbage,
    }
}

fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_A_TOKEN) as u64
}

fn usage(dialect: Dialect, ask: &Ask, cached_rate: f64, output: u64, dice: Dice) -> Usage {
    let total = tokens(ask.conversation.bytes) + FRAME_TOKENS;
    let is_cached = dialect != Dialect::Ollama && dice.hits(Draw::Cache, cached_rate);
    let cached_input = if is_cached { total / 2 } else { 0 };
    let writes = is_cached && dialect == Dialect::Claude && dice.hits(Draw::CacheWrite, 0.5);
    let cache_write = if writes { total / 4 } else { 0 };
    Usage { input: total - cached_input - cache_write, cached_input, cache_write, output }
}

fn times(factor: u64, usage: &Usage) -> Usage {
    Usage {
        input: usage.input * factor,
        cached_input: usage.cached_input * factor,
        cache_write: usage.cache_write * factor,
        output: usage.output * factor,
    }
}

fn says(ask: &Ask, behaviour: &Behaviour, dice: Dice, seed: u64) -> String {
    let prompt = &ask.conversation.prompt;
    match &ask.wanted {
        Wanted::Text => free_text(&Quotes::of(prompt), seed),
        Wanted::Json => json!({ "answer": free_text(&Quotes::of(prompt), seed) }).to_string(),
        Wanted::Schema(schema) | Wanted::Tool(_, schema) => {
            let breaks = dice.hits(Draw::SchemaBreak, behaviour.settings.schema_break_rate.0);
            if schema.parts().is_empty() {
                part(schema, prompt, seed, breaks.then_some(dice))
            } else {
                packed(schema, prompt, behaviour, dice, seed, breaks)
            }
        }
    }
}

fn free_text(quotes: &Quotes, seed: u64) -> String {
    format!("{MARK}On {}: see {}.", quotes.subject(), quotes.detail(seed as usize))
}

/// One answer's JSON; with `breaks`, one that does not fit.
fn part(schema: &Schema, prompt: &str, seed: u64, breaks: Option<Dice>) -> String {
    let value = schema.fill(&Quotes::of(prompt), seed);
    match breaks {
        Some(dice) => broken(schema, &value, dice),
        None => value.to_string(),
    }
}

/// The answers of a pack, written by hand: a part may be missing, and one may come twice, which
/// no JSON value can hold.
fn packed(
    schema: &Schema,
    prompt: &str,
    behaviour: &Behaviour,
    dice: Dice,
    seed: u64,
    breaks: bool,
) -> String {
    let parts = schema.parts();
    let prompts = quotes::parts(prompt, parts.len());
    let broken_part = breaks.then(|| dice.below(Draw::SchemaBreakKind, parts.len() as u64));
    let mut members: Vec<String> = Vec::with_capacity(parts.len());
    for (index, (schema, prompt)) in parts.iter().zip(prompts).enumerate() {
        let key = index + 1;
        let number = index as u64;
        if dice.unit_of(Draw::Drop, number) < behaviour.settings.pack_drop_rate.0 {
            continue;
        }
        let seed = seed.wrapping_add(number << 32);
        let breaks = (broken_part == Some(number)).then_some(dice);
        members.push(format!("\"{key}\":{}", part(schema, prompt, seed, breaks)));
        if dice.unit_of(Draw::Double, number) < behaviour.settings.pack_double_rate.0 {
            members.push(format!("\"{key}\":{}", part(schema, prompt, seed ^ 1, None)));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// `value` changed so that it does not fit any more: words instead of JSON, a member lost, a
/// member of the wrong type, or wrapped into an object.
fn broken(schema: &Schema, value: &Value, dice: Dice) -> String {
    let members: Vec<String> =
        value.as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default();
    let mut ways: Vec<Value> = Vec::new();
    for name in &members {
        let mut lost = value.clone();
        let mut mistyped = value.clone();
        if let (Value::Object(lost), Value::Object(mistyped)) = (&mut lost, &mut mistyped) {
            lost.shift_remove(name);
            mistyped.insert(name.clone(), json!({ "simulated": ["broken"] }));
        }
        ways.extend([lost, mistyped]);
    }
    ways.push(json!({ "answer": value }));
    ways.retain(|way| !schema.accepts(way));
    let choice = dice.below(Draw::SchemaBreakKind, ways.len() as u64 + 1) as usize;
    ways.get(choice).map_or_else(|| format!("{MARK}I would rather not say it in JSON."), Value::to_string)
}
