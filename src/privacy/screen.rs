//! One text or one chat body against the rules, as the commands show it.

use std::sync::Arc;

use empire_actors::gates::detect::{Blocked, Class, Detector, Redactor, unread};
use empire_actors::level::Zone;
use serde::Serialize;
use serde_json::Value;

/// What may happen to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It may leave as it is.
    Allow,
    /// It may leave without what was found.
    Redact,
    /// It stays in zones 1 and 2: it is a legal document.
    Local,
    /// It may go nowhere: it could not be looked at to its end.
    Block,
}

/// What came of looking at a text or a body.
#[derive(Debug, Clone, Serialize)]
pub struct Screened<T> {
    /// It without the values that were found; nothing if it is blocked. What stays local may be read
    /// whole in zones 1 and 2.
    pub redacted: Option<T>,
    /// What may happen to it.
    pub action: Action,
    /// The kinds of what was found.
    pub labels: Vec<Class>,
    /// Why it is blocked or stays local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Looks at one text, as if it were to go to `zone`.
#[must_use]
pub fn text(detector: &Arc<Detector>, zone: Zone, text: &str) -> Screened<String> {
    let mut redactor = Redactor::new(detector.clone());
    let cut = redactor.cut(text).map(|cut| cut.unwrap_or_else(|| text.to_owned()));
    verdict(&redactor, zone, text.to_owned(), cut)
}

/// Looks at every part of a chat body, as if it were to go to `zone`.
#[must_use]
pub fn body(detector: &Arc<Detector>, zone: Zone, body: Value) -> Screened<Value> {
    let mut redactor = Redactor::new(detector.clone());
    if zone.redacts()
        && let Some(part) = unread(&body).first()
    {
        let why = format!("{} at `{}` cannot be looked into", part.what, shown(&part.path));
        return Screened::blocked(redactor.classes(), why);
    }
    // Twice: what is found at the end goes at the beginning too.
    let cut = redactor.learn_json(&body).and_then(|()| redactor.cut_json(&body));
    verdict(&redactor, zone, body, cut)
}

fn verdict<T>(redactor: &Redactor, zone: Zone, whole: T, cut: Result<T, Blocked>) -> Screened<T> {
    let labels = redactor.classes();
    if !zone.redacts() {
        return Screened { redacted: Some(whole), action: Action::Allow, labels, reason: None };
    }
    match cut {
        Err(why) => Screened::blocked(labels, why.to_string()),
        Ok(cut) => {
            let is_legal = labels.contains(&Class::Legal);
            let action = match labels.is_empty() {
                true => Action::Allow,
                false if is_legal => Action::Local,
                false => Action::Redact,
            };
            let reason = is_legal.then(|| "a passage of it reads like a legal document".to_owned());
            Screened { redacted: Some(cut), action, labels, reason }
        }
    }
}

/// A path with the names that are the wire's own and the places in lists; a body's other names may
/// say as much as its values.
fn shown(path: &str) -> String {
    const KNOWN: [&str; 24] = [
        "arguments",
        "body",
        "choices",
        "content",
        "contents",
        "data",
        "delta",
        "document",
        "file",
        "function",
        "image_url",
        "input",
        "input_audio",
        "message",
        "messages",
        "output",
        "parts",
        "prompt",
        "source",
        "system",
        "text",
        "tool_calls",
        "tools",
        "url",
    ];
    let is_shown =
        |step: &str| KNOWN.contains(&step) || step.len() < 7 && step.bytes().all(|b| b.is_ascii_digit());
    let steps = path.split('/').skip(1);
    steps.map(|step| format!("/{}", if is_shown(step) { step } else { "…" })).collect()
}

impl<T> Screened<T> {
    /// What may go nowhere.
    #[must_use]
    pub fn blocked(labels: Vec<Class>, why: String) -> Screened<T> {
        Screened { redacted: None, action: Action::Block, labels, reason: Some(why) }
    }
}

#[cfg(test)]
mod tests {
    use empire_actors::gates::detect::Rules;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_names_no_name_of_the_body() {
        let detector = Arc::new(Detector::new(Rules::compile(&[]).unwrap()));
        let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        let reason = |request: Value| body(&detector, Zone::Cloud, request).reason.unwrap();
        assert!(reason(json!({"messages": [{"content": image}]})).contains("`/messages/0/content/0`"));
        let mail = format!("bob@{}", "example.com");
        let told = reason(json!({ mail.clone(): {"input": image} }));
        assert!(told.contains("`/…/input/0`") && !told.contains(&mail), "{told}");
    }
}
