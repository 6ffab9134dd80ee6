//! Columns in as much room as there is: what matters least goes first, and what is too long is cut.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::text::Lean;

/// Blanks between two columns.
const GAP: usize = 1;

/// What stands in a column, for each row.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Text(String, Style),
    /// A bar, filled so far (0 to 1).
    Bar(f64, Style),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>, style: Style) -> Cell {
        Cell::Text(text.into(), style)
    }

    fn width(&self) -> usize {
        match self {
            Cell::Text(text, _) => width(text),
            Cell::Bar(..) => 0,
        }
    }

    fn span(&self, room: usize, lean: Lean) -> Span<'static> {
        match self {
            Cell::Text(text, style) => {
                let text = cut(text, room);
                let blanks = " ".repeat(room - width(&text));
                let padded = if lean == Lean::Left { text + &blanks } else { blanks + &text };
                Span::styled(padded, *style)
            }
            Cell::Bar(part, style) => Span::styled(bar(*part, room), *style),
        }
    }
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) lean: Lean,
    /// The highest goes first where there is no room; 0 stays.
    pub(super) rank: u8,
    /// How narrow it may get, and how wide, if that is not as wide as what is in it.
    pub(super) between: Option<(usize, usize)>,
    pub(super) cells: Vec<Cell>,
}

impl Column {
    pub(super) fn new(title: &'static str, lean: Lean, rank: u8, cells: Vec<Cell>) -> Column {
        Column { title, lean, rank, between: None, cells }
    }

    pub(super) fn between(self, least: usize, most: usize) -> Column {
        Column { between: Some((least, most)), ..self }
    }

    /// As wide as what is in it.
    fn natural(&self) -> usize {
        let cells = self.cells.iter().map(Cell::width).max().unwrap_or(0);
        let own = cells.max(self.title.chars().count());
        match self.between {
            // A bar takes what it gets.
            Some((_, most)) if self.is_bar() => most,
            Some((_, most)) => own.min(most),
            None => own,
        }
    }

    fn least(&self) -> usize {
        self.between.map_or_else(|| self.natural(), |(least, _)| least.min(self.natural()))
    }

    fn is_bar(&self) -> bool {
        self.cells.iter().any(|cell| matches!(cell, Cell::Bar(..)))
    }
}

/// The titles, and the rows, none wider than `room`.
pub(super) fn lay(mut columns: Vec<Column>, room: usize) -> (Line<'static>, Vec<Line<'static>>) {
    let needs = |columns: &[Column]| {
        columns.iter().map(Column::least).sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    while needs(&columns) > room {
        // Of the same rank the last one goes.
        let last = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
        match last.filter(|(_, column)| column.rank > 0).map(|(place, _)| place) {
            Some(place) => drop(columns.remove(place)),
            None => break,
        }
    }
    let mut left = room.saturating_sub(needs(&columns));
    let mut widths: Vec<usize> = columns.iter().map(Column::least).collect();
    // Words before bars.
    for of_bars in [false, true] {
        for (column, width) in
            columns.iter().zip(&mut widths).filter(|(column, _)| column.is_bar() == of_bars)
        {
            let more = (column.natural() - *width).min(left);
            *width += more;
            left -= more;
        }
    }
    let line = |cells: Vec<Span<'static>>| {
        let mut spans = Vec::with_capacity(cells.len() * 2);
        for cell in cells {
            if !spans.is_empty() {
                spans.push(Span::raw(" ".repeat(GAP)));
            }
            spans.push(cell);
        }
        Line::from(spans)
    };
    let plain = Style::new();
    let titles = columns
        .iter()
        .zip(&widths)
        .map(|(column, width)| Cell::text(column.title, plain).span(*width, column.lean));
    let titles = line(titles.collect());
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    let row = |row: usize| {
        let cells = columns.iter().zip(&widths);
        let empty = Cell::text("", plain);
        line(
            cells
                .map(|(column, width)| column.cells.get(row).unwrap_or(&empty).span(*width, column.lean))
                .collect(),
        )
    };
    (titles, (0..rows).map(row).collect())
}

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text that takes at most so many columns; what is cut off leaves a `…`.
pub(super) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 0;
    for character in text.chars() {
        let wide = width(character.encode_utf8(&mut [0; 4]));
        if taken + wide > room.saturating_sub(1) {
            break;
        }
        shown.push(character);
        taken += wide;
    }
    if room > 0 {
        shown.push('…');
    }
    shown
}

/// A bar of `room` columns, filled so far (0 to 1). It is full only if nothing is missing.
pub(super) fn bar(part: f64, room: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * room as f64) as usize;
    "█".repeat(full.min(room)) + &"░".repeat(room - full.min(room))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_matters_least_goes_first_and_the_rest_is_cut() {
        let column = |title, rank, text: &str| {
            Column::new(title, Lean::Left, rank, vec![Cell::text(text, Style::new())])
        };
        let columns = vec![
            column("NAME", 0, "a long name").between(4, 20),
            column("LEAST", 2, "12345"),
            column("MORE", 1, "1234"),
        ];
        let shown = |room| {
            let (titles, rows) = lay(columns.clone(), room);
            (titles.to_string(), rows[0].to_string())
        };
        assert_eq!(shown(30), ("NAME        LEAST MORE".to_owned(), "a long name 12345 1234".to_owned()));
        assert_eq!(shown(18), ("NAME    LEAST MORE".to_owned(), "a long… 12345 1234".to_owned()));
        assert_eq!(shown(12), ("NAME    MORE".to_owned(), "a long… 1234".to_owned()));
        assert_eq!(shown(5), ("NAME ".to_owned(), "a lo…".to_owned()));
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(
            texts in prop::collection::vec("\\PC{0,12}|[漢字]{0,6}", 1..6),
            room in 1usize..60,
            part in -0.5f64..1.5,
        ) {
            prop_assert!(texts.iter().all(|text| width(&cut(text, room)) <= room));
            prop_assert_eq!(width(&bar(part, room)), room);
            let columns = texts.iter().enumerate().map(|(rank, text)| {
                let cells = vec![Cell::text(text.clone(), Style::new())];
                Column::new("T", Lean::Right, rank as u8, cells).between(1, 20)
            });
            let (_, rows) = lay(columns.collect(), room);
            prop_assert!(rows.iter().all(|row| row.width() <= room));
        }
    }
}
