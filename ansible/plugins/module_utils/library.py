# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python package airgap as the modules use it: nothing is decided here."""

from __future__ import annotations

import dataclasses
import traceback

from ansible.module_utils.basic import missing_required_lib

try:
    import airgap
except ImportError:
    airgap = None
    IMPORT_ERROR = traceback.format_exc()
else:
    IMPORT_ERROR = None


def require(module):
    """The package, or the module's end with Ansible's own words for one that is missing."""
    if airgap is None:
        module.fail_json(msg=missing_required_lib('airgap'), exception=IMPORT_ERROR)
    return airgap


def data(answer):
    """An answer of the package as the data that a module returns."""
    return dataclasses.asdict(answer)


def fail(module, error, **result):
    """Ends the module with an error of the package, and all that it carries."""
    if isinstance(error, airgap.PolicyError):
        result['diagnostics'] = [data(one) for one in error.diagnostics]
    if isinstance(error, airgap.KernelError):
        result['errno'] = error.errno
    module.fail_json(msg=str(error), **result)
