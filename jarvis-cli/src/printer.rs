//! The only place that writes to stdout: tables for people, JSON for programs.

mod live;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use jarvis_core::vocabulary::ServiceState;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) use live::Live;

use crate::args::{Color, Format, Global};

/// Writes answers. Text goes through a closure, so that nothing is laid out for a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
    colored: bool,
    muted: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
    Bold,
}

impl Style {
    /// The look of a state.
    pub(crate) const fn of_state(state: ServiceState) -> Self {
        match state {
            ServiceState::Healthy => Self::Good,
            ServiceState::Degraded => Self::Warn,
            ServiceState::Down => Self::Bad,
            ServiceState::Unknown => Self::Faint,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }
}

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

/// Colours a piece of text.
pub(crate) fn paint(text: &str, style: Style, colored: bool) -> String {
    if !colored || style == Style::Plain || text.is_empty() {
        return text.to_owned();
    }
    format!("{}{text}\x1b[0m", style.code())
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let colored = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self { format: global.output, colored, muted: false }
    }

    /// One that writes nothing more: the reader is gone.
    pub(crate) const fn muted(mut self) -> Self {
        self.muted = true;
        self
    }

    pub(crate) const fn format(self) -> Format {
        self.format
    }

    pub(crate) const fn colored(self) -> bool {
        self.colored
    }

    /// Is text what is wanted?
    pub(crate) fn is_text(self) -> bool {
        self.format == Format::Text
    }

    /// Prints one answer.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, bool) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(&text(value, self.colored)),
            Format::Json => self.write(&format!("{:#}\n", serde_json::to_value(value)?)),
            Format::Jsonl => self.write(&format!("{}\n", serde_json::to_string(value)?)),
        }
    }

    /// Prints one of many answers: a line of text, or a line of JSON.
    pub(crate) fn item<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, bool) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(&text(value, self.colored)),
            Format::Json | Format::Jsonl => {
                self.write(&format!("{}\n", serde_json::to_string(value)?))
            }
        }
    }

    /// Prints text as it is.
    pub(crate) fn raw(self, text: &str) -> io::Result<()> {
        self.write(text)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        self.write_bytes(bytes)
    }

    fn write(self, text: &str) -> io::Result<()> {
        self.write_bytes(text.as_bytes())
    }

    fn write_bytes(self, bytes: &[u8]) -> io::Result<()> {
        if self.muted {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

/// A duration in at most six columns: `7ms`, `4.2s`, `3m20s`, `2h05m`, `3d04h`.
pub(crate) fn short_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.subsec_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A duration as people say it: `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn human_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        let mut text = format!("{big} {big_unit}");
        if small > 0 {
            let _ = write!(text, " {small} {small_unit}");
        }
        text
    };
    match seconds {
        0 if duration.subsec_millis() < 1 => format!("{} µs", duration.subsec_micros()),
        0 => format!("{} ms", duration.subsec_millis()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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

    #[test]
    fn durations_read_as_people_say_them() {
        let shown: Vec<String> = [1, 999, 4_200, 42_000, 200_000, 7_500_000, 270_000_000]
            .map(|millis| human_duration(Duration::from_millis(millis)))
            .to_vec();
        assert_eq!(
            shown,
            ["1 ms", "999 ms", "4.2 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 3 h"]
        );
    }
}
