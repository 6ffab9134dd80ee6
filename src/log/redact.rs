//! Looks at every line for secrets before anybody writes it. What cannot be looked at is withheld.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use empire_actors::gates::detect::{Blocked, Class, Detector, Redactor};
use serde_json::Value;
use tokio::time::Instant;

use super::line::Line;

/// Bytes of one value that are written.
pub(crate) const SHOWN_BYTES: usize = 16 << 10;
/// A line that takes longer to look at is withheld.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// Why a line is not written.
#[derive(Debug, thiserror::Error)]
enum Withheld {
    #[error("this line could not be looked at for secrets: {0}")]
    Unseen(#[from] Blocked),
    #[error("it reads like a passage of a document")]
    Passage,
}

/// What was found in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Values of any kind.
    pub(crate) values: u32,
    /// The rules that found a secret, if one did.
    pub(crate) secret: Option<String>,
    /// Whether the line was withheld.
    pub(crate) withheld: bool,
}

/// Cuts out of the line what must not be read there.
pub(crate) fn redact(line: &mut Line, detector: Option<&Arc<Detector>>) -> Found {
    let looked = match detector {
        // A crash over a text must neither show it nor end the log.
        Some(detector) => catch_unwind(AssertUnwindSafe(|| look(line, detector))),
        None => Ok(Err(Blocked::Crashed.into())),
    };
    match looked.unwrap_or(Err(Blocked::Crashed.into())) {
        Ok((clean, found)) => {
            if let Some(clean) = clean {
                *line = clean;
            }
            shorten(line);
            found
        }
        Err(why) => {
            withhold(line, &why);
            Found { withheld: true, ..Found::default() }
        }
    }
}

/// The line without what was found in it; none if that is nothing.
fn look(line: &Line, detector: &Arc<Detector>) -> Result<(Option<Line>, Found), Withheld> {
    let end = Instant::now() + LONGEST_LOOK;
    let mut redactor = Redactor::until(detector.clone(), Box::new(move || Instant::now() >= end));
    let mut clean = cut(line, &mut redactor)?;
    let classes = redactor.classes();
    if classes.contains(&Class::Legal) {
        return Err(Withheld::Passage);
    }
    if redactor.found() == 0 {
        return Ok((None, Found::default()));
    }
    // What was found in a later part may stand in an earlier one.
    clean = cut(&clean, &mut redactor)?;
    let is_secret = classes.iter().any(|class| matches!(class, Class::Secret | Class::Own));
    let secret = is_secret.then(|| {
        let rules: Vec<&str> = redactor.rules().keys().map(AsRef::as_ref).collect();
        rules.join(", ")
    });
    Ok((Some(clean), Found { values: redactor.found(), secret, withheld: false }))
}

fn cut(line: &Line, redactor: &mut Redactor) -> Result<Line, Blocked> {
    let mut line = line.clone();
    if let Some(cut) = redactor.cut(&line.message)? {
        line.message = cut;
    }
    let spans = line.spans.iter_mut().map(|span| &mut span.fields);
    for fields in spans.chain([&mut line.fields]) {
        for (name, value) in fields.iter_mut() {
            if !matches!(value, Value::Null | Value::Bool(_)) {
                *value = redactor.cut_field(name, value)?;
            }
        }
    }
    Ok(line)
}

/// Keeps of a line only what the program itself wrote into its code.
fn withhold(line: &mut Line, why: &Withheld) {
    line.message = format!("(withheld: {why})");
    line.fields.clear();
    line.spans.iter_mut().for_each(|span| span.fields.clear());
}

fn shorten(line: &mut Line) {
    let values = line.spans.iter_mut().flat_map(|span| span.fields.values_mut());
    let texts = values.chain(line.fields.values_mut()).filter_map(|value| match value {
        Value::String(text) => Some(text),
        _ => None,
    });
    for text in texts.chain([&mut line.message]) {
        if text.len() > SHOWN_BYTES {
            text.truncate(text.floor_char_boundary(SHOWN_BYTES));
            text.push('…');
        }
    }
}
