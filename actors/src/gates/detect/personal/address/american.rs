//! American addresses: `123 Main St, Apt 4, Springfield, IL 62704`.

use super::{line_break, space, word_at, word_before};
use crate::gates::detect::found::{Class, Hit};
use crate::gates::detect::personal::context::Kind;
use crate::gates::detect::personal::{Scan, Token, hit};

/// Kinds of streets that hardly mean anything else after a number and a name.
const SURE: &[&str] = &[
    "street",
    "avenue",
    "ave",
    "boulevard",
    "blvd",
    "road",
    "rd",
    "lane",
    "ln",
    "parkway",
    "pkwy",
    "highway",
    "hwy",
    "st",
    "drive",
    "turnpike",
    "crescent",
    "mews",
    "terrace",
];
/// Kinds that need a town, a flat or a word that says that it is an address.
const UNSURE: &[&str] = &[
    "dr", "court", "ct", "way", "place", "pl", "ter", "circle", "cir", "square", "sq", "trail", "trl",
    "broadway", "close", "gardens", "hill", "row", "loop", "plaza", "alley",
];
const STATES: &str = "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR VI GU AS MP AA AE AP";
const UNITS: &[&str] = &["apt", "apartment", "suite", "ste", "unit", "floor", "flat", "room", "rm", "bldg"];
/// Words before a number that make it a year or a count.
const NO_HOUSE: &[&str] = &[
    "in", "since", "by", "the", "top", "of", "until", "from", "late", "early", "page", "about", "over",
    "all", "our", "these", "those", "season", "episode",
];
/// Words of a street name.
const MOST_WORDS: usize = 4;

/// A street with the house number at the token, with flat, town, state and code behind it.
pub(super) fn street(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    let text = &scan.bytes[token.start..token.end];
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let is_number = (1..=5).contains(&digits) && text.len() <= digits + 1 && text[0] != b'0';
    if !is_number {
        return None;
    }
    let (mut end, sure) = name(scan, space(scan, token.end)?)?;
    let unit = unit_after(scan, end);
    end = unit.unwrap_or(end);
    let town = town_after(scan, end);
    let is_named = scan.context.near(Kind::Address, 64);
    let is_count = || {
        let gap = token.start.checked_sub(1)?;
        let word = word_before(scan, gap)?.text.to_lowercase();
        let is_year = digits == 4 && matches!(&text[..2], b"19" | b"20");
        (NO_HOUSE.contains(&word.as_str())
            && (is_year || matches!(word.as_str(), "the" | "top" | "season" | "episode" | "page")))
        .then_some(())
    };
    let score = match (town.is_some(), unit.is_some() || is_named, sure) {
        (true, ..) => 95,
        (false, true, true) => 85,
        (false, true, false) => 70,
        (false, false, true) if is_count().is_none() => 60,
        _ => 0,
    };
    Some(hit(token.start..town.unwrap_or(end), Class::Address, "address-us", score))
        .filter(|hit| hit.score > 0)
}

/// One past the street name at `start`, and whether its kind says that it is one.
fn name(scan: &Scan<'_>, start: usize) -> Option<(usize, bool)> {
    let mut at = start;
    for index in 0..=MOST_WORDS {
        let word = word_at(scan, at)?;
        let bare = word.text.trim_end_matches('.');
        let lower = bare.to_lowercase();
        let sure = SURE.contains(&lower.as_str());
        let is_kind = index > 0 && (sure || UNSURE.contains(&lower.as_str()));
        let end = word.start + bare.len();
        let next = space(scan, word.end);
        // `100 St James Place`: the kind is the last word that can be one.
        let goes_on = next.and_then(|at| word_at(scan, at)).is_some_and(|word| {
            let lower = word.text.trim_end_matches('.').to_lowercase();
            SURE.contains(&lower.as_str()) || UNSURE.contains(&lower.as_str())
        });
        if is_kind && word.is_capitalised() && !goes_on {
            let direction = next
                .and_then(|at| word_at(scan, at))
                .filter(|word| matches!(word.text, "N" | "S" | "E" | "W" | "NW" | "NE" | "SW" | "SE"));
            return Some((direction.map_or(end, |word| word.end), sure));
        }
        let is_ordinal = word.text.starts_with(|c: char| c.is_ascii_digit())
            && ["st", "nd", "rd", "th"].iter().any(|tail| lower.ends_with(tail));
        let is_name = (word.is_capitalised() && (!word.text.ends_with('.') || bare.len() <= 2)) || is_ordinal;
        if !is_name {
            return None;
        }
        at = next?;
    }
    None
}

/// One past `, Apt 4B`, `Suite 200`, `#5` that follows `at`.
fn unit_after(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let start = line_break(scan, if scan.at(at) == b'.' { at + 1 } else { at });
    if scan.at(start) == b'#' {
        return word_at(scan, start + 1).map(|word| word.end);
    }
    let word = word_at(scan, start)?;
    let is_unit = UNITS.contains(&word.text.trim_end_matches('.').to_lowercase().as_str());
    let number = is_unit.then(|| word_at(scan, space(scan, word.end)?))??;
    Some(scan.text[..number.end].trim_end_matches('.').len())
}

/// One past `, Springfield, IL 62704-1234` that follows `at`.
fn town_after(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let mut at = line_break(scan, if scan.at(at) == b'.' { at + 1 } else { at });
    // Up to three words of the town, then the state.
    for index in 0..4 {
        let word = word_at(scan, at)?;
        if index > 0 && word.text.len() == 2 && STATES.split(' ').any(|state| state == word.text) {
            let code = space(scan, word.end)?;
            let digits = scan.bytes.get(code..code + 5)?.iter().all(u8::is_ascii_digit);
            let more =
                scan.at(code + 5) == b'-' && (6..10).all(|ahead| scan.at(code + ahead).is_ascii_digit());
            let end = if more { code + 10 } else { code + 5 };
            return (digits && !scan.at(end).is_ascii_alphanumeric()).then_some(end);
        }
        if !word.is_capitalised() {
            return None;
        }
        at = line_break(scan, word.end);
        if at == word.end {
            return None;
        }
    }
    None
}
