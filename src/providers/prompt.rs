//! What every dialect does to the conversation and to the answer's text.

use std::borrow::Cow;

use empire_actors::call::{Request, Speaker};
use empire_actors::schema::Schema;
use serde::Serialize;

/// One message, as every dialect spells it.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

/// The conversation; with `schema`, the last user turn ends in it.
pub(super) fn messages<'a>(request: &'a Request, schema: Option<&Schema>) -> Vec<Message<'a>> {
    let last_user = request.turns.iter().rposition(|turn| turn.speaker == Speaker::User);
    let message = |(index, turn): (usize, &'a empire_actors::call::Turn)| {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        let content = match schema.filter(|_| Some(index) == last_user) {
            None => Cow::Borrowed(turn.text.as_str()),
            Some(schema) => Cow::Owned(format!(
                "{}\n\nAnswer with one JSON value only, no prose, no code fence, that fits this schema.\nJSON Schema:\n{}",
                turn.text,
                schema.text()
            )),
        };
        Message { role, content }
    };
    request.turns.iter().enumerate().map(message).collect()
}

/// The same with the system prompt as the first message.
pub(super) fn messages_with_system<'a>(request: &'a Request, schema: Option<&Schema>) -> Vec<Message<'a>> {
    let system = request.system.iter().map(|text| Message { role: "system", content: Cow::Borrowed(text) });
    system.chain(messages(request, schema)).collect()
}

/// The text without the thinking that some models put before it.
pub(super) fn without_thinking(text: String) -> String {
    let Some(thought) = text.trim_start().strip_prefix("<think>") else { return text };
    // Thinking that never ends used up the whole answer.
    thought.split_once("</think>").map(|(_, said)| said.trim_start().to_owned()).unwrap_or_default()
}
