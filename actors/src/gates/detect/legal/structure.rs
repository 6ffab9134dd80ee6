//! The structure of legal texts: clauses with numbers, sections with statutes, terms defined in
//! quotes, duties of somebody with a role, lines for signatures. The lexicon finds where to look;
//! what stands there decides, with bounded work at each place.

use std::ops::Range;

use super::words::{Entry, Group, STATUTES};
use crate::gates::detect::lexicon::Bound::{self, Part, Word};

pub(super) const CLAUSES: &str = "numbered clauses";
const STATUTE: &str = "section of a statute";
const HEADING: &str = "clause under a section sign";
const TERM: &str = "defined term";
const MEANING: &str = "meaning of a term";
const DUTY: &str = "duty of a party";
const STRONG_DUTY: &str = "what a party shall do";
const ROLE: &str = "party without an article";
const GERMAN_ROLE: &str = "party and its duty";
const TITLE: &str = "title of a document";
const SIGNATURE: &str = "signature line";
const REQUIREMENT: &str = "requirement in capitals";
const QUESTION: &str = "question";

/// What a structure counts, its name, and where it may be; one word is one place to look at.
const ANCHORS: &[(Group, i32, &str, Bound, &[&str])] = &[
    (Group::Structure, 10, STATUTE, Part, &["§", "art. ", "u.s.c."]),
    (Group::Structure, 12, HEADING, Part, &["§ "]),
    (Group::Structure, 12, MEANING, Part, &[" means ", " shall mean ", " bezeichnet "]),
    (
        Group::Structure,
        10,
        STRONG_DUTY,
        Word,
        &[
            "shall",
            "hereby",
            "ist verpflichtet",
            "ist berechtigt",
            "haftet",
            "verpflichtet sich",
            "ist befugt",
        ],
    ),
    (
        Group::Structure,
        9,
        DUTY,
        Word,
        &["agrees", "agree", "represents", "undertakes", "may not", "is entitled", "will not"],
    ),
    (
        Group::Structure,
        8,
        ROLE,
        Word,
        &[
            "shall",
            "must",
            "may",
            "will",
            "warrants",
            "represents",
            "waives",
            "agrees",
            "grants",
            "assigns",
            "acknowledges",
            "undertakes",
            "covenants",
            "accepts",
            "retains",
            "has",
        ],
    ),
    (
        Group::Structure,
        7,
        GERMAN_ROLE,
        Word,
        &[
            "darf",
            "hat",
            "muss",
            "kann",
            "haftet",
            "trägt",
            "zahlt",
            "erhält",
            "schuldet",
            "verzichtet",
            "übernimmt",
            "gewährt",
            "überlässt",
            "stellt",
            "liefert",
            "leistet",
            "verpflichtet",
            "verwahrt",
            "benennt",
            "ersetzt",
            "erstattet",
            "duldet",
            "bestätigt",
            "versichert",
            "bewilligt",
            "beantragt",
        ],
    ),
    (
        Group::Structure,
        7,
        TITLE,
        Part,
        &[
            "vertrag",
            "vereinbarung",
            "vollmacht",
            "bescheid",
            "beschluss",
            "verfügung",
            "urteil",
            "klage",
            "kündigung",
            "abmahnung",
            "mahnung",
            "satzung",
            "testament",
            "bedingungen",
            "erklärung",
            "verlangen",
            "klausel",
            "mahnbescheid",
            "agreement",
            "contract",
            "deed",
            "notice",
            "order",
            "lease",
            "amendment",
            "addendum",
            "judgment",
            "complaint",
            "affidavit",
            "stipulation",
            "subpoena",
            "summons",
            "warrant",
            "decree",
            "motion",
            "covenant",
            "assignment",
            "release",
            "conditions",
            "attorney",
        ],
    ),
    (
        Group::Structure,
        10,
        SIGNATURE,
        Part,
        &["_____", "ort, datum", "/s/", "unterschrift:", "(unterschrift", "gez. "],
    ),
    (
        Group::Against,
        12,
        REQUIREMENT,
        Bound::Capitals,
        &["must", "should", "may", "required", "recommended", "optional"],
    ),
    (Group::Against, 6, QUESTION, Part, &["?"]),
];

/// Who contracts call so, without an article, and hardly anybody else.
#[rustfmt::skip]
const ROLES: &[&str] = &[
    "Tenant", "Landlord", "Lessee", "Lessor", "Licensee", "Licensor", "Borrower", "Lender", "Guarantor", "Buyer",
    "Seller", "Purchaser", "Vendor", "Supplier", "Contractor", "Subcontractor", "Consultant", "Customer", "Company",
    "Employee", "Employer", "Executive", "Franchisee", "Franchisor", "Distributor", "Manufacturer", "Principal",
    "Insurer", "Insured", "Owner", "Owners", "Charterer", "Charterers", "Carrier", "Shipper", "Assignor", "Assignee",
    "Grantor", "Grantee", "Trustee", "Recipient", "Discloser", "Provider", "Publisher", "Artist", "Producer",
    "Investor", "Issuer", "Shareholder", "Plaintiff", "Plaintiffs", "Defendant", "Defendants", "Claimant",
    "Respondent", "Petitioner", "Appellant", "Appellee", "Husband", "Wife", "Mortgagor", "Mortgagee", "Pledgor",
    "Releasor", "Releasee", "Indemnitor", "Depositor", "Settlor", "Obligor", "Debtor", "Creditor", "Agency",
];

/// Who German contracts and courts call so; ends of words. There are also those that give and take
/// (`-geber`, `-nehmer`).
#[rustfmt::skip]
const GERMAN_ROLES: &[&str] = &[
    "Käufer", "verkäufer", "Verkäufer", "Mieter", "mieter", "Pächter", "pächter", "Besteller", "Lieferant", "Bürge", "Bürgin",
    "Gesellschafter", "gesellschafter", "Versicherer", "Versicherte", "Herausgeber", "Schuldner", "schuldner", "Gläubiger",
    "Kläger", "Klägerin", "Beklagte", "Antragsteller", "Antragstellerin", "Antragsgegner", "Antragsgegnerin", "Schenker", "Beschenkte",
    "Eigentümer", "eigentümer", "Makler", "Vertragspartner", "Vertragspartei", "Partei", "Sponsor", "Treuhänder", "Erwerber",
    "Veräußerer", "Bevollmächtigte", "Berechtigte", "berechtigte", "Verpflichtete", "Handelsvertreter", "Anbieter",
];

/// What stands before a term in quotes that is being defined.
const OPENINGS: &[&str] = &[
    "(",
    "(the ",
    "(each, a ",
    "(each a ",
    "(collectively, the ",
    "(together, the ",
    "(a ",
    "(an ",
    "nachfolgend ",
    "nachfolgend: ",
    "im folgenden ",
    "im folgenden: ",
    "nachstehend ",
    "hereinafter ",
    "hereinafter the ",
    "as the ",
    "referred to as ",
    "(der ",
    "(die ",
    "(das ",
];
const QUOTES: &[&str] = &["\"", "“", "„", "«"];

/// Bytes that are looked at around a place.
const NEAR: usize = 60;

/// The places that the lexicon finds for this module.
pub(super) fn entries() -> Vec<(Entry, String)> {
    let anchors = ANCHORS.iter().flat_map(|(group, weight, name, bound, words)| {
        let entry = Entry { group: *group, weight: *weight, bound: *bound, word: name };
        words.iter().map(move |word| (entry, (*word).to_owned()))
    });
    let term = Entry { group: Group::Structure, weight: 8, bound: Part, word: TERM };
    let terms = OPENINGS
        .iter()
        .flat_map(|opening| QUOTES.iter().map(move |quote| (term, format!("{opening}{quote}"))));
    anchors.chain(terms).collect()
}

/// Whether what stands at `place` is what `name` says. Words of the list need nothing more.
pub(super) fn holds(text: &str, name: &str, place: &Range<usize>) -> bool {
    match name {
        STATUTE => is_section(behind(text, place.end)),
        HEADING => is_heading(text, place),
        TERM => behind(text, place.end).starts_with(char::is_uppercase),
        MEANING => text[..place.start].ends_with(['"', '“', '”', '«', '»']),
        STRONG_DUTY => role(text, place.start).is_some(),
        DUTY => role(text, place.start).is_some_and(|at| !begins_sentence(text, at)),
        ROLE => role(text, place.start)
            .is_some_and(|at| begins_sentence(text, at) && ROLES.contains(&&text[at..place.start - 1])),
        GERMAN_ROLE => role(text, place.start).is_some_and(|at| {
            let name = &text[at..place.start - 1];
            GERMAN_ROLES.iter().any(|role| name.ends_with(role))
                || name.ends_with("geber")
                || name.ends_with("nehmer") && name != "Teilnehmer"
        }),
        TITLE => is_title(text, place),
        SIGNATURE => !text[..place.start].ends_with('_'),
        _ => true,
    }
}

/// The text behind `at`, at most [`NEAR`] characters of its line.
fn behind(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    let length: usize = rest.chars().take(NEAR).take_while(|c| *c != '\n').map(char::len_utf8).sum();
    &rest[..length]
}

/// Whether a number and a statute that lawyers cite follow a section sign.
fn is_section(behind: &str) -> bool {
    let is_statute = |word: &str| STATUTES.contains(&word.trim_end_matches(['.', ',']));
    let has_number =
        behind.trim_start_matches(['§', ' ', '\u{a0}']).starts_with(|c: char| c.is_ascii_digit());
    has_number && behind.split(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-')).any(is_statute)
}

/// Whether a line begins here such as `§ 3 Vertragsstrafe`.
fn is_heading(text: &str, place: &Range<usize>) -> bool {
    let is_first = text[..place.start].trim_end_matches(' ').ends_with('\n') || place.start == 0;
    let rest = behind(text, place.end).trim_start_matches(|c: char| c.is_ascii_digit() || c == 'a');
    is_first && rest.trim_start_matches([' ', '.', ':', '-', '–']).starts_with(char::is_uppercase)
}

/// Whether a line that begins with few words names a document: `Schenkungsvertrag:`, `NOTICE TO
/// QUIT.`, `Nachtrag zum Pachtvertrag`. English ones are in capitals, or all of their line.
fn is_title(text: &str, place: &Range<usize>) -> bool {
    const MOST_BEFORE: usize = 48;
    let head = &text[..place.start];
    let before: usize =
        head.chars().rev().take(MOST_BEFORE).take_while(|c| *c != '\n').map(char::len_utf8).sum();
    let is_first = before == head.len() || head[..head.len() - before].ends_with('\n');
    let line = head[head.len() - before..].trim_start_matches([' ', '#', '*', '>', '|', '\t']);
    let is_plain =
        line.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '.' | '/' | '’' | '\''));
    let word = &text[place.clone()];
    let begins = if line.is_empty() { word } else { line };
    if !is_first || !is_plain || !begins.starts_with(char::is_uppercase) {
        return false;
    }
    let after = behind(text, place.end).trim_end().trim_end_matches('*');
    if after.is_empty() {
        return line.split(' ').count() <= 5 && text[..place.end].len() < text.len();
    }
    let is_capitals = !word.bytes().any(|byte| byte.is_ascii_lowercase());
    if is_capitals {
        return true;
    }
    let is_compound = line.ends_with(char::is_alphabetic);
    let goes_on =
        [":", ". ", " über", " zwischen", " gemäß", " vom ", " Nr", " zum ", " zur ", " betreffend", " ("];
    is_compound && goes_on.iter().any(|sign| after.starts_with(sign))
}

/// Where the word before `at` begins, if it is a role in capitals: `the Tenant shall`. At the
/// beginning of a sentence only a pronoun would mislead.
fn role(text: &str, at: usize) -> Option<usize> {
    let head = text[..at].strip_suffix(' ')?;
    let length: usize =
        head.chars().rev().take(NEAR).take_while(|c| c.is_alphanumeric()).map(char::len_utf8).sum();
    let word = &head[head.len() - length..];
    let is_role = word.len() >= 4
        && word.starts_with(char::is_uppercase)
        && word.chars().skip(1).any(char::is_lowercase)
        && !matches!(
            word,
            "This" | "That" | "They" | "There" | "These" | "Those" | "Which" | "Both" | "What" | "Each"
        );
    is_role.then_some(head.len() - length)
}

/// Whether no word of the same sentence stands before `at`.
fn begins_sentence(text: &str, at: usize) -> bool {
    !text[..at].trim_end_matches(' ').ends_with(|c: char| c.is_alphanumeric() || c == ',')
}

/// Where the lines of `part` are that begin with the number of a clause: `1.`, `2.3`, `(4)`,
/// `§ 5`, `Section 6`. How many there are, the beginning of the first and the end of the last.
pub(super) fn clauses(part: &str) -> (usize, Range<usize>) {
    let (mut count, mut range, mut at) = (0, 0..0, 0);
    for line in part.split_inclusive('\n') {
        if is_clause(line) {
            range = if count == 0 { at } else { range.start }..at + line.len();
            count += 1;
        }
        at += line.len();
    }
    (count, range)
}

fn is_clause(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t']);
    let first = line.as_bytes().first().copied().unwrap_or_default();
    if !matches!(first, b'0'..=b'9' | b'(' | b'S' | b'A' | b'C' | b'Z' | 0xC2) {
        return false;
    }
    let heads = ["§", "Section", "SECTION", "Article", "ARTICLE", "Artikel", "Clause", "Ziffer", "Art."];
    if let Some(rest) = heads.iter().find_map(|word| line.strip_prefix(word)) {
        let number = rest.trim_start_matches([' ', '\u{a0}']);
        return number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, 'I' | 'V' | 'X'));
    }
    let inner = line.strip_prefix('(').unwrap_or(line);
    let number = inner.bytes().take(6).take_while(|c| c.is_ascii_digit() || *c == b'.').count();
    let after = inner[number..].chars().next();
    let is_number = inner.starts_with(|c: char| c.is_ascii_digit());
    let closes = inner[..number].contains('.') || after == Some(')');
    is_number && closes && matches!(after, Some(' ' | ')' | '\t' | '\u{a0}'))
}

/// Shorter quotations are names and terms.
const LEAST_QUOTATION: usize = 40;
/// A window has no more quotations that count.
const MOST_QUOTATIONS: usize = 32;

/// What stands in quotes, and lines that are marked as quoted or as a table; on character
/// boundaries.
pub(super) fn quotations(part: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, char)> = None;
    for (at, byte) in part.bytes().enumerate() {
        // The first bytes of all quotes.
        if !matches!(byte, b'"' | 0xC2 | 0xE2) {
            continue;
        }
        let Some(sign) = part[at..].chars().next() else { break };
        match open {
            Some((start, first)) if closes(first, sign) => {
                found.push(start..at);
                open = None;
            }
            None if matches!(sign, '"' | '“' | '„' | '«' | '»') => {
                open = Some((at + sign.len_utf8(), sign));
            }
            _ => {}
        }
    }
    let (mut at, mut start) = (0, None);
    for line in part.split_inclusive('\n') {
        let is_marked = line.trim_start().starts_with(['>', '|']);
        match start {
            None if is_marked => start = Some(at),
            Some(from) if !is_marked => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
        at += line.len();
    }
    found.extend(start.map(|from| from..at));
    found.retain(|quote| quote.len() >= LEAST_QUOTATION);
    found.truncate(MOST_QUOTATIONS);
    found
}

const fn closes(open: char, sign: char) -> bool {
    match open {
        '„' => matches!(sign, '“' | '”' | '"'),
        '“' => matches!(sign, '”' | '"'),
        '«' => sign == '»',
        '»' => sign == '«',
        _ => sign == '"',
    }
}
