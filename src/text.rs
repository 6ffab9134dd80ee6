//! Numbers, times and foreign text as people read them on a terminal. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use empire_actors::money::Micros;
use empire_actors::ports::{REDUCE_ITEM, UnixMillis};
use serde::Serialize as _;

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Microseconds in a unit that suits them: `840 µs`, `12.5 ms`, `4.5 s`.
#[must_use]
pub fn micros(micros: u64) -> String {
    match micros {
        ..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => duration(Duration::from_micros(micros)),
    }
}

/// A number with its noun: `1 call`, `2,000 calls`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", thousands(number))
}

/// A duration in its two largest units: `850 ms`, `4.5 s`, `3 h 20 min`, `50 days`.
#[must_use]
pub fn duration(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let millis = time.as_millis();
    if millis == 0 {
        return "0 s".into();
    }
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    if millis < 9_950 && !millis.is_multiple_of(1_000) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => two(seconds / MINUTE, "min", seconds % MINUTE, "s"),
        _ => {
            let minutes = (seconds + 30) / MINUTE;
            if minutes < 48 * 60 {
                return two(minutes / 60, "h", minutes % 60, "min");
            }
            let hours = (seconds + HOUR / 2) / HOUR;
            match hours / 24 {
                ..10 => two(hours / 24, "days", hours % 24, "h"),
                _ => format!("{} days", thousands((seconds + DAY / 2) / DAY)),
            }
        }
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// A time of the day, UTC: `14:20 UTC`.
#[must_use]
pub fn time_of_day(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| "?".to_owned(), |at| format!("{} UTC", at.strftime("%H:%M")))
}

/// A minute of a day, UTC: `2027-01-15 14:20 UTC`.
#[must_use]
pub fn minute(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| "?".to_owned(), |at| format!("{} UTC", at.strftime("%Y-%m-%d %H:%M")))
}

/// A size in binary units: `512 bytes`, `1.5 MiB`.
#[must_use]
pub fn bytes(size: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return count(size, "byte");
    }
    let mut scaled = size as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", units[unit])
}

/// A share: `80 %`, `12.3 %`, `<0.1 %`. Of nothing it is `0 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0 %".into();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if share < 0.1 {
        return "<0.1 %".into();
    }
    if part < whole && share > 99.9 {
        return ">99.9 %".into();
    }
    let shown = format!("{share:.1}");
    format!("{} %", shown.strip_suffix(".0").unwrap_or(&shown))
}

/// Money rounded for reading: cents from a dollar on, four decimals below, all six where less
/// would show nothing. The exact amount is what [`Micros`] itself displays.
#[must_use]
pub fn money(amount: Micros) -> String {
    let micros = amount.0;
    if micros >= 1_000_000 {
        let cents = micros.saturating_add(5_000) / 10_000;
        return format!("${}.{:02}", thousands(cents / 100), cents % 100);
    }
    if micros < 100 {
        return amount.to_string();
    }
    Micros((micros + 50) / 100 * 100).to_string()
}

/// Whether a character would do something to a terminal or a page rather than be shown:
/// controls, and the marks that reorder or hide text.
#[must_use]
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Foreign text on one line, safe for a terminal: what cannot be printed becomes a space, runs
/// of blanks one blank, and what is longer than `max` characters ends in `…`.
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    let printable = text.split(|c: char| c.is_whitespace() || is_unprintable(c));
    for word in printable.filter(|word| !word.is_empty()) {
        if length > 0 {
            shown.push(' ');
            length += 1;
        }
        shown.push_str(word);
        length += word.chars().count();
        if length > max {
            break;
        }
    }
    if length <= max {
        return shown;
    }
    let mut cut: String = shown.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Breaks text at blanks so that no line is wider than `width`; every line after the first
/// starts with `indent` blanks. A single word may still be wider.
#[must_use]
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            let _ = write!(wrapped, "\n{:indent$}", "");
            column = indent;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

/// Which way a column of a [`table`] leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    Left,
    Right,
}

/// Rows as aligned columns, two blanks before the first and between each.
#[must_use]
pub(crate) fn table(leans: &[Lean], rows: &[Vec<String>]) -> String {
    let width_of = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..leans.len()).map(width_of).collect();
    let mut shown = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, lean), width) in row.iter().zip(leans).zip(&widths) {
            let _ = match lean {
                Lean::Left => write!(line, "  {cell:<width$}"),
                Lean::Right => write!(line, "  {cell:>width$}"),
            };
        }
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    shown
}

/// Colours, or none of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }
}

/// An item's number as people count, from 1; calls of the reduce are for none.
#[must_use]
pub fn item_number(item: u32) -> serde_json::Value {
    if item == REDUCE_ITEM { "reduce".into() } else { (u64::from(item) + 1).into() }
}

/// As [`item_number`], in words.
#[must_use]
pub fn item(item: u32) -> String {
    if item == REDUCE_ITEM { "reduce".to_owned() } else { (u64::from(item) + 1).to_string() }
}

/// As [`item_number`], for serde.
///
/// # Errors
/// The serializer's.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub fn serialize_item<S: serde::Serializer>(item: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    item_number(*item).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, shown) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (500_000, "500,000"), (12_345_678, "12,345,678")]
        {
            assert_eq!(thousands(number), shown);
        }
        assert_eq!(count(1, "call"), "1 call");
        assert_eq!(count(2_000, "call"), "2,000 calls");
        for (size, shown) in [(1, "1 byte"), (1_023, "1,023 bytes"), (1_536, "1.5 KiB"), (1 << 20, "1.0 MiB")]
        {
            assert_eq!(bytes(size), shown);
        }
        for (part, whole, shown) in [
            (0, 0, "0 %"),
            (1, 8, "12.5 %"),
            (4, 5, "80 %"),
            (1, 100_000, "<0.1 %"),
            (99_999, 100_000, ">99.9 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(percent(part, whole), shown);
        }
        for (micros, shown) in [
            (0, "$0.00"),
            (1, "$0.000001"),
            (1_743, "$0.0017"),
            (30_000, "$0.03"),
            (870_000_000, "$870.00"),
            (1_234_567_890, "$1,234.57"),
        ] {
            assert_eq!(money(Micros(micros)), shown);
        }
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        for (millis, shown) in [
            (0, "0 s"),
            (850, "850 ms"),
            (4_500, "4.5 s"),
            (5_000, "5 s"),
            (59_600, "1 min"),
            (125_000, "2 min 5 s"),
            (12_000_000, "3 h 20 min"),
            (300_000_000, "3 days 11 h"),
            (50 * 86_400_000, "50 days"),
            (10_000_000_000, "116 days"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(one_line("a\n\tb \u{1b}[2Jc\u{202e}d", 80), "a b [2Jc d");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    proptest! {
        #[test]
        fn one_line_is_one_line_and_short(text in "\\PC*|.*", max in 1usize..60) {
            let shown = one_line(&text, max);
            prop_assert!(shown.chars().count() <= max);
            prop_assert!(!shown.contains(is_unprintable));
        }

        #[test]
        fn wrapped_lines_keep_to_the_width(text in "([a-z]{1,9} ){0,30}", width in 20usize..80) {
            let wrapped = wrap(&text, width, 4);
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= width));
            prop_assert_eq!(
                wrapped.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
    }
}
