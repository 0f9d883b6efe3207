# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of airgap_policy happens on the controller."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        here = not boolean(arguments.get('remote_src', False), strict=False)
        if here and arguments.get('src') and 'content' not in arguments:
            arguments['content'] = self._read(arguments['src'])
        return self._execute_module('airgap.airgap.airgap_policy', arguments, task_vars=task_vars)

    def _read(self, src):
        """The text of a policy on the controller, found as the files of copy are."""
        try:
            path = self._find_needle('files', src)
        except AnsibleError as error:
            raise AnsibleActionFail(str(error)) from error
        try:
            with open(path, encoding='utf-8') as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail('the policy {0} cannot be read: {1}'.format(path, error)) from error
