//! German addresses: `Musterstraße 12a, 12345 Musterstadt`.

use super::{Word, line_break, space, space_before, word_at, word_before};
use crate::gates::detect::found::{Class, Hit};
use crate::gates::detect::personal::context::Kind;
use crate::gates::detect::personal::{Scan, Token, hit};

/// Ends of street names that hardly mean anything else, small letters.
const SURE: &[&str] = &["straße", "strasse", "str.", "str", "gasse", "allee", "chaussee"];
/// Ends that also mean other things.
const UNSURE: &[&str] = &[
    "weg",
    "platz",
    "ring",
    "damm",
    "ufer",
    "steig",
    "promenade",
    "markt",
    "hof",
    "park",
    "berg",
    "stieg",
    "pfad",
    "graben",
    "brücke",
    "zeile",
    "kamp",
    "winkel",
    "twiete",
    "wall",
    "tor",
    "garten",
    "anger",
    "wiese",
    "feld",
    "bogen",
    "siedlung",
    "reihe",
    "heide",
    "grund",
    "halde",
    "rain",
    "redder",
    "höhe",
    "blick",
    "insel",
    "quai",
    "kai",
    "bach",
];
/// What looks like a street and is none.
const NO_STREETS: &[&str] = &[
    "bundesstraße",
    "bundesstrasse",
    "milchstraße",
    "fertigungsstraße",
    "datenstraße",
    "straße",
    "strasse",
    "gasse",
    "spielplatz",
    "parkplatz",
    "arbeitsplatz",
    "sitzplatz",
    "stellplatz",
    "stehplatz",
    "lagerplatz",
    "sportplatz",
    "speicherplatz",
    "tennisplatz",
    "campingplatz",
    "listenplatz",
    "tabellenplatz",
    "startplatz",
    "studienplatz",
    "kitaplatz",
    "pflegeplatz",
    "schlafplatz",
    "liegeplatz",
    "ausbildungsplatz",
    "golfplatz",
    "fußballplatz",
    "radweg",
    "lösungsweg",
    "bildungsweg",
    "rettungsweg",
    "fluchtweg",
    "rechtsweg",
    "feldweg",
    "wanderweg",
    "umweg",
    "supermarkt",
    "arbeitsmarkt",
    "aktienmarkt",
    "bahnhof",
    "friedhof",
    "bauernhof",
    "monitoring",
    "beitrag",
];
/// Words that make a street with the one before: `Berliner Straße 5`.
const APART: &[&str] = &[
    "straße",
    "strasse",
    "str.",
    "str",
    "platz",
    "weg",
    "allee",
    "ring",
    "gasse",
    "damm",
    "ufer",
    "markt",
    "chaussee",
    "promenade",
    "steig",
    "tor",
    "wall",
    "hof",
];
/// Words that begin a street name: `Am Alten Markt 5`.
const OPENING: &[&str] = &[
    "am", "an", "auf", "im", "in", "zum", "zur", "unter", "hinter", "vor", "beim", "bei", "ober", "alte",
    "alter", "große", "kleine",
];
/// Words that no town is called.
const NO_TOWNS: &[&str] = &[
    "euro",
    "eur",
    "stück",
    "mann",
    "einwohner",
    "menschen",
    "mitarbeiter",
    "zuschauer",
    "kilometer",
    "meter",
    "tonnen",
    "jahre",
    "personen",
    "dollar",
    "franken",
    "exemplare",
    "teilnehmer",
    "fans",
    "liter",
    "watt",
    "kunden",
    "nutzer",
    "besucher",
    "schritte",
    "zeilen",
    "wörter",
    "zeichen",
    "punkte",
    "prozent",
    "soldaten",
    "arbeitsplätze",
    "wohnungen",
];

/// A street with the house number at the token, and the town behind it.
pub(super) fn street(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    // A word ends there, perhaps an abbreviated one.
    let before = scan.before(token.start);
    if !(before == b'.'
        || before == b' ' && !scan.before(token.start.saturating_sub(1)).is_ascii_digit()
        || before >= 0x80)
    {
        return None;
    }
    let number_end = house_number(scan, token)?;
    let gap = space_before(scan, token.start).unwrap_or(token.start);
    let last = word_before(scan, gap)?;
    if !last.text.contains(char::is_alphabetic) {
        return None;
    }
    let lower = last.text.to_lowercase();
    let glued = gap == token.start;
    // Without a space only an abbreviation ends before a number: `Hauptstr.5`.
    if glued && !lower.ends_with("str.") {
        return None;
    }
    if !last.text.starts_with(char::is_uppercase) && !APART.contains(&lower.as_str()) {
        return None;
    }
    let town_end = town_after(scan, number_end);
    let is_named = scan.context.near(Kind::Address, 64);
    let (start, sure) = name(scan, &last, &lower, town_end.is_some(), is_named)?;
    let score = match (town_end.is_some(), sure, is_named) {
        (true, ..) => 95,
        (false, true, true) => 85,
        (false, true, false) => 60,
        (false, false, true) => 70,
        (false, false, false) => 0,
    };
    Some(hit(start..town_end.unwrap_or(number_end), Class::Address, "address-de", score))
}

/// Where the street name that ends with `last` begins, and whether its end says that it is one.
fn name(
    scan: &Scan<'_>,
    last: &Word<'_>,
    lower: &str,
    has_town: bool,
    is_named: bool,
) -> Option<(usize, bool)> {
    if last.text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let is_address = has_town || is_named;
    let previous = || word_before(scan, space_before(scan, last.start)?);
    if APART.contains(&lower) {
        let before = previous().filter(|word| {
            word.is_capitalised() && !word.text.ends_with('.') || OPENING.contains(&word.text)
        })?;
        let sure =
            SURE.contains(&lower) || (lower != "platz" && lower != "weg" && before.text.ends_with("er"));
        let is_place = before.text.ends_with("er") && before.text.len() > 4;
        return (before.is_capitalised() && (SURE.contains(&lower) || is_place || is_address))
            .then(|| (opening(scan, before.start), sure || is_place));
    }
    if !last.is_capitalised() || (NO_STREETS.contains(&lower) && !has_town) {
        return None;
    }
    if SURE.iter().any(|end| lower.ends_with(end) && lower.len() > end.len() + 1) {
        return Some((opening(scan, last.start), true));
    }
    let unsure = UNSURE.iter().any(|end| lower.ends_with(end) && lower.len() > end.len() + 1);
    // With a town behind it, `Am Alten Markt 5` and `Schlossberg 3` are addresses too.
    let start = opening(scan, last.start);
    (is_address && (unsure || start < last.start || last.text.len() > 4)).then_some((start, false))
}

/// Where the name that goes on at `start` begins: up to three words such as `An der Alten`.
fn opening(scan: &Scan<'_>, start: usize) -> usize {
    let mut words = Vec::with_capacity(3);
    let mut at = start;
    while words.len() < 3 {
        let Some(word) = space_before(scan, at).and_then(|gap| word_before(scan, gap)) else { break };
        at = word.start;
        words.push(word);
    }
    let opens =
        |word: &Word<'_>| word.is_capitalised() && OPENING.contains(&word.text.to_lowercase().as_str());
    let joins = |word: &Word<'_>| {
        word.is_capitalised() || matches!(word.text, "der" | "den" | "dem" | "des" | "alten" | "und")
    };
    let Some(last) = words.iter().position(opens) else { return start };
    if words[..last].iter().all(joins) { words[last].start } else { start }
}

/// One past the house number at the token: `12`, `12a`, `12 a`, `5-7`.
fn house_number(scan: &Scan<'_>, token: &Token) -> Option<usize> {
    let text = &scan.bytes[token.start..token.end];
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let letter = text.len() == digits || (text.len() == digits + 1 && text[digits].is_ascii_alphabetic());
    if !(1..=4).contains(&digits) || !letter || text[0] == b'0' {
        return None;
    }
    // Not the number of a list, a time, a price.
    let next = scan.at(token.end);
    if (matches!(next, b',' | b'.' | b':') && scan.at(token.end + 1).is_ascii_digit()) || next == b'%' {
        return None;
    }
    let mut end = token.end;
    if next == b'-' || next == b'/' {
        let more = (1..=4).take_while(|ahead| scan.at(end + ahead).is_ascii_digit()).count();
        if more > 0 && !scan.at(end + 1 + more).is_ascii_digit() {
            end += 1 + more;
        }
    } else if next == b' '
        && scan.at(end + 1).is_ascii_lowercase()
        && matches!(scan.at(end + 2), b',' | b'\n' | b'\r')
    {
        end += 2;
    }
    Some(end)
}

/// One past `, 12345 Musterstadt` that follows `at`.
fn town_after(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let start = line_break(scan, at);
    let start = if scan.text.get(start..)?.starts_with("D-") { start + 2 } else { start };
    (start > at).then(|| town_at(scan, start))?
}

/// One past the postal code at `start` and the town behind it.
fn town_at(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let code = scan.bytes.get(start..start + 5)?;
    if !code.iter().all(u8::is_ascii_digit) || code.starts_with(b"00") {
        return None;
    }
    let mut town = word_at(scan, space(scan, start + 5)?)?;
    let is_town = town.is_capitalised()
        && town.text.chars().count() >= 3
        && !town.text.contains(|c: char| c.is_ascii_digit());
    if !is_town || NO_TOWNS.contains(&town.text.to_lowercase().as_str()) {
        return None;
    }
    // `Bad Musterstadt`, `Frankfurt am Main`: at most two more words.
    for _ in 0..2 {
        let Some(next) = space(scan, town.end).and_then(|at| word_at(scan, at)) else { break };
        let joins = matches!(
            town.text,
            "Bad" | "Sankt" | "St." | "Markt" | "Neu" | "am" | "an" | "der" | "im" | "ob"
        ) || matches!(next.text, "am" | "an" | "der" | "im" | "ob");
        if !joins {
            break;
        }
        town = next;
    }
    Some(scan.text[..town.end].trim_end_matches(['.', '-', '\'', '’']).len())
}

/// A postal code with its town, next to a word that says that somebody is there.
pub(super) fn town(scan: &Scan<'_>, token: &Token) -> Option<Hit> {
    if token.end - token.start != 5 || !scan.context.near(Kind::Address, 48) {
        return None;
    }
    let end = town_at(scan, token.start)?;
    Some(hit(token.start..end, Class::Address, "address-de", 65))
}
