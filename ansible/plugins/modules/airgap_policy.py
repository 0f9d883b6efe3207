#!/usr/bin/python
# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: airgap_policy
short_description: Puts a host behind an air gap
version_added: 0.1.0
description:
  - Loads a policy into the host's nf_tables, in one transaction that holds only the difference.
  - What the policy does not name is dropped, also flows that stood before. The policy must admit the way by which
    Ansible comes.
  - A host whose rules were changed by somebody else since is mended, and counts as changed.
options:
  policy:
    description:
      - The policy, as data. README.md of airgap describes its keys.
    type: dict
  src:
    description:
      - A file with the policy, in TOML, or in JSON if its name ends in V(.json).
      - Looked for on the controller, as that of M(ansible.builtin.copy) is, unless O(remote_src=true).
    type: path
  content:
    description:
      - The policy as text, in TOML, or in JSON if O(src) ends in V(.json).
      - With it O(src) is only the name by which messages call the policy.
    type: str
  remote_src:
    description:
      - Whether O(src) is a file on the managed host.
    type: bool
    default: false
  confirm_timeout:
    description:
      - The seconds within which the policy must be confirmed, else what was there before is loaded again, exactly.
      - Ansible confirms it over a new connection. A policy that locks Ansible out so takes itself back, and the task fails and
        says so.
      - Without it, the policy is kept at once, and is refused if it would cut the connection by which Ansible comes.
    type: int
  state:
    description:
      - V(present) loads the policy.
      - V(absent) takes the air gap away. The host is then as open as its other rules leave it.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - airgap.airgap.airgap
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
seealso:
  - module: airgap.airgap.airgap_info
"""

EXAMPLES = r"""
- name: Only the administrator in, and one service out
  airgap.airgap.airgap_policy:
    policy:
      version: 1
      admit:
        - {from: 192.0.2.10, port: 22}
      allow:
        - {to: 203.0.113.9, port: 443}
  become: true

- name: The policy of a file, or what was there before if it locks Ansible out
  airgap.airgap.airgap_policy:
    src: policy.toml
    confirm_timeout: 60
  become: true

- name: The policy of a template
  airgap.airgap.airgap_policy:
    src: policy.toml.j2
    content: "{{ lookup('ansible.builtin.template', 'policy.toml.j2') }}"
  become: true

- name: No air gap
  airgap.airgap.airgap_policy:
    state: absent
  become: true
"""

RETURN = r"""
pending:
  description: Whether the policy still waits to be confirmed.
  returned: O(state=present)
  type: bool
last_rollback:
  description: Which policy was taken back, why, and what went wrong with that.
  returned: when it was not confirmed in time
  type: dict
hash:
  description: The hash of the policy.
  returned: O(state=present)
  type: str
  sample: 62c98e6362294dfb7d9e5a5c6d0fa5cf1e4f5ff7ef3ab9bd3ee29e30f9ad7ab0
changes:
  description: The openings that come, go and change.
  returned: O(state=present)
  type: list
  elements: dict
  sample:
    - kind: added
      opening: "allow: tcp from the host to 203.0.113.9, port 443"
      was:
      origin: {section: allow, index: 0, line: 5, column: 1}
drift:
  description: In what the kernel did not hold what was loaded before.
  returned: O(state=present)
  type: list
  elements: str
  sample: []
names:
  description: The addresses that the policy's host names stand for.
  returned: O(state=present)
  type: dict
  sample: {}
diagnostics:
  description:
    - The mistakes of a bad policy, each with RV(ignore:path), such as V(allow[3].port), and where the policy is text with line
      and column.
  returned: when the policy is bad
  type: list
  elements: dict
errno:
  description: The kernel's error number.
  returned: when the kernel refuses
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.airgap.airgap.plugins.module_utils.library import data, fail, require


def read(airgap, params):
    """The policy of the module's parameters."""
    if params['policy'] is not None:
        return airgap.Policy.from_dict(params['policy'], name='policy')
    if params['content'] is not None:
        name = params['src'] or 'content'
        form = airgap.Policy.from_json if name.endswith('.json') else airgap.Policy.from_toml
        return form(params['content'], name=name)
    return airgap.Policy.load(params['src'])


def difference(plan, status):
    """Before and after of the openings that change, or of what is mended."""
    changes = plan.changes
    before = [change.was or change.opening for change in changes if change.kind != 'added']
    after = [change.opening for change in changes if change.kind != 'removed']
    if plan.changed and not changes:
        before = ['drift: ' + line for line in status.drift] or ['loaded: ' + str(status.hash)]
        after = ['loaded: ' + plan.policy.hash]
    return {
        'before_header': 'air gap of {0}'.format(status.source) if status.sealed else 'no air gap',
        'after_header': 'air gap of {0}'.format(plan.policy.source),
        'before': ''.join(line + '\n' for line in before),
        'after': ''.join(line + '\n' for line in after),
    }


def present(module, airgap, host):
    policy = read(airgap, module.params)
    for warning in policy.warnings:
        module.warn('{0}: {1}'.format(warning.path, warning.message))
    status = host.status()
    plan = host.plan(policy)
    for drop in plan.foreign:
        module.warn(
            'chain {0} of table {1} ({2}) can drop what the policy opens'.format(drop.chain, drop.table, drop.owner or 'of another program')
        )
    result = {
        'changed': plan.changed,
        'hash': policy.hash,
        'changes': [data(change) for change in plan.changes],
        'drift': list(status.drift),
        'names': {name: list(addresses) for name, addresses in plan.names.items()},
    }
    if module._diff:
        result['diff'] = difference(plan, status)
    # What is loaded already needs no confirming.
    result['pending'] = plan.changed and module.params['confirm_timeout'] is not None and not module.check_mode
    if not module.check_mode:
        within = module.params['confirm_timeout'] if result['pending'] else None
        result['changed'] = host.apply(plan, confirm_within=within).changed
    return result


def absent(module, host):
    status = host.status()
    result = {'changed': status.sealed}
    if module._diff:
        before = 'air gap of {0}\n'.format(status.source) if status.sealed else ''
        result['diff'] = {'before': before, 'after': ''}
    if not module.check_mode:
        result['changed'] = host.remove()
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            'policy': {'type': 'dict'},
            'src': {'type': 'path'},
            'remote_src': {'type': 'bool', 'default': False},
            'confirm_timeout': {'type': 'int'},
            'state': {'type': 'str', 'choices': ['present', 'absent'], 'default': 'present'},
            'netns': {'type': 'str'},
            'content': {'type': 'str'},
        },
        mutually_exclusive=[('policy', 'src'), ('policy', 'content')],
        required_if=[('state', 'present', ('policy', 'src', 'content'), True)],
        supports_check_mode=True,
    )
    airgap = require(module)
    try:
        host = airgap.Host(module.params['netns'])
        result = absent(module, host) if module.params['state'] == 'absent' else present(module, airgap, host)
    except airgap.AirgapError as error:
        fail(module, error)
    module.exit_json(**result)


if __name__ == '__main__':
    main()
