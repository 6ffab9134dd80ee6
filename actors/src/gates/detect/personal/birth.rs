//! Dates of birth: a date next to a word that says so.

use super::context::Kind;
use super::{Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// Beginnings of the months' names, German and English; small letters.
const MONTHS: &[&str] = &[
    "jan", "jän", "feb", "mär", "mar", "maer", "apr", "mai", "may", "jun", "jul", "aug", "sep", "okt", "oct",
    "nov", "dez", "dec",
];

/// A date that starts with the token, or with the month's name before it.
pub(super) fn date(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    if !scan.context.near(Kind::Birth, 40) {
        return None;
    }
    let (end, start) = numeric(scan, token.start)
        .or_else(|| day_month(scan, token.start))
        .map(|end| (end, token.start))
        .or_else(|| month_day(scan, token))?;
    (!scan.at(end).is_ascii_alphanumeric()).then(|| hit(start..end, Class::Identity, "birth-date", 85))
}

/// A number of at most four digits at `at`: its value, its digits, one past it.
fn number(scan: &Scan<'_>, at: usize) -> Option<(u32, usize, usize)> {
    let digits = (0..5).take_while(|ahead| scan.at(at + ahead).is_ascii_digit()).count();
    let value = scan.bytes.get(at..at + digits)?.iter().fold(0, |value, c| value * 10 + u32::from(c - b'0'));
    (1..=4).contains(&digits).then_some((value, digits, at + digits))
}

/// A separator of a date, perhaps with a space: one past it.
fn mark(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let is_mark = matches!(scan.at(at), b'.' | b'/' | b'-') && scan.bytes.len() > at;
    is_mark.then(|| if scan.at(at + 1) == b' ' { at + 2 } else { at + 1 })
}

fn is_year(value: u32, digits: usize) -> bool {
    match digits {
        4 => (1900..=2100).contains(&value),
        digits => digits == 2,
    }
}

/// `12.03.1980`, `3/12/80`, `1980-03-12`: one past it.
fn numeric(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let (first, first_digits, at) = number(scan, start)?;
    let (second, second_digits, at) = number(scan, mark(scan, at)?)?;
    let (third, third_digits, end) = number(scan, mark(scan, at)?)?;
    let is_day = |value: u32, digits: usize| digits <= 2 && (1..=31).contains(&value);
    let fits = if first_digits == 4 {
        is_year(first, 4) && is_day(second, second_digits) && is_day(third, third_digits)
    } else {
        is_day(first, first_digits) && is_day(second, second_digits) && is_year(third, third_digits)
    };
    fits.then_some(end)
}

/// `12. März 1980`, `12 March 1980`, `12th of March, 1980`: one past it.
fn day_month(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let (day, digits, at) = number(scan, start)?;
    let rest = scan.text.get(at..)?;
    let rest = ["st", "nd", "rd", "th", "."].iter().find_map(|tail| rest.strip_prefix(tail)).unwrap_or(rest);
    let rest = rest.trim_start_matches(' ');
    let rest = rest.strip_prefix("of ").unwrap_or(rest);
    let month = word(rest);
    let rest = rest[month.len()..].trim_start_matches(['.', ',', ' ']);
    let (year, year_digits, end) = number(scan, scan.text.len() - rest.len())?;
    (digits <= 2 && (1..=31).contains(&day) && is_month(month) && is_year(year, year_digits)).then_some(end)
}

/// `March 12, 1980`, at the 12: one past it and where the month begins.
fn month_day(scan: &Scan<'_>, token: &Token) -> Option<(usize, usize)> {
    let head = scan.text.get(scan.floor..token.start)?.trim_end_matches([' ', '.']);
    let month_length: usize =
        head.chars().rev().take(10).take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
    let month = &head[head.len() - month_length..];
    let (day, digits, at) = number(scan, token.start)?;
    let rest = scan.text.get(at..)?;
    let rest = ["st", "nd", "rd", "th"].iter().find_map(|tail| rest.strip_prefix(tail)).unwrap_or(rest);
    let rest = rest.trim_start_matches([',', ' ']);
    let (year, year_digits, end) = number(scan, scan.text.len() - rest.len())?;
    let fits = digits <= 2 && (1..=31).contains(&day) && is_month(month) && is_year(year, year_digits);
    fits.then(|| (end, scan.floor + head.len() - month_length))
}

/// The letters at the head of `text`, at most twelve.
fn word(text: &str) -> &str {
    let length: usize = text.chars().take(12).take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
    &text[..length]
}

fn is_month(word: &str) -> bool {
    let lower = word.to_lowercase();
    word.len() >= 3 && MONTHS.iter().any(|month| lower.starts_with(month))
}
