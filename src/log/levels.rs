//! What is logged: a level, and others for single targets.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};

/// More targets than this are a mistake.
const MOST_TARGETS: usize = 64;

/// A least level, and others for single targets, as in `info,empire::store=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    text: String,
    default: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

/// Text that says no levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{part}` is no level: write error, warn, info, debug, trace or off, and others for single targets behind it, like `info,empire::store=debug`"
)]
pub struct LevelsError {
    part: String,
}

impl Levels {
    /// Nothing at all.
    #[must_use]
    pub fn off() -> Levels {
        Levels { text: "off".to_owned(), default: LevelFilter::OFF, targets: Vec::new() }
    }

    /// The same, and `level` for a target that is not named.
    #[must_use]
    pub(crate) fn unless_named(mut self, target: &str, level: LevelFilter) -> Levels {
        if !self.targets.iter().any(|(named, _)| named == target) {
            self.targets.push((target.to_owned(), level.min(self.default)));
        }
        self
    }

    fn filter(&self) -> Targets {
        Targets::new().with_default(self.default).with_targets(self.targets.iter().cloned())
    }
}

/// What the terminal and the file want.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    terminal: Targets,
    file: Targets,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sinks {
    pub(crate) terminal: bool,
    pub(crate) file: bool,
}

impl Want {
    pub(crate) fn new(terminal: &Levels, file: &Levels) -> Want {
        Want { terminal: terminal.filter(), file: file.filter() }
    }

    /// Who wants what is said there.
    pub(crate) fn sinks(&self, of: &Metadata<'_>) -> Sinks {
        let wants = |targets: &Targets| targets.would_enable(of.target(), of.level());
        Sinks { terminal: wants(&self.terminal), file: wants(&self.file) }
    }
}

impl<S: Subscriber> Filter<S> for Want {
    fn enabled(&self, of: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let Sinks { terminal, file } = self.sinks(of);
        terminal || file
    }

    // Asked once for each place in the code: what nobody wants costs nothing from then on.
    fn callsite_enabled(&self, of: &'static Metadata<'static>) -> Interest {
        let Sinks { terminal, file } = self.sinks(of);
        if terminal || file { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let of =
            |targets: &Targets| targets.iter().map(|(_, level)| level).chain(targets.default_level()).max();
        Some(of(&self.terminal).max(of(&self.file)).unwrap_or(LevelFilter::OFF))
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Levels, LevelsError> {
        let wrong = |part: &str| LevelsError { part: crate::text::one_line(part, 60) };
        let (mut default, mut targets) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None if default.is_none() => default = Some(level(part).ok_or_else(|| wrong(part))?),
                Some((target, given)) if is_target(target.trim()) && targets.len() < MOST_TARGETS => {
                    targets.push((target.trim().to_owned(), level(given).ok_or_else(|| wrong(part))?));
                }
                _ => return Err(wrong(part)),
            }
        }
        // Who names targets alone wants those.
        let default = default.unwrap_or(LevelFilter::OFF);
        Ok(Levels { text: text.trim().to_owned(), default, targets })
    }
}

/// A level by its name. (The library's own reading takes numbers and the empty text as well.)
pub(crate) fn level(name: &str) -> Option<LevelFilter> {
    const NAMES: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let name = name.trim();
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
}

fn is_target(target: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':');
    !target.is_empty() && target.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_typo_never_passes_for_a_target() {
        for wrong in ["inof", "", "info,", "info,warn", "empire=", "=info", "empire=loud", "a b=info", "3"] {
            let error = wrong.parse::<Levels>().unwrap_err().to_string();
            assert!(error.contains("is no level: write error, warn"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_target_has_its_own_level() {
        let levels: Levels = " WARN, empire::store=debug ".parse().unwrap();
        let filter = levels.clone().unless_named("sqlx", LevelFilter::ERROR).filter();
        assert!(filter.would_enable("empire::store::writer", &Level::DEBUG));
        assert!(!filter.would_enable("empire::run", &Level::INFO));
        assert!(filter.would_enable("empire::run", &Level::WARN));
        assert!(!filter.would_enable("sqlx::query", &Level::WARN));
        let named: Levels = "info,sqlx=debug".parse().unwrap();
        assert!(
            named
                .unless_named("sqlx", LevelFilter::ERROR)
                .filter()
                .would_enable("sqlx::query", &Level::DEBUG)
        );
        assert_eq!(levels.to_string(), "WARN, empire::store=debug");
    }
}
