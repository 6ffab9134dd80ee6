//! What a detector found.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What kind of value it is. Placeholders and labels are named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A key, token, password or the like.
    Secret,
    /// An e-mail address.
    Email,
    /// A telephone or fax number.
    Phone,
    /// A bank account number.
    Iban,
    /// A payment card number.
    Card,
    /// A tax number of a person or a company.
    TaxId,
    /// A number of a social or health insurance.
    SocialId,
    /// What identifies a person otherwise: identity papers, plates, registers, dates of birth.
    Identity,
    /// A postal address.
    Address,
    /// An address in a network.
    Ip,
    /// A passage of a legal document.
    Legal,
    /// One of the owner's own registered secrets.
    Own,
}

/// One place in a text, and why it was picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Bytes of the text, on character boundaries.
    pub range: Range<usize>,
    /// What was found.
    pub class: Class,
    /// The rule that found it.
    pub rule: Cow<'static, str>,
    /// How sure the rule is, 0 to 100.
    pub score: u8,
}
