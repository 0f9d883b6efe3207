#!/usr/bin/python
# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: airgap_info
short_description: The state of a host's air gap
version_added: 0.1.0
description:
  - Tells what air gap a host has, since when, what it dropped, and in what it drifted from what was loaded.
  - The answer is in the result and, for later tasks, in the fact C(ansible_facts.airgap).
options:
  full:
    description:
      - Also compares sets of more than 10,000 elements with what was loaded, one by one.
    type: bool
    default: false
extends_documentation_fragment:
  - airgap.airgap.airgap
attributes:
  check_mode:
    description: Changes nothing, and runs in check mode as well.
    support: full
seealso:
  - module: airgap.airgap.airgap_policy
"""

EXAMPLES = r"""
- name: Look at the air gap
  airgap.airgap.airgap_info:
  become: true

- name: Stop where somebody changed the rules
  ansible.builtin.assert:
    that:
      - ansible_facts.airgap.sealed
      - ansible_facts.airgap.drift == []
"""

RETURN = r"""
ansible_facts:
  description: The state, as facts.
  returned: always
  type: dict
  contains:
    airgap:
      description: The state.
      type: dict
      returned: always
      contains:
        sealed:
          description: Whether the host has an air gap.
          type: bool
          returned: always
          sample: true
        hash:
          description: The hash of the loaded policy, V(null) where there is none.
          type: str
          returned: always
          sample: 62c98e6362294dfb7d9e5a5c6d0fa5cf1e4f5ff7ef3ab9bd3ee29e30f9ad7ab0
        source:
          description: Where the policy was read from.
          type: str
          returned: always
          sample: /etc/airgap/policy.toml
        since:
          description: Since when it is loaded, in seconds since 1970 UTC.
          type: int
          returned: always
          sample: 1790000000
        drift:
          description: Everything in which the kernel does not hold what was loaded.
          type: list
          elements: str
          returned: always
          sample: []
        pending:
          description: The policy that waits to be confirmed, V(null) where none does.
          type: dict
          returned: always
          sample:
        last_rollback:
          description: The policy that was taken back last since the machine was booted, V(null) where none was.
          type: dict
          returned: always
          sample:
        dropped:
          description: What was dropped, by chain.
          type: list
          elements: dict
          returned: always
          sample:
            - family: inet
              chain: output
              reason:
              packets: 12
              bytes: 720
        names:
          description: The addresses that the policy's host names stood for when it was loaded.
          type: dict
          returned: always
          sample: {}
        foreign:
          description: Chains of other programs that can cut an opening of the policy.
          type: list
          elements: dict
          returned: always
          sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.airgap.plugins.module_utils.library import data, fail, require


def main():
    module = AnsibleModule(
        argument_spec={
            'full': {'type': 'bool', 'default': False},
            'netns': {'type': 'str'},
        },
        supports_check_mode=True,
    )
    airgap = require(module)
    try:
        status = airgap.Host(module.params['netns']).status(full=module.params['full'])
    except airgap.AirgapError as error:
        fail(module, error)
    module.exit_json(changed=False, ansible_facts={'airgap': data(status)})


if __name__ == '__main__':
    main()
