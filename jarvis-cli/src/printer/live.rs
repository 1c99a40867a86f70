//! A block at the bottom of the terminal that is redrawn in place; events scroll by above it.

use std::fmt::Write as _;
use std::io::{self, Write};

use terminal_size::{Height, Width};
use unicode_width::UnicodeWidthChar;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// Terminals that know it show a frame only when it is complete; the others ignore it.
const BEGIN_FRAME: &str = "\x1b[?2026h";
const END_FRAME: &str = "\x1b[J\x1b[?2026l";

/// The size to assume if the terminal does not report one.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The display. Shows the cursor again when it is dropped; the last block stays.
#[derive(Debug)]
pub(crate) struct Live {
    /// The width of each line of the block on the screen.
    block: Vec<usize>,
}

impl Live {
    /// Takes the terminal.
    pub(crate) fn begin() -> io::Result<Self> {
        write(HIDE_CURSOR)?;
        Ok(Self { block: Vec::new() })
    }

    /// Columns and rows of the terminal.
    pub(crate) fn size() -> (usize, usize) {
        terminal_size::terminal_size()
            .map_or(USUAL_SIZE, |(Width(columns), Height(rows))| (columns.into(), rows.into()))
    }

    /// Prints `above`, which stays, and redraws the block below it. In one write: no flicker.
    pub(crate) fn frame(&mut self, above: &str, block: &str) -> io::Result<()> {
        let (columns, _) = Self::size();
        let mut frame = String::from(BEGIN_FRAME);
        // A terminal that became narrower wraps the old lines.
        let rows: usize =
            self.block.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows > 0 {
            let _ = write!(frame, "\x1b[{rows}F");
        }
        for line in above.lines().chain(block.lines()) {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str(END_FRAME);
        self.block = block.lines().map(visible_width).collect();
        write(&frame)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = write(SHOW_CURSOR);
    }
}

/// How many columns a line takes; its colors take none.
fn visible_width(line: &str) -> usize {
    let mut width = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // A color sequence ends with `m`; a block has no other sequences.
            characters.by_ref().find(|character| *character == 'm');
        } else {
            width += character.width().unwrap_or(0);
        }
    }
    width
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_take_no_columns() {
        assert_eq!(visible_width("\x1b[31mdown\x1b[0m  语"), 8);
    }
}
