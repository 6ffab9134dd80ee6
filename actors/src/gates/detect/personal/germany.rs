//! German numbers: tax, insurance, identity papers, registers, number plates.

use std::ops::Range;

use super::context::Kind;
use super::run::{Run, separator_before};
use super::{LABEL, Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// What begins with a letter.
pub(super) fn lettered(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let letters = token.digit - token.start;
    vat(scan, token.start, letters)
        .or_else(|| health(scan, token.start, letters))
        .or_else(|| paper(scan, token))
        .or_else(|| plate(scan, token))
}

/// What begins with a digit, and what has its letters one separator before.
pub(super) fn numbered(scan: &Scan<'_>, token: &Token, run: &Run) -> Option<Hit> {
    let before = scan.letters_before(token.start, 2);
    pension(scan, token.start)
        .or_else(|| before.as_ref().and_then(|head| vat(scan, head.start, head.len())))
        .or_else(|| {
            let head = before.as_ref().filter(|head| head.len() == 1)?;
            scan.context.near(Kind::Health, 48).then(|| health(scan, head.start, 1))?
        })
        .or_else(|| register(scan, token))
        .or_else(|| plate(scan, token))
        .or_else(|| tax_id(scan, run))
        .or_else(|| tax_number(scan, run))
        .or_else(|| paper(scan, token))
}

/// The eleven digits of a tax payer (Steuer-ID, § 139b AO).
fn tax_id(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    let groups = run.with_total(11)?;
    let range = run.start..run.end(groups);
    let is_printed = groups == 1 || run.is_shaped(&[2, 3, 3, 3]) || (0..groups).all(|g| run.length(g) == 1);
    if !is_tax_id(run.digits(groups)) {
        // `12345678901` is what examples write.
        let is_series = run.digits(groups).windows(2).all(|two| (two[0] + 1) % 10 == two[1]);
        let is_labelled = is_printed && !is_series && scan.context.nearest(Kind::TaxId, LABEL);
        return is_labelled.then(|| hit(range, Class::TaxId, "de-tax-id", 75));
    }
    let other = scan.context.is_other() || scan.context.nearest(Kind::Phone, 32);
    let score = match (scan.context.near(Kind::TaxId, 64), is_printed && !other && !scan.is_glued(&range)) {
        (true, _) => 97,
        (false, true) => 80,
        (false, false) => 0,
    };
    Some(hit(range, Class::TaxId, "de-tax-id", score))
}

/// Eleven digits, the first not 0; among the first ten one digit two or three times and the others
/// at most once; the last checks (ISO 7064, MOD 11,10).
pub(super) fn is_tax_id(digits: &[u8]) -> bool {
    let mut counts = [0_u8; 10];
    digits[..10].iter().for_each(|digit| counts[usize::from(*digit)] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let thrice_in_a_row = digits[..10].windows(3).any(|three| three[0] == three[1] && three[1] == three[2]);
    digits[0] != 0
        && repeated == 1
        && counts.iter().all(|count| *count <= 3)
        && !thrice_in_a_row
        && mod_11_10(&digits[..10]) == digits[10]
}

/// The check digit of `digits` (ISO 7064, MOD 11,10).
pub(super) fn mod_11_10(digits: &[u8]) -> u8 {
    let product = digits.iter().fold(10, |product: u32, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    u8::try_from((11 - product) % 10).unwrap_or_default()
}

/// The number a tax office gives (Steuernummer): ten to thirteen digits in the way of a state. It
/// has no checksum that all states share, so that a word must name it.
fn tax_number(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    if !scan.context.near(Kind::TaxNumber, 48) || scan.context.is_other() {
        return None;
    }
    let groups = (1..=run.groups()).rev().find(|groups| (10..=13).contains(&run.total(*groups)))?;
    Some(hit(run.start..run.end(groups), Class::TaxId, "de-tax-number", 90))
}

/// A value added tax number: the German one with its checksum, others of the Union by their shape
/// and a word.
fn vat(scan: &Scan<'_>, start: usize, letters: usize) -> Option<Hit> {
    const OTHERS: &[&[u8]] = &[
        b"ATU99999999",
        b"BE9999999999",
        b"BG999999999",
        b"CZ99999999",
        b"DK99999999",
        b"EE999999999",
        b"EL999999999",
        b"ES*9999999*",
        b"FI99999999",
        b"FR**999999999",
        b"HR99999999999",
        b"HU99999999",
        b"IE9*99999A",
        b"IT99999999999",
        b"LT999999999",
        b"LU99999999",
        b"LV99999999999",
        b"MT99999999",
        b"NL999999999B99",
        b"PL9999999999",
        b"PT999999999",
        b"RO99999999",
        b"SE999999999999",
        b"SI99999999",
        b"SK9999999999",
        b"GB999999999",
    ];
    if !(2..=4).contains(&letters) {
        return None;
    }
    let country = [scan.at(start).to_ascii_uppercase(), scan.at(start + 1).to_ascii_uppercase()];
    if &country == b"DE" {
        let vat = scan.shaped(start, b"AA999999999")?;
        let digits: Vec<u8> = vat.chars()[2..].iter().map(|c| c - b'0').collect();
        let valid = digits[0] != 0 && mod_11_10(&digits[..8]) == digits[8];
        let score = if valid && scan.context.near(Kind::Vat, 48) { 95 } else { 75 };
        return (valid || scan.context.nearest(Kind::Vat, LABEL))
            .then(|| hit(vat.range(), Class::TaxId, "vat-id", score));
    }
    if !scan.context.near(Kind::Vat, 48) {
        return None;
    }
    let pattern = OTHERS.iter().find(|pattern| pattern[..2] == country)?;
    let generic: Vec<u8> = pattern.iter().enumerate().map(|(at, c)| if at < 2 { b'A' } else { *c }).collect();
    let generic: Vec<u8> = generic.iter().map(|c| if matches!(c, b'U' | b'B') { b'A' } else { *c }).collect();
    let vat = scan.shaped(start, &generic)?;
    Some(hit(vat.range(), Class::TaxId, "vat-id", 80))
}

/// The number of a pension insurance (RVNR, also the one for social insurance): area, date of
/// birth, a letter, a serial, a check digit.
fn pension(scan: &Scan<'_>, start: usize) -> Option<Hit> {
    let number = scan.shaped(start, b"99999999A999")?;
    let score = if scan.context.near(Kind::Pension, 64) { 97 } else { 85 };
    if !is_pension(number.chars()) {
        let is_labelled = scan.context.nearest(Kind::Pension, LABEL);
        return is_labelled.then(|| hit(number.range(), Class::SocialId, "de-pension-number", 75));
    }
    Some(hit(number.range(), Class::SocialId, "de-pension-number", score))
}

/// Whether day and month can be and the check digit is right (§ 2 VKVV).
pub(super) fn is_pension(chars: &[u8]) -> bool {
    let two = |at: usize| u32::from(chars[at] - b'0') * 10 + u32::from(chars[at + 1] - b'0');
    // A day that another person has already got gets 50 more.
    let day = two(2) % 50;
    two(0) >= 2 && (1..=31).contains(&day) && (1..=12).contains(&two(4)) && pension_check(chars) == chars[11]
}

/// The check digit of a pension number, as a character.
pub(super) fn pension_check(chars: &[u8]) -> u8 {
    const WEIGHTS: [u32; 12] = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let place = chars[8] - b'A' + 1;
    let digits = chars[..8].iter().map(|c| c - b'0').chain([place / 10, place % 10]);
    let digits = digits.chain(chars[9..11].iter().map(|c| c - b'0'));
    weighted_cross_sums(digits, &WEIGHTS)
}

/// The number of a health insurance (KVNR): a letter, eight digits, a check digit.
fn health(scan: &Scan<'_>, start: usize, letters: usize) -> Option<Hit> {
    if letters != 1 {
        return None;
    }
    let number = scan.shaped(start, b"A999999999")?;
    if health_check(number.chars()) != number.chars()[9] {
        let is_labelled = scan.context.nearest(Kind::Health, LABEL);
        return is_labelled.then(|| hit(number.range(), Class::SocialId, "de-health-number", 75));
    }
    let score = if scan.context.near(Kind::Health, 64) {
        97
    } else if scan.context.is_other() || scan.is_glued(&number.range()) {
        0
    } else {
        70
    };
    Some(hit(number.range(), Class::SocialId, "de-health-number", score))
}

/// The check digit of a health number, as a character (§ 290 SGB V).
pub(super) fn health_check(chars: &[u8]) -> u8 {
    let place = chars[0] - b'A' + 1;
    let digits = [place / 10, place % 10].into_iter().chain(chars[1..9].iter().map(|c| c - b'0'));
    weighted_cross_sums(digits, &[1, 2, 1, 2, 1, 2, 1, 2, 1, 2])
}

/// The sum of the cross sums of each digit times its weight, modulo 10, as a character.
fn weighted_cross_sums(digits: impl Iterator<Item = u8>, weights: &[u32]) -> u8 {
    let sum: u32 = digits
        .zip(weights)
        .map(|(digit, weight)| {
            let product = u32::from(digit) * weight;
            product / 10 + product % 10
        })
        .sum();
    b'0' + u8::try_from(sum % 10).unwrap_or_default()
}

/// An identity card or a passport: nine characters without vowels, and mostly a check digit
/// (ICAO 9303). A word must name it, or the fill characters of its machine-readable lines.
fn paper(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let is_card = scan.context.near(Kind::IdCard, 48);
    let is_pass = scan.context.near(Kind::Passport, 48);
    let is_filled = scan.at(token.end) == b'<' && scan.at(token.end + 1) != b'/';
    let is_machine_line = is_filled || scan.before(token.start) == b'<';
    if !(is_card || is_pass || is_machine_line) || scan.context.is_other() {
        return None;
    }
    let rule = if is_pass { "passport" } else { "id-card" };
    let checked = scan.shaped(token.start, b"*********9").filter(|paper| {
        paper.chars()[..9].iter().all(|c| is_paper_letter(*c))
            && icao_check(&paper.chars()[..9]) == paper.chars()[9]
    });
    if let Some(paper) = checked {
        return Some(hit(paper.range(), Class::Identity, rule, 95));
    }
    let bare = scan.shaped(token.start, b"*********")?;
    let digits = bare.chars().iter().filter(|c| c.is_ascii_digit()).count();
    let fits = bare.chars().iter().all(|c| is_paper_letter(*c)) && digits >= 3 && !is_machine_line;
    fits.then(|| hit(bare.range(), Class::Identity, rule, 80))
}

/// What German papers are numbered with: no vowels, no letter that looks like a digit.
fn is_paper_letter(c: u8) -> bool {
    c.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(&c)
}

/// The check digit of a field of a travel document, as a character (ICAO 9303, part 3).
pub(super) fn icao_check(chars: &[u8]) -> u8 {
    let sum: u32 = chars
        .iter()
        .zip([7, 3, 1].into_iter().cycle())
        .map(|(c, weight)| weight * u32::from(if c.is_ascii_digit() { c - b'0' } else { c - b'A' + 10 }))
        .sum();
    b'0' + u8::try_from(sum % 10).unwrap_or_default()
}

/// A number in the commercial register. `HRB` is also a hardness, of at most three digits.
fn register(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let digits = token.end - token.start;
    let is_code = scan.context.near(Kind::RegisterCode, 6);
    let is_named = scan.context.near(Kind::Register, 64);
    let fits = (1..=6).contains(&digits) && scan.bytes[token.start..token.end].iter().all(u8::is_ascii_digit);
    let score = match (is_code, is_named, digits) {
        (true, true, _) => 90,
        (true, false, 4..) => 70,
        _ => return None,
    };
    fits.then(|| hit(token.start..token.end, Class::Identity, "de-commercial-register", score))
}

/// A number plate, next to a word that names it: `B-MW 1234`.
fn plate(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    if !scan.context.near(Kind::Plate, 64) {
        return None;
    }
    let tail = &scan.bytes[token.digit..token.end];
    let electric = tail.last().is_some_and(|c| matches!(c, b'E' | b'H'));
    let digits = tail.len() - usize::from(electric);
    let numbers = (1..=4).contains(&digits) && tail[..digits].iter().all(u8::is_ascii_digit);
    let letters = if token.digit > token.start {
        token.start..token.digit
    } else {
        scan.letters_before(token.start, 2)?
    };
    let (_, district_end) = separator_before(scan.bytes, letters.start)?;
    let district = capitals_before(scan, district_end)?;
    let fits = numbers && letters.len() <= 2 && scan.bytes[letters].iter().all(u8::is_ascii_uppercase);
    fits.then(|| hit(district.start..token.end, Class::Identity, "de-plate", 85))
}

/// One to three capitals that end at `end`.
fn capitals_before(scan: &Scan<'_>, end: usize) -> Option<Range<usize>> {
    let head = scan.text.get(scan.floor..end)?;
    let capitals = head.chars().rev().take(4).take_while(|c| c.is_uppercase());
    let (count, length) = capitals.fold((0, 0), |(count, length), c| (count + 1, length + c.len_utf8()));
    let start = end - length;
    ((1..=3).contains(&count) && !scan.ends_in_latin(start)).then_some(start..end)
}
