//! Where each panel stands. What an incident needs has its rows on the smallest screen; more
//! room goes to what is long.

use ratatui::layout::{Constraint, Layout, Rect};

use super::panels::Panel;

/// Columns and lines below which only the panel in focus is shown.
const SMALL: (u16, u16) = (60, 14);
/// Lines from which on namespaces have a panel of their own.
const TALL: u16 = 26;

/// `None` if there is room for one panel only.
pub(super) fn places(area: Rect) -> Option<Vec<(Panel, Rect)>> {
    if area.width < SMALL.0 || area.height < SMALL.1 {
        return None;
    }
    let namespaces = if area.height >= TALL { 1 } else { 0 };
    let [ends, owners, ports, conflicts, namespaces] = Layout::vertical([
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(namespaces),
    ])
    .areas(area);
    let halves = |area| {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2])
            .spacing(2)
            .areas(area);
        (left, right)
    };
    let (reasons, lifetimes) = halves(ends);
    let (owners, destinations) = halves(owners);
    Some(vec![
        (Panel::Ends, reasons),
        (Panel::Lifetimes, lifetimes),
        (Panel::Owners, owners),
        (Panel::Destinations, destinations),
        (Panel::Ports, ports),
        (Panel::Conflicts, conflicts),
        (Panel::Namespaces, namespaces),
    ])
}
