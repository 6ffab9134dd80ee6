//! Numbers of the United States and the United Kingdom: social security, tax, licences, passports,
//! health.

use super::context::Kind;
use super::run::Run;
use super::{Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// What begins with a letter.
pub(super) fn lettered(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    insurance(scan, token.start, token.digit - token.start).or_else(|| code_after_word(scan, token))
}

/// What begins with a digit, and what has its letters one separator before.
pub(super) fn numbered(scan: &Scan<'_>, token: &Token, run: &Run) -> Option<Hit> {
    let named = scan.letters_before(token.start, 2).filter(|head| head.len() == 2);
    named
        .and_then(|head| insurance(scan, head.start, 2))
        .or_else(|| social(scan, run))
        .or_else(|| employer(scan, run))
        .or_else(|| health(scan, run))
        .or_else(|| code_after_word(scan, token))
}

/// A US social security number or the tax payer's number that has its shape (ITIN). With dashes the
/// shape says it; bare or spaced, a word must.
fn social(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    let groups = run.with_total(9).filter(|groups| *groups != 2)?;
    let digits = run.digits(groups);
    let value = |range: std::ops::Range<usize>| digits[range].iter().fold(0, |v, d| v * 10 + u32::from(*d));
    let (area, group, serial) = (value(0..3), value(3..5), value(5..9));
    let is_itin = (900..=999).contains(&area) && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    let is_ssn = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    if !is_itin && !is_ssn {
        return None;
    }
    let range = run.start..run.end(groups);
    let is_named = scan.context.near(Kind::Ssn, 48)
        || scan.context.near(Kind::Itin, 48)
        || scan.context.near(Kind::TaxId, 32);
    let is_printed = groups == 3 && run.is_shaped(&[3, 2, 4]);
    let is_dashed = is_printed && run.is_separated_by(3, b'-');
    let score = match (is_named, is_printed || groups == 1) {
        (true, true) => 95,
        (true, false) => 60,
        (false, _) if is_dashed && !scan.context.is_other() && !scan.is_glued(&range) => 75,
        _ => 0,
    };
    let (class, rule) = if is_itin { (Class::TaxId, "us-itin") } else { (Class::SocialId, "us-ssn") };
    Some(hit(range, class, rule, score)).filter(|hit| hit.score > 0)
}

/// A US employer's number (EIN), next to a word that names it.
fn employer(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    let groups = run.with_total(9)?;
    let is_named = scan.context.near(Kind::Ein, 48) || scan.context.near(Kind::TaxId, 32);
    let digits = run.digits(groups);
    let prefix = digits[0] * 10 + digits[1];
    let is_given = !matches!(prefix, 0 | 7..=9 | 17..=19 | 28 | 29 | 49 | 69 | 70 | 78 | 79 | 89 | 96 | 97);
    let is_printed = groups == 1 || (groups == 2 && run.is_shaped(&[2, 7]));
    (is_named && is_given && is_printed).then(|| hit(run.start..run.end(groups), Class::TaxId, "us-ein", 85))
}

/// A UK health number, next to the word that names it: ten digits, the last checks modulo 11.
fn health(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    let groups = run.with_total(10)?;
    let valid =
        scan.context.near(Kind::Nhs, 48) && health_check(run.digits(groups)) == Some(run.digits(groups)[9]);
    valid.then(|| hit(run.start..run.end(groups), Class::SocialId, "uk-nhs-number", 95))
}

/// The check digit of a UK health number, where there is one.
pub(super) fn health_check(digits: &[u8]) -> Option<u8> {
    let sum: u32 =
        digits[..9].iter().zip((2..=10).rev()).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    match 11 - sum % 11 {
        11 => Some(0),
        10 => None,
        check => u8::try_from(check).ok(),
    }
}

/// A UK national insurance number: two letters, six digits, and A to D.
fn insurance(scan: &Scan<'_>, start: usize, letters: usize) -> Option<Hit> {
    if letters != 2 {
        return None;
    }
    let number = scan.shaped(start, b"AA999999A")?;
    let chars = number.chars();
    let is_given = !b"DFIQUV".contains(&chars[0])
        && !b"DFIOQUV".contains(&chars[1])
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[chars[0], chars[1]]);
    let is_capitals = scan.at(start).is_ascii_uppercase();
    let score = if scan.context.near(Kind::Nino, 48) {
        90
    } else if is_given && is_capitals && !scan.context.is_other() && !scan.is_glued(&number.range()) {
        65
    } else {
        0
    };
    (matches!(chars[8], b'A'..=b'D') && score > 0)
        .then(|| hit(number.range(), Class::SocialId, "uk-national-insurance", score))
}

/// A driving licence or passport: no common shape, so the code after the word that names it.
fn code_after_word(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let is_licence = scan.context.nearest(Kind::Licence, 32);
    if !is_licence && !scan.context.nearest(Kind::Passport, 32) {
        return None;
    }
    let (most, rule) = if is_licence { (20, "driving-licence") } else { (12, "passport") };
    let mut end = token.end;
    // Groups of one code: `D123-4567-8901`, `S12 345`.
    for _ in 0..4 {
        let Some((kind, length)) = super::separator(scan.bytes, end) else { break };
        let mut next = end + length;
        while scan.at(next).is_ascii_alphanumeric() && next - token.start <= most + 4 {
            next += 1;
        }
        let group = &scan.bytes[end + length..next];
        let is_group = matches!(kind, b'-' | b' ') && group.iter().any(u8::is_ascii_digit);
        if !is_group || next - token.start > most || scan.at(next).is_ascii_alphanumeric() {
            break;
        }
        end = next;
    }
    let code = &scan.bytes[token.start..end];
    let digits = code.iter().filter(|c| c.is_ascii_digit()).count();
    let chars = code.iter().filter(|c| c.is_ascii_alphanumeric()).count();
    let fits = digits >= 4 && (6..=most).contains(&chars);
    fits.then(|| hit(token.start..end, Class::Identity, rule, 80))
}
