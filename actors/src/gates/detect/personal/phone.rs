//! Telephone numbers: international ones by their country code (E.164), German and American ones
//! by their shape, any other next to a word that names it.

use super::context::Kind;
use super::run::Run;
use super::{Scan, hit};
use crate::gates::detect::found::{Class, Hit};

/// Digits of a number with its country code: at most fifteen (E.164).
const MOST_DIGITS: usize = 15;

/// Digits that any number has at least.
const LEAST_DIGITS: usize = 6;

/// Country codes of two digits. Those of one are 1 and 7; all others have three.
const TWO_DIGIT_CODES: &[u8] = &[
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
    60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// First two digits of country codes of three.
const THREE_DIGIT_HEADS: &[u8] =
    &[21, 22, 23, 24, 25, 26, 29, 35, 37, 38, 42, 50, 59, 67, 68, 69, 80, 85, 87, 88, 96, 97, 99];

/// A telephone number that starts the run.
pub(super) fn find(scan: &Scan<'_>, run: &Run) -> Option<Hit> {
    if run.groups() == 0 || run.total(run.groups()) < LEAST_DIGITS {
        return None;
    }
    let found = if scan.before(run.start) == b'+' {
        international(scan, run, 0, run.start - 1)
    } else if scan.context.is_other() {
        None
    } else if run.digits(run.groups()).starts_with(&[0, 0]) {
        international(scan, run, 2, run.start)
    } else {
        let is_named = scan.context.nearest(Kind::Phone, 48);
        german(scan, run, is_named)
            .or_else(|| american(scan, run, is_named))
            .or_else(|| named(scan, run, is_named))
    };
    found.filter(|_| !is_date(run) && !is_amount(scan, run))
}

/// Groups that belong to one number: the run up to `most` digits, without what is a number of its
/// own: once there are `least` digits, the next one of a list starts with 0 or after a slash.
fn groups_within(run: &Run, most: usize, least: usize) -> usize {
    let mut groups = 1;
    while groups < run.groups() && run.total(groups + 1) <= most {
        let next = &run.digits(groups + 1)[run.total(groups)..];
        let is_new =
            run.total(groups) >= least && (next[0] == 0 && next.len() >= 3 || run.gap(groups - 1) == b'/');
        let is_date = run.total(groups) >= 8 && run.gap(groups - 1) == b' ' && run.gap(groups) == b'.';
        if is_new || is_date {
            break;
        }
        groups += 1;
    }
    groups
}

/// A number with a country code, whose digits begin after `skip` ones.
fn international(scan: &Scan<'_>, run: &Run, skip: usize, start: usize) -> Option<Hit> {
    let groups = groups_within(run, MOST_DIGITS + skip + 1, 10 + skip);
    let digits = run.digits(groups).get(skip..)?;
    let (code, length) = country(digits)?;
    let trunk = usize::from(digits.get(length) == Some(&0) && run.gap_after(skip + length) == Some(b'('));
    let national = &digits[length + trunk..];
    let is_plausible = match code {
        1 => is_american(national),
        49 => (6..=12).contains(&national.len()) && national[0] != 0,
        39 => (6..=11).contains(&national.len()),
        _ => (7..=MOST_DIGITS - length).contains(&national.len()) && national[0] != 0,
    };
    // `+49` behind a letter or digit is a sum; `0049` must not be the head of some other code.
    let is_glued = start > 0 && (scan.before(start).is_ascii_alphanumeric() || scan.ends_in_latin(start));
    let is_serial = skip > 0 && scan.is_glued(&(start..run.end(groups)));
    let is_far = skip > 0 && run.groups() == 1 && !matches!(code, 1 | 31..=34 | 39 | 41 | 43..=49);
    let is_named = scan.context.near(Kind::Phone, 48);
    let refused = is_glued || ((is_serial || is_far) && !is_named);
    (is_plausible && !refused).then(|| hit(start..run.end(groups), Class::Phone, "phone-international", 85))
}

/// The country code at the head of `digits`, and its length.
fn country(digits: &[u8]) -> Option<(u16, usize)> {
    let (first, second) = (*digits.first()?, *digits.get(1)?);
    let two = first * 10 + second;
    if first == 1 || first == 7 {
        Some((u16::from(first), 1))
    } else if TWO_DIGIT_CODES.contains(&two) {
        Some((u16::from(two), 2))
    } else if THREE_DIGIT_HEADS.contains(&two) {
        Some((u16::from(two) * 10 + u16::from(*digits.get(2)?), 3))
    } else {
        None
    }
}

/// Area codes of Germany that have three digits with their 0.
fn is_short_area(digits: &[u8]) -> bool {
    matches!(digits, [0, 3, 0] | [0, 4, 0] | [0, 6, 9] | [0, 8, 9])
}

/// A national number of Germany or one of its neighbours: 0, an area or a network, a subscriber.
fn german(scan: &Scan<'_>, run: &Run, is_named: bool) -> Option<Hit> {
    let groups = groups_within(run, 13, 8);
    let digits = run.digits(groups);
    let (Some(0), Some(1..=9)) = (digits.first(), digits.get(1)) else { return None };
    let total = digits.len();
    let area = run.length(0);
    let gap = if groups > 1 { run.gap(0) } else { 0 };
    let is_mobile =
        matches!(digits, [0, 1, 5 | 7, ..] | [0, 1, 6, 0 | 2 | 3, ..]) && (10..=12).contains(&total);
    let is_cell_shape = is_mobile && (if groups == 1 { total >= 11 } else { area >= 4 });
    let is_area = is_short_area(&digits[..area.min(3)]) && area == 3
        || (4..=6).contains(&area) && digits[1] >= 2 && !is_short_area(&digits[..3])
        || matches!(digits, [0, 2 | 7, 0..=9, ..] if area == 3 || area == 5);
    let is_landline = groups > 1 && is_area && (5..=9).contains(&(total - area));
    // Groups of one kind of separator, of which only a dash or a space goes on.
    let is_tidy = (1..groups.saturating_sub(1))
        .all(|index| matches!(run.gap(index), b' ' | b'-') || run.gap(index) == gap);
    let range = opened(scan, run)..run.end(groups);
    let is_glued = scan.is_glued(&range);
    let score = match gap {
        _ if is_named && (7..=12).contains(&total) => 90,
        _ if is_glued || !is_tidy => 0,
        _ if is_cell_shape => 75,
        b'/' | b')' | b'(' if is_landline => 75,
        // Behind other digits it is their tail.
        b' ' | b'-' if is_landline && !scan.follows_digit(run.start) && (9..=12).contains(&total) => 65,
        b'.' if is_landline && (9..=12).contains(&total) && area >= 3 => 55,
        _ => 0,
    };
    (score > 0).then(|| hit(range, Class::Phone, "phone-national", score))
}

/// Whether ten digits can be a number of North America: area and exchange start with 2 to 9, and
/// neither is a service code such as 911.
fn is_american(digits: &[u8]) -> bool {
    let is_part = |part: &[u8]| part[0] >= 2 && part[1..] != [1, 1];
    digits.len() == 10 && is_part(&digits[..3]) && is_part(&digits[3..6]) && digits[1] != 9
}

/// A number as it is printed in the United States: `(212) 555-0123`, `1-212-555-0123`.
fn american(scan: &Scan<'_>, run: &Run, is_named: bool) -> Option<Hit> {
    let trunk = usize::from(run.digits(1) == [1]);
    let groups = run.with_total(10 + trunk)?;
    let is_printed = groups == 3 + trunk && run.length(trunk) == 3 && run.length(trunk + 1) == 3;
    if !is_american(&run.digits(groups)[trunk..]) {
        return None;
    }
    let range = opened(scan, run)..run.end(groups);
    let score = match run.gap(trunk) {
        _ if is_named => 90,
        _ if scan.is_glued(&range) || !is_printed => 0,
        b')' | b'(' => 75,
        last @ (b'-' | b'.') if run.gap(trunk + 1) == last => 70,
        b' ' if trunk == 1 || run.gap(trunk + 1) == b'-' => 60,
        _ => 0,
    };
    (score > 0).then(|| hit(range, Class::Phone, "phone-us", score))
}

/// Any other number right behind a word that says that it is one.
fn named(scan: &Scan<'_>, run: &Run, is_named: bool) -> Option<Hit> {
    let groups = groups_within(run, MOST_DIGITS, 8);
    let total = run.total(groups);
    let is_year_range =
        run.is_shaped(&[4, 4]) && run.gap(0) == b'-' && matches!(run.digits(1), [1, 9, ..] | [2, 0, ..]);
    let close = scan.context.near(Kind::Phone, if total >= 10 { 40 } else { 16 });
    let fits = is_named && close && (6..=MOST_DIGITS).contains(&total) && !is_year_range;
    // A sum of money or people has groups of three.
    let is_sum =
        groups > 1 && run.length(0) <= 3 && (1..groups).all(|g| run.length(g) == 3) && run.gap(0) == b'.';
    let range = opened(scan, run)..run.end(groups);
    (fits && !is_sum && !scan.follows_digit(run.start) && !scan.ends_in_latin(run.start))
        .then(|| hit(range, Class::Phone, "phone-named", 75))
}

/// Where the number begins: before the parenthesis around its area.
fn opened(scan: &Scan<'_>, run: &Run) -> usize {
    let is_area = run.groups() > 1 && run.gap(0) == b')' && scan.before(run.start) == b'(';
    if is_area { run.start - 1 } else { run.start }
}

/// Whether the run starts with a date.
fn is_date(run: &Run) -> bool {
    let shapes: [&[usize]; 5] = [&[2, 2, 4], &[4, 2, 2], &[1, 2, 4], &[1, 1, 4], &[2, 1, 4]];
    shapes.iter().any(|shape| run.is_shaped(shape)) && run.gap(0) == run.gap(1) && run.gap(0) != b' '
}

/// Whether the run is a price, a share or a measure: a currency before, a decimal or a unit behind.
fn is_amount(scan: &Scan<'_>, run: &Run) -> bool {
    let before = scan.text.get(..run.start).unwrap_or_default().trim_end_matches(' ');
    let behind = scan.text.get(run.end(run.groups())..).unwrap_or_default();
    let is_decimal = behind.starts_with(',') && behind[1..].starts_with(|c: char| c.is_ascii_digit());
    let unit = behind.trim_start_matches([' ', '\u{a0}', '\u{202f}']);
    let is_unit = [
        "%",
        "€",
        "$",
        "£",
        "EUR",
        "Euro",
        "USD",
        "Dollar",
        "dollar",
        "km",
        "kg",
        "MB",
        "GB",
        "Uhr",
        "ms",
        "bytes",
        "Bytes",
        "Stück",
        "people",
        "users",
        "Einwohner",
        "°",
    ]
    .iter()
    .any(|word| unit.starts_with(word));
    is_decimal || is_unit || before.ends_with(['$', '€', '£', '§', '#'])
}
