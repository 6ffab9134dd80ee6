//! Colours of the screen: the eight that every terminal has, or none. Whatever is said in colour is
//! said in words as well.

use ratatui::style::{Color, Modifier, Style};

/// Colours, or none of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) is_coloured: bool,
}

impl Paint {
    fn with(self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn good(self) -> Style {
        self.with(Color::Green)
    }

    pub(super) fn warn(self) -> Style {
        self.with(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn bad(self) -> Style {
        self.with(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What can be overlooked.
    pub(super) fn quiet(self) -> Style {
        self.with(Color::Cyan)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What must not be overlooked: the same without colour.
    pub(super) fn label(self) -> Style {
        self.with(Color::Yellow).add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// The head of a part, and of the one where the person is.
    pub(super) fn head(self, is_focused: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        if is_focused { style.patch(self.with(Color::Cyan)).add_modifier(Modifier::BOLD) } else { style }
    }

    /// A line that is selected. Where the person is not, only a mark says so.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// How full something is (0 to 1).
    pub(super) fn fullness(self, part: f64) -> Style {
        match part {
            part if part >= 0.95 => self.bad(),
            part if part >= 0.8 => self.warn(),
            _ => self.good(),
        }
    }

    /// A state in a word, of actors, jobs and lanes.
    pub(super) fn state(self, word: &str) -> Style {
        match word {
            "running" | "open" | "done" | "normal" => self.good(),
            "quarantined" | "exhausted" | "tripped" | "failed" | "emergency" => self.bad(),
            _ => self.warn(),
        }
    }
}
