//! Values that are written so that a search for them fails.

use proptest::prelude::*;

use super::{cut, host_token, token};

type Disguise = (&'static str, fn(&str) -> String);

fn each(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn between(text: &str, sign: &str) -> String {
    text.chars().map(String::from).collect::<Vec<_>>().join(sign)
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        out.extend((0..=chunk.len()).map(|n| char::from(DIGITS[(bits >> (18 - 6 * n)) as usize & 63])));
        out.push_str(&"=".repeat(3 - chunk.len()));
    }
    out
}

fn wrapped(text: &str, width: usize, line: &str) -> String {
    let chunks: Vec<&str> =
        text.as_bytes().chunks(width).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    chunks.join(line)
}

fn shifted(text: &str, lower: u32, upper: u32, digit: u32) -> String {
    text.chars()
        .map(|c| {
            let of = |base: char, first: u32| char::from_u32(first + c as u32 - base as u32).unwrap();
            match c {
                'a'..='z' => of('a', lower),
                'A'..='Z' => of('A', upper),
                '0'..='9' => of('0', digit),
                other => other,
            }
        })
        .collect()
}

fn look_alikes(text: &str) -> String {
    each(text, |c| {
        match c {
            'a' => 'а',
            'c' => 'с',
            'e' => 'е',
            'o' => 'о',
            'p' => 'р',
            'x' => 'х',
            's' => 'ѕ',
            'A' => 'А',
            'E' => 'Ε',
            'K' => 'К',
            other => other,
        }
        .to_string()
    })
}

const DISGUISES: &[Disguise] = &[
    ("as it is", str::to_owned),
    ("zero-width space", |text| between(text, "\u{200b}")),
    ("zero-width joiner", |text| between(text, "\u{200d}")),
    ("byte order mark", |text| between(text, "\u{feff}")),
    ("soft hyphen", |text| between(text, "\u{ad}")),
    ("direction marks", |text| between(text, "\u{202e}")),
    ("variation selectors", |text| between(text, "\u{fe0f}")),
    ("control characters", |text| between(text, "\u{1}")),
    ("combining marks", |text| each(text, |c| format!("{c}\u{301}"))),
    ("tag characters", |text| each(text, |c| char::from_u32(0xE0000 + c as u32).unwrap().to_string())),
    ("full width", |text| each(text, |c| char::from_u32(c as u32 - 0x21 + 0xFF01).unwrap().to_string())),
    ("mathematical", |text| shifted(text, 0x1D41A, 0x1D400, 0x1D7CE)),
    ("mathematical monospace", |text| shifted(text, 0x1D68A, 0x1D670, 0x1D7F6)),
    ("circled", |text| shifted(text, 0x24D0, 0x24B6, 0x30)),
    ("look-alikes", look_alikes),
    ("colours", |text| format!("\u{1b}[31m{}\u{1b}[0m", between(text, "\u{1b}[1m"))),
    ("JSON escapes", |text| each(text, |c| format!("\\u{:04x}", c as u32))),
    ("JSON escapes, twice", |text| each(text, |c| format!("\\\\u{:04X}", c as u32))),
    ("bytes escaped", |text| each(text, |c| format!("\\x{:02x}", c as u32))),
    ("braced escapes", |text| each(text, |c| format!("\\u{{{:x}}}", c as u32))),
    ("percent", |text| each(text, |c| format!("%{:02X}", c as u32))),
    ("percent, twice", |text| each(text, |c| format!("%25{:02X}", c as u32))),
    ("entities", |text| each(text, |c| format!("&#{};", c as u32))),
    ("hexadecimal entities", |text| each(text, |c| format!("&#x{:x};", c as u32))),
    ("full width in JSON", |text| each(text, |c| format!("\\u{:04x}", c as u32 - 0x21 + 0xFF01))),
    ("base64", base64),
    ("base64, twice", |text| base64(&base64(text))),
    ("base64 for URLs", |text| base64(text).replace('+', "-").replace('/', "_").replace('=', "")),
    ("base64 in lines", |text| wrapped(&base64(&text.repeat(3)), 40, "\n")),
    ("hexadecimal", |text| each(text, |c| format!("{:02x}", c as u32))),
    ("hexadecimal of base64", |text| each(&base64(text), |c| format!("{:02x}", c as u32))),
    ("base64 in UTF-16", |text| base64(&each(text, |c| format!("{c}\0")))),
    ("wrapped", |text| wrapped(text, 17, "\n")),
    ("wrapped and indented", |text| wrapped(text, 17, "\n    ")),
    ("wrapped and quoted", |text| wrapped(text, 17, "\n> ")),
    ("wrapped early", |text| wrapped(text, 7, "\r\n")),
    ("soft line breaks", |text| wrapped(text, 11, "=\n")),
    ("put together", |text| format!("\"{}\"", wrapped(text, 9, "\" + \""))),
    ("put together over lines", |text| format!("'{}'", wrapped(text, 9, "' +\n        '"))),
    ("put together by juxtaposition", |text| format!("\"{}\"", wrapped(text, 9, "\"\n    \""))),
    ("bold inside", |text| wrapped(text, 6, "**")),
    ("tags inside", |text| format!("<b>{}</b>", wrapped(text, 6, "</b><b>"))),
    ("spaced out", |text| between(text, " ")),
    ("dotted", |text| between(text, ".")),
];

const FRAMES: &[&str] = &[
    "{}",
    "use {} now",
    "Nimm bitte {} dafür.",
    "key = {}",
    "(see {})",
    "{\"note\": \"{}\"}",
    "a\n\n{}\n\nb",
];

/// Whether `text` still spells the value in letters that anybody could put together.
fn remains(cut: &str, disguised: &str) -> bool {
    let rest: Vec<char> = disguised.chars().filter(|c| c.is_alphanumeric()).collect();
    if rest.is_empty() {
        return cut.contains(disguised);
    }
    let half: String = rest[..rest.len() / 2].iter().collect();
    let plain: String = cut.chars().filter(|c| c.is_alphanumeric()).collect();
    plain.contains(&half)
}

#[test]
fn no_disguise_helps_a_token() {
    let mut survivors = Vec::new();
    for secret in [host_token(), token("sk-", "Zk8q3xW", 48), token("AKIA", "QZ7XV2", 16)] {
        for (name, disguise) in DISGUISES {
            let disguised = disguise(&secret);
            for frame in FRAMES {
                let text = frame.replace("{}", &disguised);
                let cut = cut(&text);
                if !cut.contains("<SECRET_") || remains(&cut, &disguised) {
                    survivors.push(format!("{name}: {text:?} became {cut:?}"));
                }
            }
        }
    }
    assert!(survivors.is_empty(), "{} survivors:\n{}", survivors.len(), survivors.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_token_in_any_disguise_and_frame_is_gone(
        body in "[A-Za-z0-9]{34}[0-9][a-z]", disguise in 0..DISGUISES.len(), frame in 0..FRAMES.len(),
    ) {
        let disguised = DISGUISES[disguise].1(&format!("ghp_{body}"));
        let text = FRAMES[frame].replace("{}", &disguised);
        let cut = cut(&text);
        prop_assert!(cut.contains("<SECRET_") && !remains(&cut, &disguised), "{}: {:?} became {:?}", DISGUISES[disguise].0, text, cut);
    }
}

#[test]
fn split_values_go_whatever_stands_around_them() {
    let account = "DE89370400440532013000";
    let half = format!(
        "{} {} {}\n{} {}",
        &account[..4],
        &account[4..8],
        &account[8..10],
        &account[10..14],
        &account[14..]
    );
    for text in [
        format!("auf {half} überweisen"),
        format!("service:\n  note: auf {half}\n  replicas: 2\n"),
        "nimm [\"Zw93z8qcd\", \"jV24RTVl2\", \"px\"].join(\"\") zum Einloggen".to_owned(),
        "nimm ''.join(['Zw93z8qcd', 'jV24RTVl2', 'px']) zum Einloggen".to_owned(),
        "passphrase: \"\"6HL4G0qZ6\" + \"VOn6RUUjc\" + \"rI\"\" took".to_owned(),
        "{\"content\":\"pw: \\\"6HL4G0qZ6\\\" + \\\"VOn6RUUjc\\\"\"}".to_owned(),
        format!("id,note\n17,{}\n18,none\n", base64("zahlt mit 4111 1111 1111 1111")),
        format!("id,note\n17,{}\n18,none\n", base64("IP: 2001:db8:85a3::8a2e:370:15fd")),
        "ship to 177 Maple Str\n    eet, Springfi\n    eld, IL 62776\nrun(config)?;".to_owned(),
    ] {
        let left = cut(&text);
        for piece in ["04004405", "3201", "jV24", "VOn6", "emFob", "SVA6", "Spring"] {
            assert!(!left.contains(piece), "{text:?} became {left:?}");
        }
    }
}

#[test]
fn what_stands_below_each_other_is_not_put_together() {
    for text in [
        "12345678\n87654321\n11223344\n",
        "total 4111 1111\n1111 1112 items\n",
        "page 12\n10 of 34 rooms\n2024\n",
        "a = \"x\", \"y\"\nb = [1, 2, 3]\nc = 4711\nd = 815\n",
        "- 3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3 2\n",
    ] {
        assert_eq!(cut(text), text);
    }
}
