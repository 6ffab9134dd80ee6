//! What all prompts of a job begin with: the part of its templates before anything of a row.

use empire_actors::call::SharedPrefix;

use super::template::{Templates, Which};

/// Words that are the same for all rows.
const CONSTANT: [&str; 3] = ["goal", "role", "job"];

/// What the prompts made from these templates begin with; `None` if that is nothing. The system
/// prompt goes first, so one that differs from row to row leaves nothing to share.
pub(super) fn prefix(templates: &Templates, system: Option<&str>, prompt: &str) -> Option<SharedPrefix> {
    let system = match system {
        None => None,
        Some(source) if constant_bytes(source) == source.len() => {
            Some(templates.render_constant(Which::System, source)?)
        }
        Some(_) => return None,
    };
    let bytes = constant_bytes(prompt);
    let mut prompt_part = templates.render_constant(Which::Prompt, &prompt[..bytes])?;
    if bytes < prompt.len() {
        // The tag that follows may take the white space before it away.
        prompt_part.truncate(prompt_part.trim_end().len());
    }
    let is_nothing = system.is_none() && prompt_part.is_empty();
    (!is_nothing).then_some(SharedPrefix { system, prompt: prompt_part })
}

/// How far a template's source holds nothing but text and words that are the same for all rows.
fn constant_bytes(source: &str) -> usize {
    let mut at = 0;
    while let Some(tag) = source[at..].find('{').map(|found| at + found) {
        let rest = &source[tag..];
        if rest.starts_with("{%") || rest.starts_with("{#") {
            return tag;
        }
        if !rest.starts_with("{{") {
            at = tag + 1;
            continue;
        }
        let Some(end) = rest.find("}}") else { return tag };
        if !CONSTANT.contains(&rest[2..end].trim()) {
            return tag;
        }
        at = tag + end + 2;
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix_of(system: Option<&str>, prompt: &str) -> Option<SharedPrefix> {
        let mut templates = Templates::new("leads", "growth", Some("sell"));
        templates.add(Which::Prompt, prompt).unwrap();
        if let Some(system) = system {
            templates.add(Which::System, system).unwrap();
        }
        prefix(&templates, system, prompt)
    }

    #[test]
    fn it_ends_where_a_row_begins() {
        let shared = prefix_of(Some("You {{ role }}."), "Goal: {{ goal }}. {a}\n\nName: {{ name }}").unwrap();
        assert_eq!(shared.system.as_deref(), Some("You growth."));
        assert_eq!(shared.prompt, "Goal: sell. {a}\n\nName:");
        assert_eq!(prefix_of(None, "All of it").unwrap().prompt, "All of it");
        assert_eq!(prefix_of(None, "Say {% if x %}y{% endif %}").unwrap().prompt, "Say");
        assert_eq!(prefix_of(None, "Say {{- x }}").unwrap().prompt, "Say");
        assert_eq!(prefix_of(None, "{{ name }} is"), None);
        assert_eq!(prefix_of(Some("On {{ name }}"), "Say"), None);
    }
}
