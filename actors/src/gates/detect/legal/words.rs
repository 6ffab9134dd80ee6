//! The words and phrases of legal texts, and of texts that only talk about the law.

use crate::gates::detect::lexicon::Bound;

/// What a feature speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Contract,
    Nda,
    Court,
    Letter,
    Privileged,
    /// Structure that all of them share.
    Structure,
    /// It is a report, a lesson, an advertisement, a manual.
    Against,
    /// It is a licence that everybody may read.
    Public,
}

/// A word and how far one occurrence moves a passage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) group: Group,
    pub(super) weight: i32,
    pub(super) bound: Bound,
    pub(super) word: &'static str,
}

/// The lists; the head of the first says how they are written.
const WORDS: [&str; 4] = [
    include_str!("words.txt"),
    include_str!("fields.txt"),
    include_str!("terms_german.txt"),
    include_str!("terms_english.txt"),
];

/// All words, or the first line that is not written as the lists' head says.
pub(super) fn entries() -> Result<Vec<Entry>, &'static str> {
    let mut entries = Vec::new();
    let mut block = None;
    let lines = WORDS
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        if !line.starts_with(' ') {
            block = Some(heading(line).ok_or(line)?);
            continue;
        }
        let (group, weight, bound) = block.ok_or(line)?;
        let words = line.split('|').map(str::trim).filter(|word| !word.is_empty());
        entries.extend(words.map(|word| Entry { group, weight, bound, word }));
    }
    Ok(entries)
}

/// Reads `contract 16 head`.
fn heading(line: &str) -> Option<(Group, i32, Bound)> {
    let mut parts = line.split(' ');
    let group = match parts.next()? {
        "contract" => Group::Contract,
        "nda" => Group::Nda,
        "court" => Group::Court,
        "letter" => Group::Letter,
        "privileged" => Group::Privileged,
        "against" => Group::Against,
        "public" => Group::Public,
        _ => return None,
    };
    let weight = parts.next()?.parse().ok()?;
    let bound = match parts.next()? {
        "word" => Bound::Word,
        "head" => Bound::Head,
        "part" => Bound::Part,
        "capitals" => Bound::Capitals,
        _ => return None,
    };
    parts.next().is_none().then_some((group, weight, bound))
}

/// Statutes that a section sign may cite.
pub(super) const STATUTES: &[&str] = &[
    "BGB",
    "HGB",
    "ZPO",
    "StGB",
    "StPO",
    "DSGVO",
    "GmbHG",
    "AktG",
    "UWG",
    "UrhG",
    "BDSG",
    "KSchG",
    "InsO",
    "GG",
    "AO",
    "SGB",
    "EStG",
    "UStG",
    "VwGO",
    "VwVfG",
    "ArbGG",
    "BetrVG",
    "MarkenG",
    "PatG",
    "GWB",
    "WEG",
    "FamFG",
    "RVG",
    "GKG",
    "BUrlG",
    "TzBfG",
    "GVG",
    "EGBGB",
    "GewO",
    "GeschGehG",
    "StVG",
    "StVO",
    "OWiG",
    "DS-GVO",
    "BauGB",
    "AGG",
    "VVG",
    "ProdHaftG",
    "ZVG",
    "U.S.C.",
    "C.F.R.",
];
