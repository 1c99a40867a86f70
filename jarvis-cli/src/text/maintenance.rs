//! Maintenance windows as a table.

use jarvis_core::operator::MaintenanceStatus;

use super::table::{Cell, Table};

/// A row for each open window that was added by hand.
pub(crate) fn list(windows: &[MaintenanceStatus], colored: bool, width: Option<usize>) -> String {
    if windows.is_empty() {
        return "no maintenance window that was added by hand is open\n".to_owned();
    }
    let mut table = Table::new(&["WINDOW", "SERVICES", "UNTIL", "BY", "REASON"]);
    for window in windows {
        table.row(vec![
            Cell::new(window.window.to_string()),
            Cell::new(window.services.join(", ")),
            Cell::new(window.until.to_string()),
            Cell::new(&window.by),
            Cell::new(&window.reason),
        ]);
    }
    table.render(colored, width)
}
