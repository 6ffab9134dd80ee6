//! SQL: `INSERT INTO t (name, password) VALUES ('…', '…')`. The column names the value.

use std::ops::Range;

use super::super::found::Class;
use super::super::pass::Pass;
use super::names::classify;
use super::value::is_field;

const MOST: usize = 4_096;

/// `INSERT INTO` ends at `end`.
pub(crate) fn find(pass: &mut Pass<'_, '_>, end: usize) {
    if end < pass.insert_to {
        return;
    }
    let text = pass.text;
    let most = (0..=MOST.min(text.len() - end)).rev().find(|n| text.is_char_boundary(end + n)).unwrap_or(0);
    let to = end + most;
    let Some((columns, after)) = list(text, end, to) else { return };
    pass.meter.spend(after - end);
    pass.insert_to = after;
    let named: Vec<_> = columns.iter().map(|column| classify(text[column.clone()].trim())).collect();
    if named.iter().all(Option::is_none) {
        return;
    }
    let mut at = after;
    while let Some((values, next)) = list(text, at, to) {
        pass.meter.spend(next - at);
        pass.insert_to = next;
        for (value, kind) in values.into_iter().zip(&named) {
            if kind.is_some_and(|kind| is_field(&text[value.clone()], kind)) {
                pass.named_hit(value, Class::Secret, "sql-value", 90);
            }
        }
        at = next;
        if !text[at..to].trim_start().starts_with(',') {
            break;
        }
    }
}

/// The members of the next list in brackets, without their quotes, and where the list ends.
fn list(text: &str, from: usize, to: usize) -> Option<(Vec<Range<usize>>, usize)> {
    let open = from + text[from..to].find(['(', ';']).filter(|at| text[from + at..].starts_with('('))?;
    let (mut members, mut start, mut quote) = (Vec::new(), open + 1, None);
    for (at, letter) in text[open + 1..to].char_indices() {
        let at = open + 1 + at;
        match (quote, letter) {
            (None, '\'' | '"' | '`') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ',' | ')') => {
                members.push(bare(text, start..at));
                start = at + 1;
                if letter == ')' {
                    return Some((members, at + 1));
                }
            }
            _ => {}
        }
    }
    None
}

fn bare(text: &str, member: Range<usize>) -> Range<usize> {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`');
    let inner = text[member.clone()].trim_start_matches(is_around);
    let start = member.end - inner.len();
    start..start + inner.trim_end_matches(is_around).len()
}
