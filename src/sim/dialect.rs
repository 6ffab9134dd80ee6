//! The three dialects that the simulator speaks.

use serde::{Deserialize, Serialize};

/// Whose wire protocol a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dialect {
    /// Ollama's own API.
    Ollama,
    /// Moonshot's, which is OpenAI's chat completions.
    Kimi,
    /// Anthropic's Messages.
    Claude,
}

impl Dialect {
    /// All of them, in the order of [`Dialect::index`].
    pub(super) const ALL: [Dialect; 3] = [Dialect::Ollama, Dialect::Kimi, Dialect::Claude];

    /// Its place in arrays.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// As scenarios and records call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Dialect::Ollama => "ollama",
            Dialect::Kimi => "kimi",
            Dialect::Claude => "claude",
        }
    }

    /// The dialect of that name.
    pub(super) fn named(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}
