//! The rules of the privacy gate that ship with the program.

use empire_actors::gates::detect::{RuleError, RuleFile, Rules};

/// The files of `config/privacy` with formats of secrets, and their names.
const SHIPPED: &[(&str, &str)] = &[
    ("secrets-chat.toml", include_str!("../config/privacy/secrets-chat.toml")),
    ("secrets-cloud.toml", include_str!("../config/privacy/secrets-cloud.toml")),
    ("secrets-code.toml", include_str!("../config/privacy/secrets-code.toml")),
    ("secrets-keys.toml", include_str!("../config/privacy/secrets-keys.toml")),
    ("secrets-models.toml", include_str!("../config/privacy/secrets-models.toml")),
    ("secrets-trade.toml", include_str!("../config/privacy/secrets-trade.toml")),
    ("secrets-work.toml", include_str!("../config/privacy/secrets-work.toml")),
];

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyRulesError {
    /// A file is not what a rule file has to be.
    #[error("privacy rules {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A rule does not fit.
    #[error("privacy rules: {0}")]
    Rule(#[from] RuleError),
}

/// Reads the text of a rule file.
///
/// # Errors
/// It is not one; the error says where.
pub fn parse(file: &str, text: &str) -> Result<RuleFile, PrivacyRulesError> {
    toml::from_str(text)
        .map_err(|source| PrivacyRulesError::File { file: file.to_owned(), source: Box::new(source) })
}

/// The rules that ship.
///
/// # Errors
/// Never, as tests prove; a caller passes the error on all the same.
pub fn shipped() -> Result<Rules, PrivacyRulesError> {
    let files: Vec<RuleFile> =
        SHIPPED.iter().map(|(file, text)| parse(file, text)).collect::<Result<_, _>>()?;
    Ok(Rules::compile(&files)?)
}

#[cfg(test)]
mod tests;
