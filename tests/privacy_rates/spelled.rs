//! Ways to write a value, and kinds of texts to put it in.

use super::planted::Planted;

/// The columns of the table.
pub(crate) const GROUPS: [&str; 5] = ["plain", "escaped", "encoded", "hidden", "split"];

pub(crate) struct Spelling {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    write: fn(&str) -> String,
    /// Whether the label is written so, too: nobody encodes a number alone.
    with_label: bool,
    least: usize,
}

impl Spelling {
    /// A text of this kind with the value, and how the value is spelled there.
    pub(crate) fn plant(&self, planted: &Planted, frame: &str) -> Option<(String, String)> {
        let Planted { before, value, after, .. } = planted;
        if value.len() < self.least || (self.least > 0 && value.contains('\n')) {
            return None;
        }
        let (spelled, text) = if self.with_label {
            let spelled = (self.write)(&format!("{before}{value}{after}"));
            (spelled.clone(), spelled)
        } else {
            let spelled = (self.write)(value);
            (spelled.clone(), format!("{before}{spelled}{after}"))
        };
        // What has lines of its own stands on its own.
        let is_own = planted.is_whole || value.contains('\n') || text.contains('\n') && frame.contains('"');
        Some((if is_own { text } else { frame.replace("{}", &text) }, spelled))
    }
}

const fn way(group: &'static str, name: &'static str, write: fn(&str) -> String) -> Spelling {
    Spelling { name, group, write, with_label: false, least: 0 }
}

const fn encoded(name: &'static str, write: fn(&str) -> String) -> Spelling {
    Spelling { name, group: "encoded", write, with_label: true, least: 0 }
}

const fn split(name: &'static str, write: fn(&str) -> String) -> Spelling {
    Spelling { name, group: "split", write, with_label: false, least: 20 }
}

pub(crate) const ALL: &[Spelling] = &[
    way("plain", "as it is", str::to_owned),
    way("escaped", "JSON", |text| each(text, |c| format!("\\u{:04x}", c as u32))),
    way("escaped", "URL", |text| bytes(text, |byte| format!("%{byte:02X}"))),
    way("escaped", "entities", |text| each(text, |c| format!("&#{};", c as u32))),
    encoded("base64", base64),
    encoded("hex", |text| bytes(text, |byte| format!("{byte:02x}"))),
    encoded("base64, two deep", |text| base64(&base64(text))),
    encoded("hex of base64", |text| bytes(&base64(text), |byte| format!("{byte:02x}"))),
    way("hidden", "zero-width", |text| between(text, "\u{200b}")),
    way("hidden", "soft hyphens", |text| between(text, "\u{ad}")),
    way("hidden", "look-alikes", look_alikes),
    way("hidden", "full width", full_width),
    split("wrapped", |text| pieces(text, 17).join("\n")),
    split("put together", |text| format!("\"{}\"", pieces(text, 9).join("\" + \""))),
    split("joined", |text| format!("[\"{}\"].join(\"\")", pieces(text, 9).join("\", \""))),
    split("over lines", |text| pieces(text, 15).join("\\\n")),
];

/// Code, talk, mail, tables, logs, settings, arguments of tools.
pub(crate) const FRAMES: &[&str] = &[
    "{}",
    "let config = load(); // {}\nrun(config)?;",
    "hey, can you check why this fails? {} – thanks",
    "Hallo zusammen,\n\nhier die Daten: {}\n\nViele Grüße",
    "id,note\n17,{}\n18,none\n",
    "2026-01-31T12:00:00Z INFO worker-3 {} took 12 ms",
    "service:\n  note: {}\n  replicas: 2\n",
    "{\"tool\": \"send\", \"arguments\": {\"text\": \"{}\"}}",
];

fn each(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn bytes(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn between(text: &str, sign: &str) -> String {
    text.chars().map(String::from).collect::<Vec<_>>().join(sign)
}

fn pieces(text: &str, width: usize) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(width).map(|chunk| chunk.iter().collect()).collect()
}

pub(crate) fn base64(text: &str) -> String {
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

fn look_alikes(text: &str) -> String {
    let pairs = [
        ('a', 'а'),
        ('c', 'с'),
        ('e', 'е'),
        ('o', 'о'),
        ('p', 'р'),
        ('x', 'х'),
        ('s', 'ѕ'),
        ('A', 'А'),
        ('K', 'К'),
    ];
    text.chars().map(|c| pairs.iter().find(|(plain, _)| *plain == c).map_or(c, |(_, other)| *other)).collect()
}

fn full_width(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(c as u32 - 0x21 + 0xFF01).unwrap_or(c) } else { c })
        .collect()
}

/// Whether anybody could still read half of the value.
pub(crate) fn remains(cut: &str, spelled: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<Vec<_>>();
    let (rest, value) = (plain(cut), plain(spelled));
    if value.is_empty() {
        return cut.contains(spelled);
    }
    let half = &value[..value.len().div_ceil(2).max(4).min(value.len())];
    rest.windows(half.len()).any(|window| window == half)
}
