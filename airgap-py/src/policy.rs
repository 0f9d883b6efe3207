//! The class `Policy`.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::Answer;
use crate::{data, node, to_python};

/// The openings of an air gap. Whatever it does not name is dropped.
///
/// >>> import airgap
/// >>> airgap.Policy.from_toml('''
/// ... version = 1
/// ... [[allow]]
/// ... to = "192.0.2.1"
/// ... port = 443
/// ... ''')
/// <airgap.Policy '<policy>': 1 allow, sha256:...>
#[pyclass(frozen, eq, hash, module = "airgap")]
#[derive(PartialEq, Eq)]
pub struct Policy(pub Arc<airgap::Policy>);

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash().hash(state);
    }
}

impl From<airgap::Policy> for Policy {
    fn from(policy: airgap::Policy) -> Self {
        Self(Arc::new(policy))
    }
}

#[pymethods]
impl Policy {
    /// Reads a policy from a file: JSON if its name ends in `.json`, else TOML.
    /// `-` is standard input.
    ///
    /// >>> import airgap, pathlib
    /// >>> path = pathlib.Path("policy.toml")
    /// >>> _ = path.write_text("version = 1")
    /// >>> airgap.Policy.load(path).to_dict()
    /// {'version': 1, 'host': {}}
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> Answer<Self> {
        Ok(py.detach(|| airgap::Policy::load(&path))?.into())
    }

    /// Reads a policy from TOML that messages call `name`.
    ///
    /// >>> import airgap
    /// >>> airgap.Policy.from_toml("version = 1").warnings
    /// ()
    #[staticmethod]
    #[pyo3(signature = (text, name = "<policy>"))]
    fn from_toml(py: Python<'_>, text: &str, name: &str) -> Answer<Self> {
        Ok(py
            .detach(|| airgap::Policy::from_toml_named(text, name))?
            .into())
    }

    /// Reads a policy from JSON that messages call `name`.
    ///
    /// >>> import airgap
    /// >>> airgap.Policy.from_json('{"version": 1}') == airgap.Policy.from_toml("version = 1")
    /// True
    #[staticmethod]
    #[pyo3(signature = (text, name = "<policy>"))]
    fn from_json(py: Python<'_>, text: &str, name: &str) -> Answer<Self> {
        Ok(py
            .detach(|| airgap::Policy::from_json_named(text, name))?
            .into())
    }

    /// Makes a policy of data; messages call it `name` and give paths in place
    /// of lines.
    ///
    /// >>> import airgap
    /// >>> airgap.Policy.from_dict({"version": 1, "bridge": [{"name": "docker0", "port": [8888]}]})
    /// Traceback (most recent call last):
    ///     ...
    /// airgap.PolicyError: ...
    #[staticmethod]
    #[pyo3(signature = (data, name = "<policy>"))]
    fn from_dict(py: Python<'_>, data: &Bound<'_, PyDict>, name: &str) -> Answer<Self> {
        let tree = node::node(data)?;
        Ok(py
            .detach(move || airgap::Policy::from_node(&tree, name))?
            .into())
    }

    /// What is legal and likely wrong, in the order of the text.
    ///
    /// >>> import airgap
    /// >>> pair = {"to": "192.0.2.1", "port": 443}
    /// >>> [w.path for w in airgap.Policy.from_dict({"version": 1, "allow": [pair, pair]}).warnings]
    /// ['allow[1]']
    #[getter]
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let warnings = py.detach(|| self.0.warnings());
        data::diagnostics(py, &warnings)
    }

    /// SHA-256 of the policy's JSON form, in lowercase hex. Policies that say
    /// the same in the same order have the same hash.
    ///
    /// >>> import airgap
    /// >>> len(airgap.Policy.from_toml("version = 1").hash)
    /// 64
    #[getter(hash)]
    fn sha256(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.hash().to_owned())
    }

    /// Where it was read from.
    ///
    /// >>> import airgap
    /// >>> airgap.Policy.from_toml("version = 1", name="gap.toml").source
    /// 'gap.toml'
    #[getter]
    fn source(&self) -> &str {
        self.0.source().name()
    }

    /// What would happen to a flow if the policy were loaded here, beside no
    /// other program's rules: `host -> tcp 203.0.113.9:443`, `tcp 203.0.113.9
    /// -> host:22`, `docker0 172.17.0.2 -> udp 192.0.2.53:53`. It needs no
    /// rights.
    ///
    /// >>> import airgap
    /// >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "203.0.113.9", "port": 443}]})
    /// >>> bool(policy.explain("host -> tcp 203.0.113.9:443"))
    /// True
    /// >>> policy.explain("host -> tcp 203.0.113.9:80").nearest
    /// '203.0.113.9 is open on 443, not on 80'
    fn explain<'py>(&self, py: Python<'py>, flow: &str) -> Answer<Bound<'py, PyAny>> {
        let explanation = py.detach(|| airgap::explain(&self.0, flow));
        Ok(data::explanation(py, &explanation?)?)
    }

    /// The policy as data, of which `from_dict` makes the same policy.
    ///
    /// >>> import airgap
    /// >>> airgap.Policy.from_json('{"version": 1, "host": {"dhcp": true}}').to_dict()
    /// {'version': 1, 'host': {'dhcp': True}}
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &*self.0)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let policy = &self.0;
        let counts = [
            (policy.allow.len(), "allow"),
            (policy.admit.len(), "admit"),
            (policy.bridge.len(), "bridge"),
            (policy.forward.len(), "forward"),
        ];
        let mut parts: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}, "))
            .collect();
        if parts.is_empty() {
            parts.push("no openings, ".to_owned());
        }
        let mut hash = self.sha256(py);
        hash.truncate(12);
        format!(
            "<airgap.Policy '{}': {}sha256:{hash}…>",
            policy.source().name(),
            parts.concat()
        )
    }
}
