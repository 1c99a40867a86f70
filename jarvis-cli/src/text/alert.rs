//! Alert sinks as a table.

use jarvis_core::jarvis::AlertTestAnswer;

use super::table::{Cell, Table};
use crate::printer::Style;

/// A row for each sink that was tested.
pub(crate) fn tested(answers: &[AlertTestAnswer], colored: bool, width: Option<usize>) -> String {
    let mut table = Table::new(&["SINK", "RESULT", "ERROR"]);
    for answer in answers {
        let result = match answer.error {
            None => Cell::styled("delivered", Style::Good),
            Some(_) => Cell::styled("failed", Style::Bad),
        };
        let error = answer.error.clone().unwrap_or_default();
        table.row(vec![Cell::new(answer.sink.clone()), result, Cell::new(error)]);
    }
    table.render(colored, width)
}
