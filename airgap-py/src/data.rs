//! The library's answers to the data classes of `airgap/_data.py`.

use airgap::flow::DecidingRule;
use airgap::graph::Origin;
use airgap::policy::{Diagnostic, Place};
use airgap::{
    Applied, Change, ChangeKind, CounterexampleKind, Explanation, ForeignDrop, Rollback,
    RollbackReason, Status, Surroundings, Verification,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::to_python;

/// An instance of a data class, from its fields by name.
macro_rules! instance {
    ($py:expr, $class:literal, { $($field:literal: $value:expr),* $(,)? }) => {{
        let fields = PyDict::new($py);
        $(fields.set_item($field, $value)?;)*
        class($py, $class)?.call((), Some(&fields))
    }};
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("airgap._data").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// A tuple of what `make` makes of each item.
fn tuple<'py, T>(
    py: Python<'py>,
    items: &[T],
    make: impl Fn(&T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let made: PyResult<Vec<_>> = items.iter().map(make).collect();
    PyTuple::new(py, made?)
}

/// The line and column of a place, where there is a text.
fn place(place: Place) -> (Option<u32>, Option<u32>) {
    let number = |number: u32| (number > 0).then_some(number);
    (number(place.line), number(place.column))
}

pub fn diagnostics<'py>(
    py: Python<'py>,
    diagnostics: &[Diagnostic],
) -> PyResult<Bound<'py, PyTuple>> {
    tuple(py, diagnostics, |diagnostic| {
        let related = tuple(py, &diagnostic.related, |related| {
            let (line, column) = place(related.place);
            let (end_line, end_column) = place(related.end);
            instance!(py, "Related", {
                "path": &related.path,
                "line": line,
                "column": column,
                "end_line": end_line,
                "end_column": end_column,
                "label": &related.label,
            })
        })?;
        let (line, column) = place(diagnostic.place);
        let (end_line, end_column) = place(diagnostic.end);
        instance!(py, "Diagnostic", {
            "severity": diagnostic.severity.to_string(),
            "message": &diagnostic.message,
            "path": &diagnostic.path,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "label": &diagnostic.label,
            "help": &diagnostic.help,
            "related": related,
        })
    })
}

fn origin<'py>(py: Python<'py>, origin: &Origin) -> PyResult<Bound<'py, PyAny>> {
    let (line, column) = place(origin.place);
    instance!(py, "Origin", {
        "section": to_python(py, &origin.section)?,
        "index": origin.index,
        "line": line,
        "column": column,
    })
}

fn rule<'py>(
    py: Python<'py>,
    rule: &DecidingRule,
    hook: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let origin = rule.origin.as_ref();
    instance!(py, "DecidingRule", {
        "owner": &rule.owner,
        "table": &rule.table,
        "chain": &rule.chain,
        "rule": &rule.rule,
        "comment": &rule.comment,
        "origin": origin.map(|one| self::origin(py, one)).transpose()?,
        "hook": hook,
    })
}

pub fn explanation<'py>(py: Python<'py>, explanation: &Explanation) -> PyResult<Bound<'py, PyAny>> {
    let by = explanation.by.as_ref();
    let way = tuple(py, &explanation.way, |step| {
        rule(py, &step.rule, Some(&step.hook))
    })?;
    instance!(py, "Explanation", {
        "flow": explanation.flow.to_string(),
        "verdict": explanation.verdict.to_string(),
        "packet": &explanation.packet,
        "by": by.map(|one| rule(py, one, None)).transpose()?,
        "way": way,
        "unsure": PyTuple::new(py, &explanation.unsure)?,
        "assumed": PyTuple::new(py, &explanation.assumed)?,
        "nearest": explanation.nearest.as_ref().map(ToString::to_string),
        "opens": &explanation.opens,
        "text": explanation.to_string(),
    })
}

pub fn changes<'py>(py: Python<'py>, changes: &[Change]) -> PyResult<Bound<'py, PyTuple>> {
    tuple(py, changes, |change| {
        let origin = change.origin.as_ref();
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        instance!(py, "Change", {
            "kind": kind,
            "opening": &change.opening,
            "was": &change.was,
            "origin": origin.map(|one| self::origin(py, one)).transpose()?,
        })
    })
}

pub fn foreign<'py>(py: Python<'py>, drops: &[ForeignDrop]) -> PyResult<Bound<'py, PyTuple>> {
    tuple(py, drops, |drop| {
        instance!(py, "ForeignDrop", {
            "table": &drop.table,
            "chain": &drop.chain,
            "hook": &drop.hook,
            "policy_drop": drop.policy_drop,
            "owner": &drop.owner,
        })
    })
}

/// The addresses of each host name.
pub fn names<'py>(
    py: Python<'py>,
    surroundings: Option<&Surroundings>,
) -> PyResult<Bound<'py, PyDict>> {
    let names = PyDict::new(py);
    for (name, addresses) in surroundings.iter().flat_map(|known| &known.names) {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        names.set_item(name, PyTuple::new(py, addresses)?)?;
    }
    Ok(names)
}

pub fn applied<'py>(py: Python<'py>, applied: &Applied) -> PyResult<Bound<'py, PyAny>> {
    instance!(py, "Applied", {
        "changed": applied.changed,
        "operations": applied.operations,
        "retries": applied.retries,
    })
}

pub fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyAny>> {
    let dropped = tuple(py, &status.dropped, |drops| {
        instance!(py, "ChainDrops", {
            "family": &drops.family,
            "chain": &drops.chain,
            "reason": &drops.reason,
            "packets": drops.packets,
            "bytes": drops.bytes,
        })
    })?;
    instance!(py, "Status", {
        "sealed": status.sealed,
        "hash": &status.hash,
        "source": &status.source,
        "since": status.since,
        "drift": PyTuple::new(py, &status.drift)?,
        "pending": match &status.pending {
            Some(pending) => Some(instance!(py, "Pending", {
                "hash": &pending.hash,
                "source": &pending.source,
                "by": &pending.by,
                "since": pending.since,
                "left": pending.left,
                "awaited": pending.awaited,
            })?),
            None => None,
        },
        "last_rollback": match &status.last_rollback {
            Some(last) => Some(rollback(py, last)?),
            None => None,
        },
        "dropped": dropped,
        "names": names(py, status.surroundings.as_ref())?,
        "foreign": foreign(py, &status.foreign)?,
    })
}

/// The data class `Rollback`.
pub fn rollback<'py>(py: Python<'py>, rollback: &Rollback) -> PyResult<Bound<'py, PyAny>> {
    instance!(py, "Rollback", {
        "at": rollback.at,
        "reason": match rollback.reason {
            RollbackReason::NotConfirmed => "not-confirmed",
            RollbackReason::Asked => "asked",
            RollbackReason::NotLoaded => "not-loaded",
        },
        "hash": &rollback.hash,
        "error": &rollback.error,
    })
}

pub fn verification<'py>(py: Python<'py>, found: &Verification) -> PyResult<Bound<'py, PyAny>> {
    let (result, counterexample, reasons) = match found {
        Verification::Verified => ("verified", None, [].as_slice()),
        Verification::Counterexample(found) => ("counterexample", Some(found), [].as_slice()),
        Verification::Undecided { reasons } => ("undecided", None, reasons.as_slice()),
    };
    let packet = counterexample.map_or([].as_slice(), |found| found.packet.as_slice());
    instance!(py, "Verification", {
        "result": result,
        "kind": counterexample.map(|found| match found.kind {
            CounterexampleKind::OpenAndNotStated => "open-and-not-stated",
            CounterexampleKind::StatedAndNotOpen => "stated-and-not-open",
        }),
        "flow": counterexample.map(|found| found.flow.to_string()),
        "packet": PyTuple::new(py, packet)?,
        "dropped_by": counterexample.and_then(|found| found.dropped_by.clone()),
        "reasons": PyTuple::new(py, reasons)?,
    })
}
