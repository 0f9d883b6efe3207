//! JSON to [`Node`]s: strict, without comments or trailing commas, and a key
//! that stands twice is a mistake.

use std::collections::HashMap;

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::fault::Fault;
use super::node::{Entry, Node, Value, quote};
use super::source::Span;
use super::toml_reader::whole;

/// A policy nests four deep. The parser and what frees its tree walk down by
/// recursion, so the depth is bounded before they see the text.
const DEPTH: usize = 100;

/// Reads a document, or says what is wrong with it and where.
pub(super) fn read(text: &str) -> Result<Node<'_>, Vec<(Span, Fault)>> {
    check_depth(text)?;
    let collect = CollectOptions {
        comments: CommentCollectionStrategy::Off,
        tokens: false,
    };
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let value = parse_to_ast(text, &collect, &strict).map_err(|error| {
        let said = error.kind().to_string();
        let expected = match error.kind() {
            ParseErrorKind::TrailingCommasNotAllowed => {
                "expected no comma before a closing bracket"
            }
            ParseErrorKind::CommentsNotAllowed => "expected JSON without comments",
            ParseErrorKind::ExpectedComma => "expected `,` between values",
            ParseErrorKind::SingleQuotedStringsNotAllowed => "expected double quotes",
            ParseErrorKind::ExpectedStringObjectProperty => "expected a key in double quotes",
            _ => "",
        };
        vec![(
            span(error.range()),
            Fault::new(format!("invalid JSON: {}", lower_first(&said)), expected),
        )]
    })?;
    let mut faults = Vec::new();
    let end = Span {
        start: text.len(),
        end: text.len(),
    };
    match value.value {
        Some(value) => {
            let node = node(text, value, &mut faults);
            if faults.is_empty() {
                Ok(node)
            } else {
                Err(faults)
            }
        }
        None => Err(vec![(
            end,
            Fault::new("invalid JSON: there is no value", "expected an object"),
        )]),
    }
}

/// Counts brackets outside of strings. It may count wrong in text that is no
/// JSON; the parser says so then.
fn check_depth(text: &str) -> Result<(), Vec<(Span, Fault)>> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            let fault = Fault::new(
                "values nest too deep",
                format!("expected at most {DEPTH} levels"),
            );
            return Err(vec![(
                Span {
                    start: offset,
                    end: offset + 1,
                },
                fault,
            )]);
        }
    }
    Ok(())
}

fn node<'t>(text: &'t str, value: ast::Value<'t>, faults: &mut Vec<(Span, Fault)>) -> Node<'t> {
    let at = span(value.range());
    let value = match value {
        ast::Value::StringLit(string) => {
            check_string(text, at, faults);
            Value::String(string.value)
        }
        ast::Value::NumberLit(literal) => number(literal.value),
        ast::Value::BooleanLit(boolean) => Value::Boolean(boolean.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => Value::Array(
            array
                .elements
                .into_iter()
                .map(|element| node(text, element, faults))
                .collect(),
        ),
        ast::Value::Object(object) => {
            // Where each key stood first.
            let mut first = HashMap::with_capacity(object.properties.len());
            let mut entries = Vec::with_capacity(object.properties.len());
            for property in object.properties {
                let key_span = span(property.name.range());
                let key = match property.name {
                    ast::ObjectPropName::String(name) => {
                        check_string(text, key_span, faults);
                        name.value
                    }
                    ast::ObjectPropName::Word(word) => word.value.into(),
                };
                if let Some(before) = first.insert(key.clone(), key_span) {
                    let fault = Fault::new(
                        format!("the key {} stands twice in one object", quote(&key)),
                        "expected each key once",
                    );
                    faults.push((key_span, fault.related(before, "it stands here already")));
                }
                entries.push(Entry {
                    key,
                    key_span: Some(key_span),
                    node: node(text, property.value, faults),
                });
            }
            Value::Table(entries)
        }
    };
    Node {
        value,
        span: Some(at),
    }
}

/// The parser takes line ends and the like inside strings; JSON does not.
fn check_string(text: &str, at: Span, faults: &mut Vec<(Span, Fault)>) {
    let raw = text.as_bytes().get(at.start..at.end).unwrap_or_default();
    if let Some(offset) = raw.iter().position(|byte| *byte < 0x20) {
        let start = at.start + offset;
        let fault = Fault::new(
            "invalid JSON: a control character in a string",
            "expected an escape such as `\\n`",
        );
        faults.push((
            Span {
                start,
                end: start + 1,
            },
            fault,
        ));
    }
}

fn number<'t>(text: &str) -> Value<'t> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Value::Integer(whole(text, 10))
    } else {
        Value::Float
    }
}

fn span(range: Range) -> Span {
    Span {
        start: range.start,
        end: range.end,
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}
