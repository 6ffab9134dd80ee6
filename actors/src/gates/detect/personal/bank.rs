//! Bank accounts (ISO 13616) and payment cards (ISO/IEC 7812).

use super::context::Kind;
use super::run::Run;
use super::{LABEL, Scan, Token, hit};
use crate::gates::detect::found::{Class, Hit};

/// Country and length, from the IBAN registry and its partial adopters.
const LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AO", 25),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BF", 28),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BJ", 28),
    (b"BR", 29),
    (b"BY", 28),
    (b"CF", 27),
    (b"CG", 27),
    (b"CH", 21),
    (b"CI", 28),
    (b"CM", 27),
    (b"CR", 22),
    (b"CV", 25),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GA", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GQ", 27),
    (b"GR", 27),
    (b"GT", 28),
    (b"GW", 25),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IR", 26),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KM", 27),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MG", 27),
    (b"MK", 19),
    (b"ML", 28),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"MZ", 25),
    (b"NE", 28),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SN", 28),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TD", 27),
    (b"TG", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Digits that an IBAN has at least; words that happen to fit have fewer.
const LEAST_DIGITS: usize = 8;

/// An IBAN whose country code begins the token, follows `IBAN` in it, or stands one separator
/// before it.
pub(super) fn iban(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let head = &scan.bytes[token.start..token.digit];
    let start = match head.len() {
        0 => {
            let country = scan.letters_before(token.start, 2)?;
            (country.len() == 2).then_some(country.start)?
        }
        2 => token.start,
        6 if head[..4].eq_ignore_ascii_case(b"iban") => token.start + 4,
        _ => return None,
    };
    let country = [scan.bytes[start].to_ascii_uppercase(), scan.bytes[start + 1].to_ascii_uppercase()];
    let at = LENGTHS.binary_search_by(|(code, _)| code.as_slice().cmp(&country)).ok()?;
    let pattern = b"AA99******************************";
    let iban = scan.shaped(start, &pattern[..usize::from(LENGTHS[at].1)])?;
    let digits = iban.chars().iter().filter(|c| c.is_ascii_digit()).count();
    // A label right before it counts although a digit is wrong: it is somebody's all the same.
    let is_named = head.len() == 6 || scan.context.nearest(Kind::Iban, LABEL);
    let score = match mod_97(iban.chars()) {
        1 => 98,
        _ if is_named => 75,
        _ => return None,
    };
    (digits >= LEAST_DIGITS).then(|| hit(iban.range(), Class::Iban, "iban", score))
}

/// The remainder by 97 of an IBAN, its first four characters moved to the end and letters counted
/// from 10 (ISO 7064, MOD 97-10). A valid one gives 1.
pub(super) fn mod_97(iban: &[u8]) -> u32 {
    let (head, rest) = iban.split_at(4);
    rest.iter().chain(head).fold(0, |remainder, c| match c {
        b'0'..=b'9' => (remainder * 10 + u32::from(c - b'0')) % 97,
        _ => (remainder * 100 + u32::from(c - b'A') + 10) % 97,
    })
}

/// A payment card whose number starts the run.
pub(super) fn card(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    // The longest one wins: a shorter number may pass by chance.
    (1..=run.groups()).rev().find_map(|groups| {
        let digits = run.digits(groups);
        if !(13..=19).contains(&digits.len()) || !is_issued(digits) {
            return None;
        }
        let is_labelled = scan.context.nearest(Kind::Card, LABEL) && is_printed(run, groups);
        if luhn(digits) != 0 {
            return is_labelled.then(|| hit(run.start..run.end(groups), Class::Card, "payment-card", 75));
        }
        let range = run.start..run.end(groups);
        let same = digits.iter().all(|digit| *digit == digits[0]);
        let is_named = scan.context.nearest(Kind::Card, 48);
        let is_grouped = is_printed(run, groups);
        let refused = scan.context.is_other() || scan.is_glued(&range) || same || !is_grouped;
        let score = if is_named && !same {
            95
        } else if refused {
            0
        } else {
            80
        };
        Some(hit(range, Class::Card, "payment-card", score))
    })
}

/// Whether the groups are those on a card, or digit by digit, with one kind of separator.
fn is_printed(run: &Run, groups: usize) -> bool {
    let lengths = |shape: &[usize]| groups == shape.len() && run.is_shaped(shape);
    let one_kind = groups == 1 || run.is_separated_by(groups, run.gap(0));
    let shaped = groups == 1
        || lengths(&[4, 4, 4, 4])
        || lengths(&[4, 6, 5])
        || lengths(&[4, 6, 4])
        || lengths(&[4, 4, 4, 4, 3])
        || lengths(&[4, 4, 4, 1])
        || lengths(&[6, 13])
        || lengths(&[8, 8])
        || (0..groups).all(|index| run.length(index) == 1)
        || (0..groups).all(|index| run.length(index) == 2);
    one_kind && shaped
}

/// The Luhn sum modulo 10 (ISO/IEC 7812-1); 0 for a valid number.
pub(super) fn luhn(digits: &[u8]) -> u32 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let value = u32::from(*digit) << (index % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum % 10
}

/// Whether a card network gives out numbers with this head and length.
fn is_issued(digits: &[u8]) -> bool {
    let head =
        |count: usize| digits[..count].iter().fold(0_u32, |value, digit| value * 10 + u32::from(*digit));
    let length = digits.len();
    match head(4) {
        // Visa
        4000..=4999 => matches!(length, 13 | 16 | 19),
        // Mastercard
        5100..=5599 | 2221..=2720 => length == 16,
        // American Express
        3400..=3499 | 3700..=3799 => length == 15,
        // Diners Club
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&length),
        // Discover, UnionPay
        6011 | 6440..=6599 => (16..=19).contains(&length),
        6200..=6299 | 8100..=8171 => (16..=19).contains(&length),
        // JCB
        3528..=3589 => (16..=19).contains(&length),
        // Maestro
        5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763 => (13..=19).contains(&length),
        // Mir
        2200..=2204 => (16..=19).contains(&length),
        _ => false,
    }
}
