//! What the searches of all classes report.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What kind of value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A key, token, password or the like.
    Secret,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An IBAN.
    Iban,
    /// The number of a payment card.
    Card,
    /// A tax number.
    TaxId,
    /// A social security or health insurance number.
    SocialId,
    /// The number of an identity document.
    Identity,
    /// A postal address.
    Address,
    /// An IP address.
    Ip,
    /// A passage of a legal document.
    Legal,
    /// One of the owner's registered secrets.
    Own,
}

/// One value found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Where it stands, in bytes of the searched text.
    pub range: Range<usize>,
    /// What it is.
    pub class: Class,
    /// The rule that found it.
    pub rule: Cow<'static, str>,
    /// How sure that is, 0 to 100.
    pub score: u8,
}
