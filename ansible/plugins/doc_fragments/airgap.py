# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of all modules says."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  netns:
    description:
      - The network namespace to act in, a name of C(ip netns) or a path such as V(/proc/1234/ns/net).
      - Without it, that of the host.
    type: str
requirements:
  - Python 3.9 or later and its package C(airgap) on the managed host
author:
  - The airgap authors (@airgap)
"""
