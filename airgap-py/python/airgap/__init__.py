"""Puts a Linux host with containers behind an air gap that has exactly the
openings its policy names.

>>> import airgap
>>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": 443}]})
>>> host = airgap.Host()
>>> print(host.plan(policy).diff)
+ allow: tcp from the host to 192.0.2.1, port 443    allow[0]
>>> host.apply(policy).changed
True
>>> host.status().sealed
True
>>> host.remove()
True

Everything here may be used from any thread; the interpreter lock is released
while the kernel, the files and the policy's text are worked on.
"""

from ._airgap import Host, Plan, Policy, __version__
from ._data import Applied, ChainDrops, Change, Diagnostic, ForeignDrop, Origin, Related, Status
from ._errors import AirgapError, ConflictError, KernelError, LockoutError, PolicyError

__all__ = [
    "AirgapError",
    "Applied",
    "ChainDrops",
    "Change",
    "ConflictError",
    "Diagnostic",
    "ForeignDrop",
    "Host",
    "KernelError",
    "LockoutError",
    "Origin",
    "Plan",
    "Policy",
    "PolicyError",
    "Related",
    "Status",
    "__version__",
]
