//! The workspace's Rust files, with what is code in them told apart from what is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One Rust file.
pub(crate) struct Source {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// The same, with comments and the insides of literals as spaces.
    pub(crate) code: String,
}

impl Source {
    /// The line, from 1, of a byte of the code.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The first line whose code holds the name.
    pub(crate) fn first_line_naming(&self, name: &str) -> Option<usize> {
        let start = self.code.as_ptr() as usize;
        names(&self.code)
            .find(|found| *found == name)
            .map(|found| self.line_of(found.as_ptr() as usize - start))
    }

    /// The first line that uses `root::module`, alone or in a group as in `root::{a, module::b}`.
    pub(crate) fn first_line_using(&self, root: &str, module: &str) -> Option<usize> {
        let path = format!("{root}::");
        let uses = |at: usize| {
            let rest = &self.code[at + path.len()..];
            let before = &self.code[..at];
            let is_root = !before.strip_suffix("::").unwrap_or(before).ends_with(is_of_name);
            is_root
                && match rest.strip_prefix('{') {
                    Some(group) => heads(group).any(|head| head == module),
                    None => names(rest).next() == Some(module),
                }
        };
        self.code.match_indices(&path).map(|(at, _)| at).find(|at| uses(*at)).map(|at| self.line_of(at))
    }
}

/// The first name of each entry of a group of imports whose brace is open.
fn heads(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 1_usize;
    let end = group.find(|c| {
        depth = match c {
            '{' => depth + 1,
            '}' => depth - 1,
            _ => depth,
        };
        depth == 0
    });
    let group = &group[..end.unwrap_or(group.len())];
    let mut depth = 0_usize;
    let entries = group.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    entries.filter_map(|entry| names(entry).next())
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every name in `code`, in order.
pub(crate) fn names(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_of_name(c)).filter(|name| !name.is_empty())
}

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the workspace, but what is built or hidden by git.
pub(crate) fn files_below(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root()).unwrap().to_path_buf();
            if path.is_dir() {
                if ![".git", "target", "out"].map(PathBuf::from).contains(&relative) {
                    folders.push(path);
                }
            } else if relative != Path::new(".git") {
                files.push(relative.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    files.sort();
    files
}

/// Every Rust file of the workspace but these rules.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let files = files_below("").into_iter();
        let ours = files.filter(|path| path.ends_with(".rs") && !path.starts_with("tests/architecture"));
        let read = |path: String| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            Source { code: code_of(&text), text, path }
        };
        let sources: Vec<Source> = ours.map(read).collect();
        assert!(sources.len() > 50, "only {} files found", sources.len());
        sources
    });
    &SOURCES
}

/// `text` with comments and the insides of literals as spaces, byte for byte.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = skipped(text, at);
        if length == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.extend(bytes[at..at + length].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at += length;
        }
    }
    String::from_utf8(code).unwrap()
}

/// How many bytes from `at` on are a comment or a literal; 0 if it is code.
fn skipped(text: &str, at: usize) -> usize {
    let Some(rest) = text.get(at..) else { return 0 };
    let inside_name = text[..at].ends_with(is_of_name);
    let to = |end: Option<usize>, closing: usize| end.map_or(rest.len(), |end| end + closing);
    if rest.starts_with("//") {
        return to(rest.find('\n'), 0);
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return string(rest);
    }
    if !inside_name && let Some(raw) = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let opening = rest.len() - raw.len() + hashes + 1;
            let closing = format!("\"{}", "#".repeat(hashes));
            return opening
                + rest[opening..].find(&closing).map_or(rest.len() - opening, |end| end + closing.len());
        }
    }
    if rest.starts_with('\'') { character(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let ahead = &rest.as_bytes()[at..];
        match ahead {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            [_, ..] => at += 1,
            [] => return at,
        }
        if depth == 0 {
            return at;
        }
    }
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |end| end + 2)
}

/// A character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let _escaped = chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[test]
fn code_is_told_from_what_is_said() {
    let text = r##"
        use a; // b
        /* c /* d */ e */ fn f<'g>(h: &'g str) -> char { 'i' }
        let j = "k \" l"; let m = r#"n " o"#; let p = ('"', '\'', q);
    "##;
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    let found: Vec<&str> = names(&code).collect();
    assert_eq!(
        found,
        ["use", "a", "fn", "f", "g", "h", "g", "str", "char", "let", "j", "let", "m", "let", "p", "q"]
    );
}

#[test]
fn a_use_is_found_alone_and_in_a_group() {
    let source = |code: &str| Source { path: String::new(), text: String::new(), code: code.to_owned() };
    for code in ["use std::fs;", "std::fs::read()", "use std::{fmt, fs::{self, File}};", "use ::std::fs;"] {
        assert_eq!(source(code).first_line_using("std", "fs"), Some(1), "{code}");
    }
    for code in ["use std::fmt;", "my_std::fs", "use std::{fmt, a::{fs}};", "use x::fs;", "x::std::fs"] {
        assert_eq!(source(code).first_line_using("std", "fs"), None, "{code}");
    }
}
