//! What an expression of PromQL asks for: enough of its grammar to find names of series and labels.

use std::collections::BTreeSet;

/// Words of the language that stand where a name could.
const WORDS: [&str; 17] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
    "sum",
    "max",
    "min",
    "avg",
    "count",
];
/// Of them those that name labels in brackets.
const NAME_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) series: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
}

pub(crate) fn asked(expression: &str) -> Asked {
    let text: Vec<char> = without_texts(expression).chars().collect();
    let (mut asked, mut at) = (Asked::default(), 0);
    let (mut in_braces, mut in_list, mut in_range) = (false, false, false);
    let mut last = String::new();
    while at < text.len() {
        let c = text[at];
        if c.is_ascii_alphabetic() || c == '_' || c == ':' {
            let end = (at..text.len())
                .find(|end| !(text[*end].is_ascii_alphanumeric() || "_:".contains(text[*end])))
                .unwrap_or(text.len());
            let name: String = text[at..end].iter().collect();
            let is_called = text[end..].iter().find(|c| !c.is_whitespace()) == Some(&'(');
            at = end;
            last.clone_from(&name);
            match () {
                () if in_range => {}
                () if in_braces || in_list => drop(asked.labels.insert(name)),
                () if is_called || WORDS.contains(&name.as_str()) => {}
                () => drop(asked.series.insert(name)),
            }
            continue;
        }
        match c {
            '{' => in_braces = true,
            '}' => in_braces = false,
            '[' => in_range = true,
            ']' => in_range = false,
            '(' => in_list = NAME_LABELS.contains(&last.as_str()),
            ')' => in_list = false,
            // A number, with an exponent maybe.
            c if c.is_ascii_digit() => {
                while at + 1 < text.len() && (text[at + 1].is_ascii_alphanumeric() || text[at + 1] == '.') {
                    at += 1;
                }
            }
            _ => {}
        }
        if !c.is_whitespace() {
            last.clear();
        }
        at += 1;
    }
    asked
}

/// The expression with nothing between quotation marks.
fn without_texts(expression: &str) -> String {
    expression.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

#[test]
fn names_are_told_from_functions_labels_and_texts() {
    let expression = r#"histogram_quantile(0.95, sum by (gate, le) (rate(waits_bucket{kind=~"a|b", x!="y"}[5m])))
        / (up{job="empire"} > 10e9) and on (instance) empire:queue_depth"#;
    let asked = asked(expression);
    assert_eq!(asked.series.iter().collect::<Vec<_>>(), ["empire:queue_depth", "up", "waits_bucket"]);
    assert_eq!(asked.labels.iter().collect::<Vec<_>>(), ["gate", "instance", "job", "kind", "le", "x"]);
}
