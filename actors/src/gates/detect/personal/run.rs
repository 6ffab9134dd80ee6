//! Digits as people write them: in groups, with separators between.

/// Digits that one run may have; no number that is looked for has more.
const MOST_DIGITS: usize = 20;

/// A sequence of digit groups.
#[derive(Debug)]
pub(super) struct Run {
    /// The first digit.
    pub(super) start: usize,
    digits: [u8; MOST_DIGITS],
    /// One past each group, from the start.
    ends: [u16; MOST_DIGITS],
    /// Digits in the groups up to this one.
    totals: [u8; MOST_DIGITS],
    /// What stands after each group: one of ` -./()`, or 0 after the last.
    gaps: [u8; MOST_DIGITS],
    groups: usize,
}

impl Run {
    /// Reads the run that starts with the digit at `start`. Groups that are glued to a letter, and
    /// those beyond the bound, are no part of it.
    pub(super) fn read(bytes: &[u8], start: usize) -> Self {
        let mut run = Self {
            start,
            digits: [0; MOST_DIGITS],
            ends: [0; MOST_DIGITS],
            totals: [0; MOST_DIGITS],
            gaps: [0; MOST_DIGITS],
            groups: 0,
        };
        let (mut at, mut count) = (start, 0);
        loop {
            while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
                if count == MOST_DIGITS {
                    return run;
                }
                run.digits[count] = digit - b'0';
                count += 1;
                at += 1;
            }
            if bytes.get(at).is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_') {
                return run;
            }
            // Both fit: there are few digits and short gaps.
            run.ends[run.groups] = u16::try_from(at - start).unwrap_or(u16::MAX);
            run.totals[run.groups] = u8::try_from(count).unwrap_or(u8::MAX);
            run.groups += 1;
            match gap(bytes, at) {
                Some((kind, next)) if count < MOST_DIGITS => {
                    run.gaps[run.groups - 1] = kind;
                    at = next;
                }
                _ => return run,
            }
        }
    }

    /// Whether these are the numbers of a table: more digits than any number has, by ones and twos.
    pub(super) fn is_table(&self) -> bool {
        self.groups >= MOST_DIGITS / 2 && self.total(self.groups) == MOST_DIGITS
    }

    /// How many groups there are.
    pub(super) const fn groups(&self) -> usize {
        self.groups
    }

    /// How many digits the first `groups` groups have.
    pub(super) fn total(&self, groups: usize) -> usize {
        if groups == 0 { 0 } else { usize::from(self.totals[groups - 1]) }
    }

    /// The digits of the first `groups` groups, as values.
    pub(super) fn digits(&self, groups: usize) -> &[u8] {
        &self.digits[..self.total(groups)]
    }

    /// How many digits group `index` has.
    pub(super) fn length(&self, index: usize) -> usize {
        self.total(index + 1) - self.total(index)
    }

    /// One past the last digit of the first `groups` groups.
    pub(super) fn end(&self, groups: usize) -> usize {
        self.start + usize::from(self.ends[groups.max(1) - 1])
    }

    /// What separates group `index` from the next.
    pub(super) const fn gap(&self, index: usize) -> u8 {
        self.gaps[index]
    }

    /// What follows the group that ends after `digits` digits.
    pub(super) fn gap_after(&self, digits: usize) -> Option<u8> {
        self.with_total(digits).map(|groups| self.gap(groups - 1))
    }

    /// The number of groups that have `digits` digits together.
    pub(super) fn with_total(&self, digits: usize) -> Option<usize> {
        (1..=self.groups).find(|groups| self.total(*groups) == digits)
    }

    /// Whether the first `lengths.len()` groups are as long as these.
    pub(super) fn is_shaped(&self, lengths: &[usize]) -> bool {
        lengths.len() <= self.groups
            && lengths.iter().enumerate().all(|(index, length)| self.length(index) == *length)
    }

    /// Whether every gap in the first `groups` groups is `kind`.
    pub(super) fn is_separated_by(&self, groups: usize, kind: u8) -> bool {
        self.gaps[..groups.saturating_sub(1)].iter().all(|gap| *gap == kind)
    }
}

/// The separator at `at`: what it counts as and its bytes.
pub(super) fn separator(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    match *bytes.get(at)? {
        byte @ (b' ' | b'-' | b'.' | b'/' | b'(' | b')') => Some((byte, 1)),
        // The no-break space.
        0xC2 if bytes.get(at + 1) == Some(&0xA0) => Some((b' ', 2)),
        0xE2 => match (bytes.get(at + 1)?, bytes.get(at + 2)?) {
            // Spaces of fixed width and the narrow no-break one.
            (0x80, 0x80..=0x8A | 0xAF) => Some((b' ', 3)),
            // Hyphens, dashes and the minus sign.
            (0x80, 0x90..=0x95) | (0x88, 0x92) => Some((b'-', 3)),
            _ => None,
        },
        _ => None,
    }
}

/// The separator that ends before `at`: what it counts as and where it begins.
pub(super) fn separator_before(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    (1..=3).filter_map(|length| at.checked_sub(length)).find_map(|start| {
        let (kind, length) = separator(bytes, start)?;
        (start + length == at).then_some((kind, start))
    })
}

/// What stands between two groups, and where the next one begins. At most three separators; a
/// full stop stands alone (otherwise a sentence ends there), and two spaces are two columns.
fn gap(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let (mut next, mut kind, mut spaces, mut marks) = (at, 0, 0, 0);
    for _ in 0..4 {
        let Some((found, length)) = separator(bytes, next) else { break };
        next += length;
        if found == b' ' {
            spaces += 1;
        } else {
            marks += 1;
        }
        kind = match (kind, found) {
            (b'(' | b')', _) | (b'/', b'-' | b'.') => kind,
            (0, _) => found,
            (_, b' ') => kind,
            _ => found,
        };
    }
    let fits = match kind {
        b' ' => spaces == 1,
        b'.' => marks == 1 && spaces == 0,
        b'-' | b'/' => marks == 1 && spaces <= 2,
        b'(' | b')' => marks <= 2 && spaces <= 2,
        _ => false,
    };
    (fits && bytes.get(next).is_some_and(u8::is_ascii_digit)).then_some((kind, next))
}
