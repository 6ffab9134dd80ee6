//! Tables: a head of columns, `user,password` or `| user | password |`, and rows below it. The head
//! names what stands in each row.

use std::ops::Range;

use super::super::found::Class;
use super::super::pass::Pass;
use super::names::{Kind, classify};
use super::value::is_field;

/// A head of columns is not longer.
const MOST_HEAD: usize = 512;
/// Names of columns are not longer.
const MOST_NAME: usize = 40;
const SIGNS: [u8; 4] = [b'|', b'\t', b';', b','];

/// Whether the name in `name` is a column of a table; then the rows are looked at, once for all
/// columns.
pub(super) fn find(pass: &mut Pass<'_, '_>, name: &Range<usize>) -> bool {
    if pass.table.contains(&name.start) {
        return true;
    }
    let text = pass.text;
    let bytes = pass.bytes;
    // A cell of its own; a name of several words, such as "initial password", has more around it.
    let is_edge = |byte: &u8| SIGNS.contains(byte) || matches!(byte, b'\n' | b'\r');
    let is_around = |byte: &&u8| !matches!(byte, b' ' | b'"' | b'`' | b'*');
    let after = bytes[name.end..].iter().take(4).find(is_around);
    let before = bytes[..name.start].iter().rev().take(4).find(is_around);
    let is_begun = before.is_none_or(|byte| is_edge(byte) || *byte == b':');
    if !after.is_some_and(is_edge) || !(is_begun || after.is_some_and(|byte| *byte == b'|')) {
        return false;
    }
    let from = name.start.saturating_sub(MOST_HEAD);
    let to = bytes.len().min(name.end + MOST_HEAD);
    pass.meter.spend(to - from);
    let start = bytes[from..name.start].iter().rposition(|byte| *byte == b'\n').map(|n| from + n + 1);
    let Some(start) = start.or((from == 0).then_some(0)) else { return false };
    let Some(end) = bytes[name.end..to].iter().position(|byte| *byte == b'\n').map(|n| name.end + n) else {
        return false;
    };
    let line = &bytes[start..end];
    let Some(sign) = SIGNS.into_iter().find(|sign| line.contains(sign)) else { return false };
    let start = start + said_before(line, sign);
    let head = cells(text, start..end, sign);
    let is_name = |cell: &Range<usize>| {
        let cell = &text[cell.clone()];
        !cell.is_empty()
            && cell.len() <= MOST_NAME
            && cell
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '/' | '(' | ')'))
            && cell.starts_with(char::is_alphabetic)
            && cell.split(' ').count() <= 4
    };
    let kinds: Vec<Option<Kind>> = head.iter().map(|cell| classify(&text[cell.clone()])).collect();
    if head.len() < 2 || !head.iter().all(is_name) || kinds.iter().all(Option::is_none) {
        return false;
    }
    rows(pass, start, end, sign, &kinds)
}

/// How much of a head's line says something of its own, such as `the accounts: user,password`.
fn said_before(line: &[u8], sign: u8) -> usize {
    let first = line.iter().position(|byte| *byte == sign).unwrap_or(0);
    match sign {
        b'|' if line[..first].iter().rev().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':') => first,
        b'|' => 0,
        _ => line[..first].iter().rposition(|byte| *byte == b':').map_or(0, |colon| colon + 1),
    }
}

/// Looks at the rows below the head; whether there is one.
fn rows(pass: &mut Pass<'_, '_>, start: usize, head_end: usize, sign: u8, kinds: &[Option<Kind>]) -> bool {
    let (text, bytes) = (pass.text, pass.bytes);
    let (mut at, mut is_table) = (head_end + 1, false);
    while at < bytes.len() && !pass.meter.is_blocked() {
        let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n);
        pass.meter.spend(end - at);
        let row = cells(text, at..end, sign);
        if row.len() != kinds.len() {
            break;
        }
        let is_rule = bytes[at..end].iter().all(|byte| matches!(byte, b'|' | b'-' | b':' | b' ' | b'\r'));
        is_table = true;
        if !is_rule {
            for (cell, kind) in row.into_iter().zip(kinds) {
                if kind.is_some_and(|kind| is_field(&text[cell.clone()], kind)) {
                    pass.hit(cell, Class::Secret, "table-value", 90);
                }
            }
        }
        at = end + 1;
    }
    if is_table {
        pass.table = start..head_end;
    }
    is_table
}

/// The cells of a line, without their quotes and the space around; a sign in quotes divides nothing.
fn cells(text: &str, line: Range<usize>, sign: u8) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut cells, mut from, mut is_quoted) = (Vec::new(), line.start, false);
    for at in line.clone() {
        match bytes[at] {
            b'"' => is_quoted = !is_quoted,
            byte if byte == sign && !is_quoted => {
                cells.push(bare(text, from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    cells.push(bare(text, from..line.end));
    if sign == b'|' {
        // The outer signs of a row enclose nothing.
        if cells.last().is_some_and(Range::is_empty) {
            cells.pop();
        }
        if cells.first().is_some_and(Range::is_empty) {
            cells.remove(0);
        }
    }
    cells
}

fn bare(text: &str, cell: Range<usize>) -> Range<usize> {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '"' | '`' | '*');
    let inner = text[cell.clone()].trim_start_matches(is_around);
    let start = cell.end - inner.len();
    start..start + inner.trim_end_matches(is_around).len()
}
