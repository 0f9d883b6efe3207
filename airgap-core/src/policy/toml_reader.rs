//! TOML to [`Node`]s.

use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::fault::Fault;
use super::node::{Entry, Node, Value};
use super::source::Span;

/// A policy nests four deep. The parser bounds brackets and dotted keys, each
/// on their own: together they still nest deep enough to fill a stack when the
/// tree is freed.
const DEPTH: usize = 100;

/// Reads a document, or says what is wrong with it and where. The parser goes
/// on behind a mistake, so there can be many.
pub(super) fn read(text: &str) -> Result<Node<'_>, Vec<(Span, Fault)>> {
    check_depth(text)?;
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

/// Counts the brackets around, and the dots of the keys in and between them.
fn check_depth(text: &str) -> Result<(), Vec<(Span, Fault)>> {
    let mut depth = 0;
    // The depth inside of each open bracket.
    let mut open = Vec::new();
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                depth += 1;
                open.push(depth);
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                depth = open.pop().map_or(0, |inside: usize| inside - 1);
            }
            TokenKind::Comma | TokenKind::Newline => depth = open.last().copied().unwrap_or(0),
            TokenKind::Dot => depth += 1,
            _ => {}
        }
        if depth > DEPTH {
            let at = token.span();
            let fault = Fault::new(
                "values nest too deep",
                format!("expected at most {DEPTH} levels"),
            );
            return Err(vec![((at.start()..at.end()).into(), fault)]);
        }
    }
    Ok(())
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
