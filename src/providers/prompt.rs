//! What every dialect does to the conversation and to the answer's text.

use empire_actors::call::{Request, Speaker};
use serde_json::{Value, json};

/// The conversation as `{role, content}`; with `schema`, the last user turn ends in it.
pub(super) fn messages(request: &Request, schema: Option<&Value>) -> Vec<Value> {
    let last_user = request.turns.iter().rposition(|turn| turn.speaker == Speaker::User);
    let message = |(index, turn): (usize, &empire_actors::call::Turn)| {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        match schema.filter(|_| Some(index) == last_user) {
            None => json!({"role": role, "content": turn.text}),
            Some(schema) => json!({"role": role, "content": format!(
                "{}\n\nAnswer with one JSON value only, no prose, no code fence, that fits this schema.\nJSON Schema:\n{schema}",
                turn.text
            )}),
        }
    };
    request.turns.iter().enumerate().map(message).collect()
}

/// The same with the system prompt as the first message.
pub(super) fn messages_with_system(request: &Request, schema: Option<&Value>) -> Vec<Value> {
    let system = request.system.iter().map(|text| json!({"role": "system", "content": text}));
    system.chain(messages(request, schema)).collect()
}

/// The text without the thinking that some models put before it.
pub(super) fn without_thinking(text: String) -> String {
    let Some(thought) = text.trim_start().strip_prefix("<think>") else { return text };
    // Thinking that never ends used up the whole answer.
    thought.split_once("</think>").map(|(_, said)| said.trim_start().to_owned()).unwrap_or_default()
}
