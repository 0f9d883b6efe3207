//! The class `Host`.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::data;
use crate::errors::Answer;
use crate::plan::Plan;
use crate::policy::Policy;

/// A host, or one network namespace of it: a name of ip-netns(8), or a path
/// such as `/proc/PID/ns/net`.
///
/// >>> import airgap
/// >>> airgap.Host()
/// airgap.Host()
#[pyclass(frozen, module = "airgap")]
pub struct Host {
    host: airgap::Host,
    netns: Option<PathBuf>,
}

/// What can be applied.
#[derive(FromPyObject)]
enum Wanted<'py> {
    Policy(Bound<'py, Policy>),
    Plan(Bound<'py, Plan>),
}

/// A time: seconds, or a `timedelta`.
#[derive(FromPyObject)]
enum Time {
    Seconds(f64),
    Delta(Duration),
}

impl Time {
    fn duration(self) -> PyResult<Duration> {
        let time = match self {
            Self::Seconds(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Self::Delta(delta) => Some(delta),
        };
        time.filter(|time| !time.is_zero())
            .ok_or_else(|| PyValueError::new_err("confirm_within is no time that passes"))
    }
}

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (netns = None))]
    fn new(py: Python<'_>, netns: Option<PathBuf>) -> Answer<Self> {
        let host = py.detach(|| match &netns {
            Some(netns) => airgap::Host::in_netns(netns),
            None => airgap::Host::open(),
        })?;
        Ok(Self { host, netns })
    }

    /// What would change if the policy were applied. Nothing is changed.
    ///
    /// >>> import airgap
    /// >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": [80, 443]}]})
    /// >>> len(airgap.Host().plan(policy).changes)
    /// 2
    fn plan(&self, py: Python<'_>, policy: &Policy) -> Answer<Plan> {
        let plan = py.detach(|| self.host.plan(&policy.0));
        py.check_signals()?;
        Ok(Plan(plan?.into()))
    }

    /// Loads a policy, or what was planned, in one transaction, and reads it
    /// back. A signal that comes meanwhile is handled when that is done.
    ///
    /// With `confirm_within`, in seconds or as a `timedelta`, what was there
    /// before is loaded again, exactly, unless `confirm()` comes within that
    /// time, from any process. Another process waits for the time, also when
    /// this one ends. Without it, a policy that would cut the connection over
    /// which this process is here raises a `LockoutError`, unless
    /// `even_if_locked_out`.
    ///
    /// >>> import airgap
    /// >>> host, policy = airgap.Host(), airgap.Policy.from_toml("version = 1")
    /// >>> host.apply(policy, confirm_within=60).changed
    /// True
    /// >>> host.confirm()
    /// >>> host.apply(policy).changed
    /// False
    /// >>> host.remove()
    /// True
    #[pyo3(signature = (policy, confirm_within = None, even_if_locked_out = false))]
    fn apply<'py>(
        &self,
        py: Python<'py>,
        policy: Wanted<'py>,
        confirm_within: Option<Time>,
        even_if_locked_out: bool,
    ) -> Answer<Bound<'py, PyAny>> {
        let within = confirm_within.map(Time::duration).transpose()?;
        let host = self.host.clone().even_if_locked_out(even_if_locked_out);
        let load = |plan: &airgap::Plan| match within {
            None => host.apply(plan),
            Some(within) => Ok(host.apply_guarded(plan, within)?.applied()),
        };
        let applied = match &policy {
            Wanted::Policy(policy) => {
                let policy = &policy.get().0;
                py.detach(|| load(&self.host.plan(policy)?))
            }
            Wanted::Plan(plan) => {
                let plan = &plan.get().0;
                py.detach(|| load(plan))
            }
        };
        py.check_signals()?;
        Ok(data::applied(py, &applied?)?)
    }

    /// Keeps the policy that is pending: it counts after a reboot too.
    ///
    /// >>> import airgap
    /// >>> try:
    /// ...     airgap.Host().confirm()
    /// ... except airgap.AirgapError as error:
    /// ...     print(error)
    /// nothing is pending
    fn confirm(&self, py: Python<'_>) -> Answer<()> {
        let confirmed = py.detach(|| self.host.confirm());
        py.check_signals()?;
        Ok(confirmed?)
    }

    /// Takes the policy that is pending back now: what was there before is
    /// loaded again, exactly.
    ///
    /// >>> import airgap
    /// >>> host = airgap.Host()
    /// >>> host.apply(airgap.Policy.from_toml("version = 1"), confirm_within=60).changed
    /// True
    /// >>> host.rollback().reason
    /// 'asked'
    /// >>> host.status().sealed
    /// False
    fn rollback<'py>(&self, py: Python<'py>) -> Answer<Bound<'py, PyAny>> {
        let rollback = py.detach(|| self.host.rollback());
        py.check_signals()?;
        Ok(data::rollback(py, &rollback?)?)
    }

    /// Whether what the kernel holds, everybody's tables together, opens exactly
    /// what the policy states.
    ///
    /// >>> import airgap
    /// >>> host, policy = airgap.Host(), airgap.Policy.from_toml("version = 1")
    /// >>> host.verify(policy).kind
    /// 'open-and-not-stated'
    /// >>> _ = host.apply(policy)
    /// >>> bool(host.verify(policy)), host.remove()
    /// (True, True)
    fn verify<'py>(&self, py: Python<'py>, policy: &Policy) -> Answer<Bound<'py, PyAny>> {
        let found = py.detach(|| self.host.verify(&policy.0));
        py.check_signals()?;
        Ok(data::verification(py, &found?)?)
    }

    /// The state of the air gap. With `full`, sets of more than 10,000 elements
    /// are compared one by one too.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().status().drift
    /// ()
    #[pyo3(signature = (full = false))]
    fn status<'py>(&self, py: Python<'py>, full: bool) -> Answer<Bound<'py, PyAny>> {
        let status = py.detach(|| self.host.status(full));
        py.check_signals()?;
        Ok(data::status(py, &status?)?)
    }

    /// What happens to a flow now, under everything that the kernel holds; with
    /// a policy, what would happen if that were loaded, beside no other
    /// program's rules.
    ///
    /// >>> import airgap
    /// >>> host, flow = airgap.Host(), "host -> tcp 203.0.113.9:443"
    /// >>> bool(host.explain(flow)), bool(host.explain(flow, airgap.Policy.from_toml("version = 1")))
    /// (True, False)
    #[pyo3(signature = (flow, policy = None))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        flow: &str,
        policy: Option<&Policy>,
    ) -> Answer<Bound<'py, PyAny>> {
        let explanation = py.detach(|| match policy {
            Some(policy) => self.host.explain(&policy.0, flow),
            None => self.host.explain_live(flow),
        });
        py.check_signals()?;
        Ok(data::explanation(py, &explanation?)?)
    }

    /// Takes the air gap away; the host is then as open as its other tables
    /// leave it. Says whether there was one.
    ///
    /// >>> import airgap
    /// >>> airgap.Host().remove()
    /// False
    fn remove(&self, py: Python<'_>) -> Answer<bool> {
        let removed = py.detach(|| self.host.remove());
        py.check_signals()?;
        Ok(removed?)
    }

    fn __repr__(&self) -> String {
        match &self.netns {
            Some(netns) => format!("airgap.Host('{}')", netns.display()),
            None => "airgap.Host()".to_owned(),
        }
    }
}
