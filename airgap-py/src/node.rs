//! Data of a Python program to the tree that a policy is read from. What is
//! wrong with it is found by the reader, which knows what it expected.

use std::borrow::Cow;

use airgap::policy::node::{Entry, Node, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// A policy nests five deep: table, list, opening, list, value. What goes
/// deeper is no policy's, and may be a list that holds itself.
const DEPTH: usize = 6;

/// The tree of a policy's data.
pub fn node(data: &Bound<'_, PyAny>) -> PyResult<Node<'static>> {
    value(data, 0).map(Node::data)
}

fn value(data: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value<'static>> {
    if let Ok(text) = data.cast::<PyString>() {
        return Ok(match text.to_cow() {
            Ok(text) => Value::String(Cow::Owned(text.into_owned())),
            Err(_) => foreign("a string that is no Unicode text"),
        });
    }
    // `bool` is a subclass of `int`.
    if let Ok(boolean) = data.cast::<PyBool>() {
        return Ok(Value::Boolean(boolean.is_true()));
    }
    if let Ok(number) = data.cast::<PyInt>() {
        return Ok(Value::Integer(match number.extract() {
            Ok(number) => number,
            Err(_) if number.lt(0)? => i64::MIN,
            Err(_) => i64::MAX,
        }));
    }
    if let Ok(table) = data.cast::<PyDict>() {
        return match depth {
            DEPTH => Ok(foreign("a table nested too deep")),
            _ => entries(table, depth + 1),
        };
    }
    if let Ok(list) = data.cast::<PyList>() {
        return array(list.iter(), depth);
    }
    if let Ok(list) = data.cast::<PyTuple>() {
        return array(list.iter(), depth);
    }
    if data.is_none() {
        return Ok(foreign("`None`"));
    }
    if data.is_instance_of::<PyFloat>() {
        return Ok(Value::Float);
    }
    Ok(foreign(format!(
        "of Python's type `{}`",
        data.get_type().fully_qualified_name()?
    )))
}

fn array<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
) -> PyResult<Value<'static>> {
    if depth == DEPTH {
        return Ok(foreign("a list nested too deep"));
    }
    let nodes: PyResult<Vec<_>> = items
        .map(|item| value(&item, depth + 1).map(Node::data))
        .collect();
    nodes.map(Value::Array)
}

fn entries(table: &Bound<'_, PyDict>, depth: usize) -> PyResult<Value<'static>> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, item) in table.iter() {
        let Ok(text) = key.cast::<PyString>() else {
            return Ok(foreign(format!(
                "a table with a key of Python's type `{}`",
                key.get_type().fully_qualified_name()?
            )));
        };
        let Ok(text) = text.to_cow() else {
            return Ok(foreign("a table with a key that is no Unicode text"));
        };
        entries.push(Entry::data(text.into_owned(), value(&item, depth)?));
    }
    Ok(Value::Table(entries))
}

fn foreign(called: impl Into<Cow<'static, str>>) -> Value<'static> {
    Value::Foreign(called.into())
}
