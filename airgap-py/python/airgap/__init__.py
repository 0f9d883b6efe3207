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

from __future__ import annotations

from ._airgap import Host, Plan, Policy, __version__
from ._errors import AirgapError, ConflictError, KernelError, LockoutError, PolicyError

# Type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._data import (
        Applied,
        ChainDrops,
        Change,
        DecidingRule,
        Diagnostic,
        Explanation,
        ForeignDrop,
        Origin,
        Pending,
        Related,
        Rollback,
        Status,
        Verification,
    )

__all__ = [
    "AirgapError",
    "Applied",
    "ChainDrops",
    "Change",
    "ConflictError",
    "DecidingRule",
    "Diagnostic",
    "Explanation",
    "ForeignDrop",
    "Host",
    "KernelError",
    "LockoutError",
    "Origin",
    "Pending",
    "Plan",
    "Policy",
    "PolicyError",
    "Related",
    "Rollback",
    "Status",
    "Verification",
    "__version__",
]


# The standard module dataclasses takes longer to import than all else here, and
# many a program asks for an exit code only.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _data

        return getattr(_data, name)

    def __dir__():
        return sorted({*globals(), *__all__})
