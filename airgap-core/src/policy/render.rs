//! How a diagnostic looks to a person: what is wrong, `path:LINE:COL`, the
//! line with the mistake underlined, what was expected, and how to mend it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer};

use super::diagnostic::{Diagnostic, Severity};
use super::model::Place;
use super::source::Source;

/// More than these would only scroll the first ones away.
const SHOWN: usize = 100;

/// A line of so many characters is shown whole.
const WHOLE: usize = 160;

/// Of a longer one, so many characters are shown, around the mistake.
const WIDTH: usize = 110;

/// So many of them stand before the mistake.
const BEFORE: usize = 40;

/// Whether messages carry the colours of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Text alone.
    #[default]
    Plain,
    /// With ANSI escapes.
    Coloured,
}

/// One diagnostic, with the lines of `source` it is about. Ends with a newline.
#[must_use]
pub fn render(diagnostic: &Diagnostic, source: &Source, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(visible(&diagnostic.message));
    let spot = Spot {
        place: diagnostic.place,
        end: diagnostic.end,
        path: &diagnostic.path,
        label: &diagnostic.label,
        help: diagnostic.help.as_deref(),
    };
    let own = diagnostic.file.as_deref().unwrap_or(source);
    let mut text = spot.render(Group::with_title(title), own, style);
    for related in &diagnostic.related {
        let title = Level::NOTE.secondary_title(visible(&related.label));
        let spot = Spot {
            place: related.place,
            end: related.end,
            path: &related.path,
            label: "",
            help: None,
        };
        text.push_str(&spot.render(Group::with_title(title), source, style));
    }
    text
}

/// Many diagnostics, the first hundred in full.
#[must_use]
pub fn render_all(
    diagnostics: &[Diagnostic],
    omitted: usize,
    source: &Source,
    style: Style,
) -> String {
    let shown: Vec<_> = diagnostics
        .iter()
        .take(SHOWN)
        .map(|diagnostic| render(diagnostic, source, style))
        .collect();
    let mut text = shown.join("\n");
    let more = diagnostics.len().saturating_sub(SHOWN) + omitted;
    if more > 0 {
        text.push_str(&format!("\nand {more} more\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

/// A place and what is said about it.
struct Spot<'d> {
    place: Place,
    end: Place,
    path: &'d str,
    label: &'d str,
    help: Option<&'d str>,
}

impl Spot<'_> {
    /// The title, then `path:LINE:COL`, then the line with this underlined.
    /// Where there is no text, the path through the keys stands for it.
    fn render(&self, mut group: Group<'_>, source: &Source, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled().hyperlink(false),
        };
        // Lines are cut here already, with the mistake in sight.
        let renderer = renderer.term_width(4 * WHOLE);
        let Place {
            line: number,
            column,
        } = self.place;
        let name = visible(source.name());
        let (margin, origin) = match source.line(number) {
            Some(line) => {
                let (shown, from, to) = window(line, self.place, self.end);
                let mut mark = AnnotationKind::Primary.span(from..to);
                if !self.label.is_empty() {
                    mark = mark.label(visible(self.label));
                }
                group = group.element(
                    Snippet::source(shown)
                        .line_start(index(number))
                        .fold(false)
                        .annotation(mark),
                );
                (
                    number.to_string().len(),
                    format!("{name}:{number}:{column}"),
                )
            }
            None => {
                if !self.label.is_empty() {
                    group = group.element(Level::NOTE.message(visible(self.label)));
                }
                let path = visible(self.path);
                (
                    1,
                    if path.is_empty() {
                        name
                    } else {
                        format!("{name} at {path}")
                    },
                )
            }
        };
        if let Some(help) = self.help {
            group = group.element(Level::HELP.message(visible(help)));
        }
        // The renderer would count the column in the part of the line that it
        // is given, so the arrow is written here.
        let rendered = renderer.render(&[group]);
        let (title, rest) = rendered.split_once('\n').unwrap_or((&rendered, ""));
        let (on, off) = match style {
            Style::Plain => (String::new(), String::new()),
            Style::Coloured => (
                renderer::DEFAULT_LINE_NUM_STYLE.render().to_string(),
                renderer::DEFAULT_LINE_NUM_STYLE.render_reset().to_string(),
            ),
        };
        let arrow = format!("{title}\n{:margin$}{on}-->{off} {origin}\n", "");
        if rest.is_empty() {
            arrow
        } else {
            format!("{arrow}{rest}\n")
        }
    }
}

/// The part of a line to show, and the bytes of it to underline. What goes on
/// behind the line's end is underlined up to there.
fn window(line: &str, place: Place, end: Place) -> (String, usize, usize) {
    let column = index(place.column).saturating_sub(1);
    let last = if end.line == place.line {
        index(end.column).saturating_sub(1).max(column)
    } else {
        usize::MAX
    };
    let whole = line.chars().nth(WHOLE).is_none();
    let (skip, width) = if whole {
        (0, WHOLE)
    } else {
        (column.saturating_sub(BEFORE), WIDTH)
    };
    let mut characters = line.chars().skip(skip);
    let mut shown = String::new();
    if skip > 0 {
        shown.push_str("... ");
    }
    let (mut from, mut to) = (None, None);
    for (at, character) in characters
        .by_ref()
        .take(width)
        .enumerate()
        .map(|(i, c)| (i + skip, c))
    {
        if at == column {
            from = Some(shown.len());
        }
        if at == last {
            to = Some(shown.len());
        }
        // One character stays one column, so that the line under it fits.
        shown.push(if character.is_control() && character != '\t' {
            '\u{fffd}'
        } else {
            character
        });
    }
    let length = shown.len();
    if characters.next().is_some() {
        shown.push_str(" ...");
    }
    let from = from.unwrap_or(length);
    (shown, from, to.unwrap_or(length).max(from))
}

/// Text from outside without what a terminal would obey.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
