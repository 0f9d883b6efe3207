//! The Python package `airgap`: the library as Python sees it. Nothing is
//! decided here; each call is one of the library's.

mod data;
mod errors;
mod host;
mod node;
mod plan;
mod policy;

use pyo3::prelude::*;

/// What `airgap/__init__.py` takes from here.
#[pymodule]
mod _airgap {
    #[pymodule_export]
    use super::host::Host;
    #[pymodule_export]
    use super::plan::Plan;
    #[pymodule_export]
    use super::policy::Policy;

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // Python's name
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// Python's data of what serialises to JSON, as `json.loads` makes it: the
/// `--output json` of the command.
fn to_python<'py>(py: Python<'py>, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}
