//! TOML to [`Node`]s.

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::node::{Entry, Node, Value};
use super::source::Span;

/// Reads a document, or says what is wrong with it and where. The parser goes
/// on behind a mistake, so there can be many; it also bounds how deep values
/// nest.
pub(super) fn read(text: &str) -> Result<Node<'_>, Vec<(Span, Fault)>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = Some(Span { start: 0, end: 0 });
        return Ok(Node {
            value: table(root.into_inner()),
            span,
        });
    }
    let faults = errors.iter().map(|error| {
        let span = error.span().map_or(
            Span {
                start: text.len(),
                end: text.len(),
            },
            Span::from,
        );
        (span, fault(error.message(), span))
    });
    Err(faults.collect())
}

/// `what, expected that` becomes a message and what was expected.
fn fault(message: &str, span: Span) -> Fault {
    match message.split_once(", expected ") {
        Some(("string values must be quoted", _)) => {
            let what = if span.start == span.end {
                "the value is missing"
            } else {
                "this is no value"
            };
            Fault::new(
                format!("invalid TOML: {what}"),
                "expected a value; text stands in quotes",
            )
        }
        Some((what, expected)) => Fault::new(
            format!("invalid TOML: {what}"),
            format!("expected {expected}"),
        ),
        None if message == "duplicate key" => Fault::new(
            "this key or table stands twice",
            "expected each key once in a table",
        ),
        None => Fault::new(format!("invalid TOML: {message}"), ""),
    }
}

fn table(table: DeTable<'_>) -> Value<'_> {
    let entries = table.into_iter().map(|(key, value)| Entry {
        key_span: Some(key.span().into()),
        key: key.into_inner(),
        node: node(value.span().into(), value.into_inner()),
    });
    Value::Table(entries.collect())
}

fn node(span: Span, value: DeValue<'_>) -> Node<'_> {
    let value = match value {
        DeValue::String(text) => Value::String(text),
        DeValue::Integer(integer) => Value::Integer(whole(integer.as_str(), integer.radix())),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(values) => Value::Array(
            values
                .into_iter()
                .map(|value| node(value.span().into(), value.into_inner()))
                .collect(),
        ),
        DeValue::Table(entries) => table(entries),
    };
    Node {
        value,
        span: Some(span),
    }
}

/// A number that is too big for the type is too big for every key: which bound
/// it is beyond is all that a message needs.
pub(super) fn whole(digits: &str, radix: u32) -> i64 {
    let bound = if digits.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::from_str_radix(digits, radix).unwrap_or(bound)
}
