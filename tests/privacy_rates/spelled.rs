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
        // Only the letters of one byte are found one by one.
        if self.name == "letter by letter" && !value.is_ascii()
            || value.len() < self.least
            || (self.least > 0 && value.contains('\n'))
        {
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
        if frame.contains("JSON") && !is_own {
            let escaped = |text: &str| serde_json::Value::from(text).to_string().trim_matches('"').to_owned();
            return Some((frame.replace("JSON", &escaped(&text)), escaped(&spelled)));
        }
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
    split("put together", |text| format!("\"{}\"", quoted(text, 9).join("\" + \""))),
    split("joined", |text| format!("[\"{}\"].join(\"\")", quoted(text, 9).join("\", \""))),
    split("over lines", |text| pieces(text, 15).join("\\\n")),
    way("escaped", "JSON, twice", |text| each(text, |c| format!("\\\\u{:04x}", c as u32))),
    way("escaped", "entities, hex", |text| each(text, |c| format!("&#x{:X};", c as u32))),
    way("escaped", "source code", |text| bytes(text, |byte| format!("\\x{byte:02x}"))),
    encoded("base64 for URLs", |text| {
        base64(text).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
    }),
    encoded("base64 in lines", |text| pieces(&base64(text), 76).join("\n")),
    encoded("hex, capitals", |text| bytes(text, |byte| format!("{byte:02X}"))),
    encoded("base64 of UTF-16", |text| {
        base64_of(&text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
    }),
    way("hidden", "tags", tags),
    way("hidden", "joined letters", |text| between(text, "\u{2060}")),
    way("hidden", "bold letters", bold),
    split("wrapped with CRLF", |text| pieces(text, 17).join("\r\n")),
    split("wrapped and indented", |text| pieces(text, 13).join("\n    ")),
    split("wrapped and quoted", |text| pieces(text, 16).join("\n> ")),
    split("put together in lines", |text| format!("'{}'", quoted(text, 11).join("' +\n  '"))),
    split("side by side", |text| format!("\"{}\"", quoted(text, 10).join("\" \""))),
    split("with dots", |text| format!("'{}'", quoted(text, 8).join("' . '"))),
    split("joined in Python", |text| format!("''.join(['{}'])", quoted(text, 9).join("', '"))),
    split("letter by letter", |text| between(text, " ")),
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
    "> {}\n> ok?\n\nYes.",
    "| 17 | {} | open |\n",
    "<p>{}</p>",
    "请看：{}。谢谢",
    "- first\n- {}\n- none\n",
    "(siehe: {})",
    "```\n{}\n```",
    "# note\nkeep: 1\nnote={}\nlast=2",
    "{\"role\":\"user\",\"content\":\"JSON\"}",
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

/// The pieces of a text in quotes, which are escaped inside.
fn quoted(text: &str, width: usize) -> Vec<String> {
    pieces(text, width).iter().map(|piece| piece.replace('"', "\\\"").replace('\'', "\\'")).collect()
}

fn pieces(text: &str, width: usize) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(width).map(|chunk| chunk.iter().collect()).collect()
}

pub(crate) fn base64(text: &str) -> String {
    base64_of(text.as_bytes())
}

fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
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

fn tags(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(0xE0000 + c as u32).unwrap_or(c) } else { c })
        .collect()
}

fn bold(text: &str) -> String {
    let bold = |c: char, first: char, to: u32| char::from_u32(to + (c as u32 - first as u32)).unwrap_or(c);
    text.chars()
        .map(|c| match c {
            'A'..='Z' => bold(c, 'A', 0x1D400),
            'a'..='z' => bold(c, 'a', 0x1D41A),
            '0'..='9' => bold(c, '0', 0x1D7CE),
            other => other,
        })
        .collect()
}

fn full_width(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(c as u32 - 0x21 + 0xFF01).unwrap_or(c) } else { c })
        .collect()
}

/// Whether anybody could still read half of the value.
pub(crate) fn remains(cut: &str, spelled: &str) -> bool {
    let is_part = |c: &char| c.is_alphanumeric() || ('\u{E0000}'..='\u{E007F}').contains(c);
    let plain = |text: &str| text.chars().filter(is_part).collect::<Vec<_>>();
    let (rest, value) = (plain(cut), plain(spelled));
    if value.is_empty() {
        return cut.contains(spelled);
    }
    let half = value.len().div_ceil(2).max(4).min(value.len());
    // Any half of it, but the signs of spelling alone are none of it.
    [&value[..half], &value[value.len() - half..]]
        .iter()
        .any(|half| rest.windows(half.len()).any(|window| window == *half))
}
