//! The library's errors to the exceptions of `airgap/_errors.py`.

use airgap::{Error, PolicyError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::data;

/// What a method of the package answers.
pub type Answer<T> = Result<T, Failure>;

/// Why a method of the package fails.
pub enum Failure {
    /// The library said so.
    Library(Error),
    /// Python said so.
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Library(error.into())
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            // What goes wrong with making an exception is raised in its place.
            Failure::Library(error) => {
                Python::attach(|py| exception(py, &error).unwrap_or_else(|failure| failure))
            }
        }
    }
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let message = error.to_string();
    match error {
        Error::Policy(policy) => {
            let diagnostics = data::diagnostics(py, policy.diagnostics())?;
            make(py, "PolicyError", (message, diagnostics, policy.omitted()))
        }
        Error::Lockout(_) => make(py, "LockoutError", (message,)),
        Error::Conflict | Error::Pending { .. } => make(py, "ConflictError", (message,)),
        _ => match error.errno() {
            Some(errno) => make(py, "KernelError", (message, errno)),
            None => make(py, "AirgapError", (message,)),
        },
    }
}

fn make<'py>(
    py: Python<'py>,
    class: &str,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
) -> PyResult<PyErr> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("airgap._errors").map(Bound::unbind))?;
    let arguments = arguments.into_pyobject(py)?;
    let value = module.bind(py).getattr(class)?.call1(arguments)?;
    Ok(PyErr::from_value(value))
}
