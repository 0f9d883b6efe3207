//! The class `Plan`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::policy::Policy;
use crate::{data, to_python};

/// What is to be done to make a host's air gap that of a policy. `Host.plan`
/// makes it.
///
/// >>> import airgap
/// >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": [80, 443]}]})
/// >>> airgap.Host().plan(policy)
/// <airgap.Plan for '<policy>': 2 changes>
#[pyclass(frozen, module = "airgap")]
pub struct Plan(pub Arc<airgap::Plan>);

#[pymethods]
impl Plan {
    /// Whether anything is to be done.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().plan(airgap.Policy.from_toml("version = 1")).changed
    /// True
    #[getter]
    fn changed(&self) -> bool {
        self.0.changed()
    }

    /// The openings that come, go and change.
    ///
    /// >>> import airgap
    /// >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": 443}]})
    /// >>> [str(change.origin) for change in airgap.Host().plan(policy).changes]
    /// ['allow[0]']
    #[getter]
    fn changes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        data::changes(py, &self.0.changes.iter().collect::<Vec<_>>())
    }

    /// The changes as text, one a line.
    ///
    /// >>> import airgap
    /// >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": 443}]})
    /// >>> print(airgap.Host().plan(policy).diff)
    /// + allow: tcp from the host to 192.0.2.1, port 443    allow[0]
    #[getter]
    fn diff(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.to_string())
    }

    /// The policy that it is for.
    ///
    /// >>> import airgap
    /// >>> policy = airgap.Policy.from_toml("version = 1")
    /// >>> airgap.Host().plan(policy).policy == policy
    /// True
    #[getter]
    fn policy(&self) -> Policy {
        self.0.policy().clone().into()
    }

    /// The addresses that the policy's host names stand for.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().plan(airgap.Policy.from_toml("version = 1")).names
    /// {}
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        data::names(py, Some(&self.0.surroundings))
    }

    /// Chains of other programs that can cut an opening of the policy.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().plan(airgap.Policy.from_toml("version = 1")).foreign
    /// ()
    #[getter]
    fn foreign<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        data::foreign(py, &self.0.foreign)
    }

    /// The plan as data, as `airgap plan --output json` prints it.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().plan(airgap.Policy.from_toml("version = 1")).to_dict()["changed"]
    /// True
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &*self.0)
    }

    fn __repr__(&self) -> String {
        let what = match (self.0.changed(), self.0.changes.len()) {
            (false, _) => "nothing to change".to_owned(),
            (true, 0) => "no opening changes".to_owned(),
            (true, 1) => "1 change".to_owned(),
            (true, count) => format!("{count} changes"),
        };
        let name = self.0.policy().source().name();
        format!("<airgap.Plan for '{name}': {what}>")
    }
}
