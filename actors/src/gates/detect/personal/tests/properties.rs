//! Promises for any number, any frame and any text.

use proptest::prelude::*;

use super::*;

/// Words that say nothing about a number.
const FRAMES: &[(&str, &str)] = &[
    ("", ""),
    ("please use ", " for this."),
    ("(", ")"),
    ("Hier: ", ", danke!"),
    ("- ", "\n- next"),
    ("„", "“"),
    ("{\"value\": \"", "\"}"),
    ("Überweise bitte an ", " – bis morgen"),
    ("| ", " | ok |"),
    ("🙂 ", " 🙂"),
];
const SEPARATORS: &[&str] = &["", " ", "-", ".", "\u{a0}", "\u{202f}", "\u{2011}"];

/// `text` in groups of these lengths, the last one repeated.
fn grouped(text: &str, lengths: &[usize], separator: &str) -> String {
    let mut groups = Vec::new();
    let mut rest = text;
    let mut lengths = lengths.iter().chain(std::iter::repeat(lengths.last().unwrap()));
    while !rest.is_empty() {
        let (group, tail) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
        groups.push(group);
        rest = tail;
    }
    groups.join(separator)
}

fn is_found_framed(value: &str, class: Class, frame: usize) -> bool {
    let (before, after) = FRAMES[frame];
    let text = format!("{before}{value}{after}");
    let range = before.len()..before.len() + value.len();
    hits(&text).iter().any(|hit| hit.class == class && hit.range == range)
}

/// How many of `count` pseudo-random texts of `length` digits are hit.
fn rate(length: usize, count: usize, class: Class) -> f64 {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut digit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from((state >> 33) % 10).unwrap())
    };
    let is_hit = |text: &String| hits(text).iter().any(|hit| hit.class == class);
    let texts = (0..count).map(|_| (0..length).map(|_| digit()).collect::<String>());
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let rate = texts.filter(is_hit).count() as f64 / count as f64;
    rate
}

#[test]
fn chance_passes_no_more_often_than_the_checksums_do() {
    assert!(rate(16, 20_000, Class::Card) <= 0.1);
    assert!(rate(15, 20_000, Class::Card) <= 0.1);
    assert!(rate(11, 20_000, Class::TaxId) <= 0.1);
    assert!(rate(9, 5_000, Class::SocialId) <= f64::EPSILON);
    assert!(rate(10, 5_000, Class::Phone) <= f64::EPSILON);
    assert!(rate(12, 5_000, Class::Phone) <= 0.01);
}

fn tax_ids() -> impl Strategy<Value = String> {
    // Nine different digits, one of them twice, the first not 0.
    let digits = Just((0..10_u8).collect::<Vec<_>>()).prop_shuffle();
    (digits, 0..9_usize, 1..10_usize).prop_filter_map("starts with 0", |(mut digits, twice, at)| {
        digits.truncate(9);
        digits.insert(at, digits[twice]);
        (digits[0] != 0).then(|| tax_id(&text_of(&digits)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_account_is_found(
        (country, length) in prop::sample::select(vec![("DE", 22), ("AT", 20), ("CH", 21), ("NO", 15), ("PL", 28), ("FR", 27)]),
        digits in "[0-9]{30}", separator in prop::sample::select(SEPARATORS), frame in 0..FRAMES.len(), small in any::<bool>(),
    ) {
        let account = grouped(&iban(country, &digits[..length - 4]), &[4], separator);
        let account = if small { account.to_lowercase() } else { account };
        prop_assert!(is_found_framed(&account, Class::Iban, frame), "{account}");
    }

    #[test]
    fn any_card_is_found(
        (head, rest, groups) in prop::sample::select(vec![
            ("4", 14, &[4_usize][..]), ("51", 13, &[4]), ("37", 12, &[4, 6, 5]), ("6011", 11, &[4]), ("3530", 11, &[4]),
        ]),
        digits in "[1-9][0-9]{18}", separator in prop::sample::select(SEPARATORS), frame in 0..FRAMES.len(),
    ) {
        let number = grouped(&card(&format!("{head}{}", &digits[..rest])), groups, separator);
        prop_assert!(is_found_framed(&number, Class::Card, frame), "{number}");
    }

    #[test]
    fn any_tax_id_is_found(
        id in tax_ids(), separator in prop::sample::select(SEPARATORS), frame in 0..FRAMES.len(),
    ) {
        let id = grouped(&id, &[2, 3], separator);
        prop_assert!(is_found_framed(&id, Class::TaxId, frame), "{id}");
    }

    #[test]
    fn any_insurance_number_is_found(
        area in 2..90_u32, day in 1..32_u32, month in 1..13_u32, year in 0..100_u32, letter in "[A-Z]", serial in 0..100_u32,
        eight in "[0-9]{8}", separator in prop::sample::select(SEPARATORS), frame in 0..FRAMES.len(),
    ) {
        let rv = pension(&format!("{area:02}{day:02}{month:02}{year:02}{letter}{serial:02}"));
        let rv = grouped(&rv, &[2, 6, 1, 3], separator);
        prop_assert!(is_found_framed(&rv, Class::SocialId, frame), "{rv}");
        let kv = health(&format!("{letter}{eight}"));
        prop_assert!(is_found_framed(&kv, Class::SocialId, frame), "{kv}");
    }

    #[test]
    fn hits_are_sorted_disjoint_and_on_boundaries(
        text in "([0-9]{1,5}|[-+./() ]|\\PC|[äß€„\u{a0}\u{202f}\u{2011}]|Tel\\.|IBAN|DE89|Postfach |straße |Main St|geb\\. |Ausweis |::|Kennzeichen B-){0,80}",
    ) {
        let mut last = 0;
        for hit in hits(&text) {
            prop_assert!(hit.range.start >= last && hit.range.end > hit.range.start, "{hit:?}");
            prop_assert!(text.get(hit.range.clone()).is_some(), "{hit:?}");
            prop_assert!((REPORTED..=100).contains(&hit.score));
            last = hit.range.end;
        }
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        hits(&text);
    }
}
