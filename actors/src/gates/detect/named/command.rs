//! Passwords on command lines.

use super::super::alphabet::Alphabet;
use super::super::found::Class;
use super::super::pass::Pass;
use super::value::is_stand_in;

/// How a program takes its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `-pSECRET`.
    Attached(&'static str),
    /// `-p SECRET`, or `-p=SECRET`.
    Next(&'static str),
    /// `-u NAME:SECRET`.
    Pair(&'static str),
    /// `-U NAME%SECRET`.
    Percent(&'static str),
    /// `pass:SECRET`.
    Prefixed(&'static str),
    /// The word after so many others without a dash.
    Operand(usize),
}

/// A program and how it takes passwords.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    forms: &'static [Form],
}

use Form::{Attached, Next, Operand, Pair, Percent, Prefixed};

/// Programs whose options are no names of secrets.
pub(crate) const COMMANDS: &[Command] = &[
    Command { name: "sshpass", forms: &[Next("-p"), Attached("-p")] },
    Command { name: "mysql", forms: &[Attached("-p")] },
    Command { name: "mariadb", forms: &[Attached("-p")] },
    Command { name: "mysqldump", forms: &[Attached("-p")] },
    Command { name: "mysqladmin", forms: &[Attached("-p")] },
    Command {
        name: "curl",
        forms: &[Pair("-u"), Pair("--user"), Pair("-U"), Pair("--proxy-user"), Attached("-u")],
    },
    Command { name: "wget", forms: &[Next("--http-passwd"), Next("--ftp-pass")] },
    Command { name: "docker login", forms: &[Next("-p")] },
    Command { name: "podman login", forms: &[Next("-p")] },
    Command { name: "az login", forms: &[Next("-p")] },
    Command { name: "oc login", forms: &[Next("-p")] },
    Command { name: "cf login", forms: &[Next("-p")] },
    Command { name: "redis-cli", forms: &[Next("-a"), Next("--pass")] },
    Command { name: "mongo ", forms: &[Next("-p")] },
    Command { name: "mongosh", forms: &[Next("-p")] },
    Command { name: "mongodump", forms: &[Next("-p")] },
    Command { name: "mongorestore", forms: &[Next("-p")] },
    Command { name: "sqlcmd", forms: &[Next("-P"), Attached("-P")] },
    Command { name: "bcp ", forms: &[Next("-P"), Attached("-P")] },
    Command { name: "ldapsearch", forms: &[Next("-w")] },
    Command { name: "ldapmodify", forms: &[Next("-w")] },
    Command { name: "ldapadd", forms: &[Next("-w")] },
    Command { name: "smbclient", forms: &[Percent("-U"), Percent("--user")] },
    Command { name: "rpcclient", forms: &[Percent("-U")] },
    Command { name: "openssl", forms: &[Prefixed("pass:"), Next("-k")] },
    Command { name: "keytool", forms: &[Next("-storepass"), Next("-keypass")] },
    Command { name: "jarsigner", forms: &[Next("-storepass"), Next("-keypass")] },
    Command { name: "7z ", forms: &[Attached("-p")] },
    Command { name: "7za ", forms: &[Attached("-p")] },
    Command { name: "zip ", forms: &[Next("-P"), Next("-p")] },
    Command { name: "unzip", forms: &[Next("-P")] },
    Command { name: "unrar", forms: &[Attached("-p")] },
    Command { name: "htpasswd", forms: &[Operand(2)] },
    Command { name: "net use", forms: &[Operand(2)] },
    Command { name: "net user", forms: &[Operand(1)] },
    Command { name: "xfreerdp", forms: &[Prefixed("/p:")] },
    Command { name: "rdesktop", forms: &[Next("-p")] },
    Command { name: "cmdkey", forms: &[Prefixed("/pass:")] },
    Command { name: "psexec", forms: &[Next("-p")] },
    Command { name: "winexe", forms: &[Percent("-U")] },
    Command { name: "evil-winrm", forms: &[Next("-p")] },
    Command { name: "http ", forms: &[Pair("-a"), Pair("--auth")] },
    Command { name: "lftp", forms: &[Pair("-u")] },
    Command { name: "ipmitool", forms: &[Next("-P")] },
    Command { name: "snmpwalk", forms: &[Next("-A"), Next("-X")] },
    Command { name: "vncviewer", forms: &[Next("-passwd")] },
    Command { name: "nmcli", forms: &[Next("password")] },
    Command { name: "svn ", forms: &[Next("--password")] },
    Command { name: "chpasswd", forms: &[] },
    Command { name: "influx", forms: &[Next("-t"), Next("-p")] },
    Command { name: "mosquitto_pub", forms: &[Next("-P")] },
    Command { name: "mosquitto_sub", forms: &[Next("-P")] },
    Command { name: "sqlplus", forms: &[] },
    Command { name: "psql", forms: &[] },
];

/// A command line is looked at so far.
const MOST_LINE: usize = 512;

/// A program's name stands in `at..end`.
pub(crate) fn find(pass: &mut Pass<'_, '_>, number: usize, at: usize, end: usize) {
    let command = &COMMANDS[number];
    if at > 0 && Alphabet::TOKEN.has(pass.bytes[at - 1]) {
        return;
    }
    if command.name == "sqlplus" {
        return slash_pair(pass, end);
    }
    if command.name == "chpasswd" {
        return piped_pair(pass, at);
    }
    // The same program again in a line that was read needs no second look.
    if at < pass.command_to[number % pass.command_to.len()] {
        return;
    }
    let text = pass.text;
    let most =
        (0..=MOST_LINE.min(text.len() - end)).rev().find(|n| text.is_char_boundary(end + n)).unwrap_or(0);
    let mut line = &text[end..end + most];
    // A line that goes on after a backslash is one line.
    let stop = line.match_indices('\n').find(|(n, _)| !line[..*n].trim_end().ends_with('\\')).map(|(n, _)| n);
    line = &line[..stop.unwrap_or(line.len())];
    let spent = line.len();
    pass.meter.spend(spent);
    pass.command_to[number % pass.command_to.len()] = end + spent;
    let words = divide(line);
    let (mut operands, mut index) = (0, 0);
    while let Some((from, word)) = words.get(index).copied() {
        index += 1;
        if matches!(word, "|" | "&&" | ";" | "||" | ">" | ">>") {
            break;
        }
        if !word.starts_with('-') {
            operands += 1;
        }
        for form in command.forms {
            let following = words.get(index).copied();
            let found = value_of(*form, from, word, following, operands);
            if let Some((from, value)) = found.filter(|(_, value)| counts(value)) {
                let start = end + from;
                pass.named_hit(start..start + value.len(), Class::Secret, "command-line", 85);
                break;
            }
        }
    }
}

type Word<'t> = (usize, &'t str);

fn value_of<'t>(
    form: Form,
    from: usize,
    word: &'t str,
    next: Option<Word<'t>>,
    operands: usize,
) -> Option<Word<'t>> {
    let option = |option: &str| {
        if word == option {
            return next;
        }
        let value = word.strip_prefix(option)?.strip_prefix('=')?;
        Some(unquoted(from + word.len() - value.len(), value))
    };
    let second = |(from, pair): Word<'t>, sign: char| {
        let (_, value) = pair.split_once(sign)?;
        Some((from + pair.len() - value.len(), value))
    };
    match form {
        Next(name) => option(name).filter(|(_, value)| !value.starts_with('-')),
        Pair(name) => option(name).and_then(|pair| second(pair, ':')),
        Percent(name) => option(name).and_then(|pair| second(pair, '%')),
        Attached(name) => {
            let value = word
                .strip_prefix(name)
                .filter(|value| !value.is_empty() && !value.starts_with(['-', '=']))?;
            let (from, value) = unquoted(from + name.len(), value);
            if name == "-u" { second((from, value), ':') } else { Some((from, value)) }
        }
        Prefixed(name) => {
            let value = word.strip_prefix(name)?;
            Some(unquoted(from + name.len(), value))
        }
        Operand(number) => (operands == number + 1 && !word.starts_with(['-', '/'])).then_some((from, word)),
    }
}

fn counts(value: &str) -> bool {
    value.len() >= 3 && !is_stand_in(value) && !value.starts_with('$') && !value.starts_with('*')
}

fn unquoted(from: usize, word: &str) -> Word<'_> {
    let inner = word.trim_start_matches(['"', '\'']);
    let from = from + word.len() - inner.len();
    (from, inner.trim_end_matches(['"', '\'', '`', ';', ')']))
}

/// The words of a command line, without their quotes, and where each begins.
fn divide(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let from = at;
        let mut quote = None;
        while at < bytes.len() && (quote.is_some() || !bytes[at].is_ascii_whitespace()) {
            match (quote, bytes[at]) {
                (None, mark @ (b'"' | b'\'')) => quote = Some(mark),
                (Some(open), mark) if open == mark => quote = None,
                _ => {}
            }
            at += 1;
        }
        words.push(unquoted(from, &line[from..at]));
    }
    words
}

fn is_quote(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'\\')
}

/// `echo 'name:SECRET' | chpasswd`.
fn piped_pair(pass: &mut Pass<'_, '_>, at: usize) {
    const MOST: usize = 96;
    pass.meter.spend(MOST);
    let bytes = pass.bytes;
    let from = at.saturating_sub(MOST);
    let Some(pipe) = bytes[from..at].iter().rposition(|byte| *byte == b'|').map(|n| from + n) else { return };
    let Some(colon) = bytes[from..pipe].iter().rposition(|byte| *byte == b':').map(|n| from + n + 1) else {
        return;
    };
    let colon = colon + bytes[colon..pipe].iter().take_while(|byte| is_quote(byte)).count();
    let length =
        bytes[colon..pipe].iter().take_while(|byte| !byte.is_ascii_whitespace() && !is_quote(byte)).count();
    if pass.text.get(colon..colon + length).is_some_and(counts) {
        pass.named_hit(colon..colon + length, Class::Secret, "command-line", 85);
    }
}

/// `sqlplus name/SECRET@place`.
fn slash_pair(pass: &mut Pass<'_, '_>, end: usize) {
    const MOST: usize = 128;
    pass.meter.spend(MOST);
    let bytes = pass.bytes;
    let to = bytes.len().min(end + MOST);
    let Some(slash) =
        bytes[end..to].iter().position(|byte| matches!(byte, b'/' | b'\n')).map(|n| end + n + 1)
    else {
        return;
    };
    let length = bytes[slash..to]
        .iter()
        .take_while(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'"' | b'\''))
        .count();
    if bytes[slash - 1] == b'/' && pass.text.get(slash..slash + length).is_some_and(counts) {
        pass.named_hit(slash..slash + length, Class::Secret, "command-line", 85);
    }
}
