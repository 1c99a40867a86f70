//! Tables for people, and text that fits into a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::printer::{Style, paint};

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::Plain, right: false }
    }

    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style, right: false }
    }

    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

/// Columns that line up; the last one is as long as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|name| Cell::styled(*name, Style::Faint)).collect();
        Self { rows: vec![header] }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text, cut to `width` columns where one is given.
    pub(crate) fn render(&self, colored: bool, width: Option<usize>) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.text.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        // A header stands where its numbers stand.
        let rights: Vec<bool> = (0..columns)
            .map(|column| {
                self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.right))
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut left = width.unwrap_or(usize::MAX);
            for (index, cell) in row.iter().enumerate() {
                let last = index + 1 == row.len();
                let shape = (widths[index], rights[index], last);
                push_cell(&mut text, cell, shape, colored, &mut left);
            }
            let trimmed = text.trim_end_matches(' ').len();
            text.truncate(trimmed);
            text.push('\n');
        }
        text
    }
}

fn push_cell(
    text: &mut String,
    cell: &Cell,
    (width, right, last): (usize, bool, bool),
    colored: bool,
    left: &mut usize,
) {
    let shown = cut(&cell.text, *left);
    let padding = " ".repeat(width.min(*left).saturating_sub(shown.width()));
    if right {
        text.push_str(&padding);
    }
    text.push_str(&paint(&shown, cell.style, colored));
    *left = left.saturating_sub(width);
    if !last {
        if !right {
            text.push_str(&padding);
        }
        let gap = (*left).min(2);
        text.push_str(&" ".repeat(gap));
        *left -= gap;
    }
}

/// At most that many columns of a text, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        kept.push(character);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Breaks a text into lines of that many columns, all but the first indented.
pub(crate) fn wrap(text: &str, columns: usize, indent: usize) -> String {
    let columns = columns.max(indent + 20);
    let mut wrapped = String::new();
    let mut used = 0;
    for (index, word) in text.split(' ').enumerate() {
        if used > indent && used + 1 + word.width() > columns {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
        } else if index > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += word.width();
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_cut_to_the_terminal() {
        let mut table = Table::new(&["SERVICE", "MS", "WHY"]);
        table.row(vec![
            Cell::new("vocal-coach"),
            Cell::new("7").right(),
            Cell::new("connection refused"),
        ]);
        table.row(vec![Cell::styled("db", Style::Bad), Cell::new("120").right(), Cell::new("")]);
        assert_eq!(
            table.render(false, None),
            "SERVICE       MS  WHY\nvocal-coach    7  connection refused\ndb           120\n"
        );
        assert!(table.render(false, Some(29)).contains("connection…\n"));
        assert!(table.render(true, None).contains("\x1b[31mdb\x1b[0m"));
    }

    #[test]
    fn a_table_that_is_cut_has_no_line_over_the_width() {
        let mut table = Table::new(&["A", "B", "C"]);
        table.row(vec![Cell::new("eleven-long"), Cell::new("1").right(), Cell::new("语言 two")]);
        for width in 0..30 {
            for line in table.render(false, Some(width)).lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn long_lines_are_broken_between_words_with_an_indent() {
        let text = "one two three four five six seven eight";
        assert_eq!(wrap(text, 24, 4), "one two three four five\n    six seven eight");
        assert_eq!(wrap("  short", 24, 4), "  short");
    }
}
