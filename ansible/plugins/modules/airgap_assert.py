#!/usr/bin/python
# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: airgap_assert
short_description: Asserts what may pass a host's rules
version_added: 0.1.0
description:
  - Asks for flows whether they pass or are dropped, under everything that the kernel holds, other programs' tables included.
    No packet is sent.
  - A flow reads C(host -> tcp 203.0.113.9:443), C(tcp 192.0.2.10 -> host:22) or
    C(docker0 172.17.0.2 -> udp 192.0.2.53:53).
  - A flow of which that cannot be told for sure, as another program's rules leave it open, fails either way.
options:
  passes:
    description:
      - Flows that must pass.
    type: list
    elements: str
    default: []
  drops:
    description:
      - Flows that must be dropped.
    type: list
    elements: str
    default: []
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
- name: The service is open, and nothing else of it
  airgap.airgap.airgap_assert:
    passes:
      - host -> tcp 203.0.113.9:443
      - tcp 192.0.2.10 -> host:22
    drops:
      - host -> tcp 203.0.113.9:80
      - docker0 172.17.0.2 -> tcp 203.0.113.9:443
  become: true
"""

RETURN = r"""
explanations:
  description: What happens to each flow, in the order in which they were named.
  returned: always
  type: list
  elements: dict
  sample:
    - flow: host -> tcp 203.0.113.9:443
      verdict: passes
      text: "host -> tcp 203.0.113.9:443 passes"
wrong:
  description: Those of them that are not as they must be.
  returned: on failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.airgap.plugins.module_utils.library import data, fail, require


def main():
    module = AnsibleModule(
        argument_spec={
            # Its name makes Ansible take it for a secret.
            'passes': {'type': 'list', 'elements': 'str', 'default': [], 'no_log': False},
            'drops': {'type': 'list', 'elements': 'str', 'default': []},
            'netns': {'type': 'str'},
        },
        supports_check_mode=True,
    )
    airgap = require(module)
    explanations, wrong = [], []
    try:
        host = airgap.Host(module.params['netns'])
        for verdict, flows in (('passes', module.params['passes']), ('dropped', module.params['drops'])):
            for flow in flows:
                explanation = data(host.explain(flow))
                explanations.append(explanation)
                if explanation['verdict'] != verdict:
                    wrong.append(dict(explanation, expected=verdict))
    except airgap.AirgapError as error:
        fail(module, error)
    if wrong:
        told = ['expected that it {0}: {1}'.format('passes' if one['expected'] == 'passes' else 'is dropped', one['text']) for one in wrong]
        module.fail_json(msg='\n'.join(told), explanations=explanations, wrong=wrong)
    module.exit_json(changed=False, explanations=explanations)


if __name__ == '__main__':
    main()
