#!/usr/bin/python
# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: airgap_confirm
short_description: Keeps a policy that waits to be confirmed, or takes it back
version_added: 0.1.0
description:
  - Decides about a policy that was loaded with a time within which it must be confirmed.
  - M(airgap.airgap.airgap_policy) with O(airgap.airgap.airgap_policy#module:confirm_timeout) calls it by itself. It is of use
    for a policy that somebody loaded at the console.
options:
  state:
    description:
      - V(confirmed) keeps the policy.
      - V(rolled_back) loads again what was there before.
    type: str
    choices: [confirmed, rolled_back]
    default: confirmed
extends_documentation_fragment:
  - airgap.airgap.airgap
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
seealso:
  - module: airgap.airgap.airgap_policy
"""

EXAMPLES = r"""
- name: Keep what was loaded
  airgap.airgap.airgap_confirm:
  become: true

- name: Take it back
  airgap.airgap.airgap_confirm:
    state: rolled_back
  become: true
"""

RETURN = r"""
pending:
  description: The policy that it was about, V(null) where none waits to be confirmed.
  returned: always
  type: dict
  sample: {hash: 62c98e63, source: policy.toml, by: process 7, since: 1790000000, left: 59, awaited: true}
last_rollback:
  description: The policy that was taken back before, V(null) where none was since the machine was booted.
  returned: always
  type: dict
  sample:
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.airgap.plugins.module_utils.library import data, fail, require


def main():
    module = AnsibleModule(
        argument_spec={
            'state': {'type': 'str', 'choices': ['confirmed', 'rolled_back'], 'default': 'confirmed'},
            'netns': {'type': 'str'},
        },
        supports_check_mode=True,
    )
    airgap = require(module)
    result = {}
    try:
        host = airgap.Host(module.params['netns'])
        status = host.status()
        result['pending'] = status.pending and data(status.pending)
        result['last_rollback'] = status.last_rollback and data(status.last_rollback)
        if not module.check_mode:
            if module.params['state'] == 'confirmed':
                host.confirm()
            else:
                host.rollback()
    except airgap.AirgapError as error:
        fail(module, error, **result)
    module.exit_json(changed=status.pending is not None, **result)


if __name__ == '__main__':
    main()
