//! Letters that look like others, or like nothing: Unicode's compatibility forms, look-alikes,
//! marks and invisible characters.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::Unit;

/// A word is looked at so far to each side.
const MOST_WORD: usize = 128;

/// Whether the word at hand mixes scripts; remembered, so that each word is looked at once.
#[derive(Default)]
pub(super) struct Words {
    end: usize,
    is_mixed: bool,
}

impl Words {
    /// Whether the word at `at` has Latin letters or digits too: then its Cyrillic and Greek ones
    /// stand for Latin ones. Words of one script are left to their language.
    fn is_mixed(&mut self, bytes: &[u8], at: usize) -> bool {
        if at < self.end {
            return self.is_mixed;
        }
        let is_word = |byte: &u8| {
            *byte >= 0x80 || byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@')
        };
        let from = at.saturating_sub(MOST_WORD);
        let before = bytes[from..at].iter().rev().take_while(|byte| is_word(byte));
        let to = bytes.len().min(at + MOST_WORD);
        let after = bytes[at..to].iter().take_while(|byte| is_word(byte));
        self.end = at + after.clone().count();
        self.is_mixed = before.chain(after).any(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        self.is_mixed
    }
}

/// How the character at `at`, which is not ASCII, reads.
pub(super) fn letter(text: &str, at: usize, words: &mut Words) -> Unit {
    let Some(letter) = text[at..].chars().next() else { return Unit::Same };
    let length = letter.len_utf8();
    let bytes = text.as_bytes();
    match letter {
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
            Unit::Letter(' ', length)
        }
        _ if is_invisible(letter) => Unit::Nothing(length),
        // Plain text in characters that no font shows.
        '\u{E0020}'..='\u{E007E}' => {
            char::from_u32(letter as u32 - 0xE0000).map_or(Unit::Same, |plain| Unit::Letter(plain, length))
        }
        '\u{300}'..='\u{36F}' => Unit::Mark(letter, length),
        '\u{2013}' | '\u{2012}' if is_inside_word(bytes, at, length) => Unit::Letter('-', length),
        // Two hyphens, as word processors write them.
        '\u{2014}' if is_before_word(bytes, at, length) => Unit::Letters("--".to_owned(), length),
        '\u{370}'..='\u{52F}' => match look_alike(letter) {
            Some(latin) if words.is_mixed(bytes, at) => Unit::Letter(latin, length),
            _ => Unit::Same,
        },
        // Letters of European languages, and scripts that imitate nothing.
        '\u{A1}'..='\u{130}' | '\u{132}'..='\u{17E}' | '\u{180}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => {
            Unit::Same
        }
        '\u{3001}'..='\u{A63F}' | '\u{AC00}'..='\u{D7FF}' => Unit::Same,
        '\u{2018}'..='\u{201F}' | '\u{2026}' | '\u{20AC}' | '\u{2122}' => Unit::Same,
        _ => other(letter, length),
    }
}

fn other(letter: char, length: usize) -> Unit {
    if let Some(latin) = look_alike(letter) {
        return Unit::Letter(latin, length);
    }
    if is_combining_mark(letter) {
        return Unit::Mark(letter, length);
    }
    let mut read = String::new();
    decompose_compatible(letter, |part| {
        if !is_combining_mark(part) {
            read.push(look_alike(part).unwrap_or(part));
        }
    });
    if read.is_empty() || read.chars().eq([letter]) {
        return Unit::Same;
    }
    Unit::Letters(read, length)
}

fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{80}'..='\u{9F}' | '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2028}' | '\u{2029}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0001}' | '\u{E007F}'
        | '\u{E0100}'..='\u{E01EF}')
}

fn is_inside_word(bytes: &[u8], at: usize, length: usize) -> bool {
    at > 0
        && bytes[at - 1].is_ascii_alphanumeric()
        && bytes.get(at + length).is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn is_before_word(bytes: &[u8], at: usize, length: usize) -> bool {
    (at == 0 || bytes[at - 1] == b' ') && bytes.get(at + length).is_some_and(u8::is_ascii_lowercase)
}

/// A letter and a mark that are one letter of German.
pub(super) fn compose(letter: char, mark: char) -> Option<char> {
    if mark != '\u{308}' {
        return None;
    }
    Some(match letter {
        'a' => 'ä',
        'o' => 'ö',
        'u' => 'ü',
        'A' => 'Ä',
        'O' => 'Ö',
        'U' => 'Ü',
        _ => return None,
    })
}

/// The Latin letter or sign that a character of another script is mistaken for.
fn look_alike(letter: char) -> Option<char> {
    Some(match letter {
        'а' | 'α' | 'ɑ' | 'ᴀ' => 'a',
        'Ь' | 'ʙ' | 'Ƅ' => 'b',
        'с' | 'ϲ' | 'ᴄ' | 'ⅽ' => 'c',
        'ԁ' | 'ᴅ' => 'd',
        'е' | 'ҽ' | 'ε' | 'ᴇ' | '℮' => 'e',
        'ꜰ' => 'f',
        'ɡ' | 'ɢ' => 'g',
        'һ' | 'ʜ' => 'h',
        'і' | 'ı' | 'ι' | 'ɩ' | 'ɪ' | 'ӏ' => 'i',
        'ј' | 'ϳ' | 'ᴊ' => 'j',
        'κ' | 'к' | 'ᴋ' => 'k',
        'ʟ' | 'ⅼ' => 'l',
        'ᴍ' => 'm',
        'ո' | 'ɴ' | 'η' => 'n',
        'о' | 'ο' | 'σ' | 'օ' | 'ᴏ' => 'o',
        'р' | 'ρ' | 'ᴘ' => 'p',
        'ԛ' => 'q',
        'г' | 'ʀ' => 'r',
        'ѕ' | 'ꜱ' => 's',
        'т' | 'τ' | 'ᴛ' => 't',
        'υ' | 'ս' | 'ᴜ' => 'u',
        'ν' | 'ѵ' | 'ᴠ' => 'v',
        'ԝ' | 'ω' | 'ᴡ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ү' | 'ʏ' => 'y',
        'ᴢ' => 'z',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'С' | 'Ϲ' => 'C',
        'Е' | 'Ε' => 'E',
        'Ԍ' => 'G',
        'Н' | 'Η' => 'H',
        'І' | 'Ι' | 'Ӏ' => 'I',
        'Ј' | 'Ϳ' => 'J',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'Ν' => 'N',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        'Ԝ' => 'W',
        'Х' | 'Χ' => 'X',
        'Υ' | 'Ү' => 'Y',
        'Ζ' => 'Z',
        'З' => '3',
        'б' => '6',
        '‐' | '‑' | '−' | '﹣' => '-',
        '∶' | '꞉' => ':',
        '∕' | '⁄' => '/',
        'ǀ' => '|',
        // White on black and other letters that have no decomposition.
        '\u{1F150}'..='\u{1F169}' => enclosed(letter, 0x1F150)?,
        '\u{1F170}'..='\u{1F189}' => enclosed(letter, 0x1F170)?,
        _ => return None,
    })
}

fn enclosed(letter: char, first: u32) -> Option<char> {
    char::from_u32(u32::from(b'A') + (letter as u32 - first))
}
