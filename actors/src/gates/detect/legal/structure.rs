//! The structure of legal texts: clauses with numbers, sections with statutes, terms defined in
//! quotes, duties of somebody with a role, lines for signatures. Only looked at where words of such
//! texts are.

use std::ops::Range;

use super::Mark;
use super::words::{Group, STATUTES};

/// Marks that one kind of structure may leave in a window.
const MOST_OF_A_KIND: usize = 8;

/// Adds the structural features of a window.
pub(super) fn marks(text: &str, window: &Range<usize>, marks: &mut Vec<Mark>) {
    let part = &text[window.clone()];
    let mut add = |name, weight, found: Range<usize>, group| {
        marks.push(Mark {
            start: window.start + found.start,
            end: window.start + found.end,
            group,
            weight,
            name,
        });
    };
    let clauses = clauses(part);
    if clauses.len() >= 2 {
        let first = clauses.first().map_or(0, |clause| clause.start);
        let last = clauses.last().map_or(0, |clause| clause.end);
        add("numbered clauses", if clauses.len() >= 4 { 14 } else { 10 }, first..last, Group::Structure);
    }
    for section in sections(part).into_iter().take(MOST_OF_A_KIND) {
        add("section of a statute", 10, section, Group::Structure);
    }
    for heading in section_headings(part).into_iter().take(MOST_OF_A_KIND) {
        add("clause under a section sign", 12, heading, Group::Structure);
    }
    for term in defined_terms(part).into_iter().take(MOST_OF_A_KIND) {
        add("defined term", 12, term, Group::Structure);
    }
    for duty in duties(part).into_iter().take(MOST_OF_A_KIND) {
        add("duty of a party", 9, duty, Group::Structure);
    }
    for line in signatures(part).into_iter().take(2) {
        add("signature line", 10, line, Group::Structure);
    }
    for rule in requirements(part).into_iter().take(MOST_OF_A_KIND) {
        add("requirement in capitals", 12, rule, Group::Against);
    }
    let questions = part.matches('?').take(3).count();
    for _ in 0..questions {
        add("question", 6, 0..0, Group::Against);
    }
}

/// Lines with where they begin.
fn lines(part: &str) -> impl Iterator<Item = (usize, &str)> {
    part.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// Lines that begin with the number of a clause: `1.`, `2.3`, `(4)`, `§ 5`, `Section 6`.
fn clauses(part: &str) -> Vec<Range<usize>> {
    let is_clause = |line: &str| {
        let line = line.trim_start();
        let rest = ["§", "Section", "SECTION", "Article", "ARTICLE", "Artikel", "Clause", "Ziffer", "Art."]
            .iter()
            .find_map(|word| line.strip_prefix(word));
        if let Some(rest) = rest {
            return rest
                .trim_start_matches([' ', '\u{a0}'])
                .starts_with(|c: char| c.is_ascii_digit() || matches!(c, 'I' | 'V' | 'X'));
        }
        let inner = line.strip_prefix('(').unwrap_or(line);
        let number = inner.bytes().take(6).take_while(|c| c.is_ascii_digit() || *c == b'.').count();
        let after = inner[number..].chars().next();
        let is_number = number > 0 && inner.starts_with(|c: char| c.is_ascii_digit());
        let closes = inner[..number].contains('.') || after == Some(')');
        is_number && closes && matches!(after, Some(' ' | ')' | '\t' | '\u{a0}'))
    };
    lines(part).filter(|(_, line)| is_clause(line)).map(|(at, line)| at..at + line.trim_end().len()).collect()
}

/// Section signs (or `Art.`) with a number and a statute that lawyers cite.
fn sections(part: &str) -> Vec<Range<usize>> {
    let mut sections = Vec::new();
    for sign in ["§", "Art. ", "U.S.C. "] {
        for (at, _) in part.match_indices(sign).take(2 * MOST_OF_A_KIND) {
            let rest = &part[at + sign.len()..];
            let near: usize = rest.chars().take(60).take_while(|c| *c != '\n').map(char::len_utf8).sum();
            let near = &rest[..near];
            let has_number =
                near.trim_start_matches(['§', ' ', '\u{a0}']).starts_with(|c: char| c.is_ascii_digit());
            let statute = near
                .split(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-'))
                .find(|word| STATUTES.contains(&word.trim_end_matches(['.', ','])) || *word == "U.S.C.");
            if has_number && (statute.is_some() || sign == "U.S.C. ") {
                sections.push(at..at + sign.len() + near.len());
            }
        }
    }
    sections
}

/// Lines such as `§ 3 Vertragsstrafe`: a section sign, a number, a title or a clause.
fn section_headings(part: &str) -> Vec<Range<usize>> {
    let is_heading = |line: &str| {
        let rest = line.trim_start().strip_prefix('§')?.trim_start_matches([' ', '\u{a0}']);
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == 'a');
        rest.trim_start_matches([' ', '.', ':', '-', '–']).starts_with(char::is_uppercase).then_some(())
    };
    lines(part)
        .filter(|(_, line)| is_heading(line).is_some())
        .map(|(at, line)| at..at + line.trim_end().len())
        .collect()
}

/// A term that is given its meaning in quotes: `(the "Agreement")`, `– nachfolgend „Mieter“ –`.
fn defined_terms(part: &str) -> Vec<Range<usize>> {
    let is_quote = |c: char| matches!(c, '"' | '“' | '”' | '„' | '\'' | '‘' | '«' | '»');
    let mut terms = Vec::new();
    for (at, quote) in part.char_indices().filter(|(_, c)| is_quote(*c)).take(64) {
        let before = part[..at].trim_end();
        let opens = [
            "(",
            "(the",
            "(each, a",
            "(each a",
            "(collectively, the",
            "(together, the",
            "(„",
            "nachfolgend",
            "im Folgenden",
            "nachstehend",
            "Nachfolgend",
            "(hereinafter",
            "hereinafter",
            "(a",
            "(an",
            "as the",
            "referred to as",
            "(im Folgenden:",
            "nachfolgend:",
            "(nachfolgend",
            "(hereinafter the",
            "– im Folgenden",
            "(der",
            "(die",
            "(das",
        ]
        .iter()
        .any(|opening| before.ends_with(opening));
        let term = &part[at + quote.len_utf8()..];
        if opens && term.starts_with(char::is_uppercase) {
            terms.push(at..at + quote.len_utf8());
        }
    }
    // `"Confidential Information" means …`
    for verb in [" means ", " shall mean ", " bezeichnet ", " bedeutet "] {
        for (at, _) in part.match_indices(verb).take(MOST_OF_A_KIND) {
            if part[..at].ends_with(is_quote) {
                terms.push(at..at + verb.len());
            }
        }
    }
    terms
}

/// `the Tenant shall`, `Receiving Party shall`, `Der Auftragnehmer verpflichtet sich`: somebody with
/// a role, in capitals as such texts write it, has to do something.
fn duties(part: &str) -> Vec<Range<usize>> {
    let mut duties = Vec::new();
    for verb in [
        " shall ",
        " hereby ",
        " agrees ",
        " agree ",
        " represents ",
        " undertakes ",
        " may not ",
        " is entitled ",
        " will not ",
    ] {
        for (at, _) in part.match_indices(verb).take(2 * MOST_OF_A_KIND) {
            let word = part[..at].rsplit([' ', '\n']).next().unwrap_or_default();
            let has_role = word.starts_with(char::is_uppercase)
                && word.chars().skip(1).any(char::is_lowercase)
                && word.len() >= 4
                && !matches!(word, "This" | "That" | "They" | "There" | "These" | "Which" | "Both" | "Who");
            let is_strong = verb == " shall " || verb == " hereby ";
            // Without `shall`, only a word that is no sentence's beginning is a role.
            let in_sentence =
                part[..at - word.len()].trim_end().ends_with(|c: char| c.is_alphanumeric() || c == ',');
            if has_role && (is_strong || in_sentence) {
                duties.push(at..at + verb.len());
            }
        }
    }
    duties
}

/// Lines to sign on, and the words beside them.
fn signatures(part: &str) -> Vec<Range<usize>> {
    let mut found: Vec<_> =
        part.match_indices("_____").take(2).map(|(at, line)| at..at + line.len()).collect();
    for words in
        ["Ort, Datum", "By: _", "Name: _", "/s/", "Unterschrift:", "Title: _", "(Unterschrift", "gez. "]
    {
        found.extend(part.match_indices(words).take(1).map(|(at, line)| at..at + line.len()));
    }
    found
}

/// Words of specifications: `MUST`, `SHALL NOT`, `SHOULD` (RFC 2119).
fn requirements(part: &str) -> Vec<Range<usize>> {
    ["MUST", "SHOULD", "MAY ", "REQUIRED", "RECOMMENDED", "OPTIONAL"]
        .iter()
        .flat_map(|word| part.match_indices(word).take(2).map(|(at, word)| at..at + word.len()))
        .collect()
}
