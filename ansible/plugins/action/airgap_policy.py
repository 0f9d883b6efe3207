# Copyright (c) The airgap authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of airgap_policy happens on the controller: a file is read there, and a
policy is confirmed from there, over a connection that it lets through."""

from __future__ import annotations

import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

# How long a host may take to be reached again when its policy was rolled back,
# in seconds.
REACHED_WITHIN = 60
LOCKED_OUT = (
    'the policy was rolled back: within {timeout} s of its being loaded no new connection could confirm it, so that it would have '
    'locked Ansible out. Admit the address by which Ansible comes, or raise confirm_timeout if the connection is slow. '
)


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        here = not boolean(arguments.get('remote_src', False), strict=False)
        if here and arguments.get('src') and 'content' not in arguments:
            arguments['content'] = self._read(arguments['src'])
        timeout = arguments.get('confirm_timeout')
        try:
            result = self._execute_module('airgap.airgap.airgap_policy', arguments, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            if timeout is None or self._task.check_mode:
                raise
            return self._explain(arguments, task_vars, {'changed': False}, error)
        if not result.get('pending'):
            return result
        return self._confirm(arguments, task_vars, result)

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

    def _anew(self, module, arguments, task_vars):
        """What a module answers over a new connection; the one that stands may be one that no longer could be made."""
        if self._connection.transport != 'local':
            self._connection.reset()
        arguments = {key: arguments[key] for key in ('netns',) if key in arguments}
        return self._execute_module('airgap.airgap.' + module, arguments, task_vars=task_vars)

    def _confirm(self, arguments, task_vars, result):
        """Confirms what is pending, for as long as it is."""
        end = time.monotonic() + int(arguments['confirm_timeout'])
        while True:
            try:
                answer = self._anew('airgap_confirm', arguments, task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() > end:
                    return self._explain(arguments, task_vars, result, error)
                time.sleep(1)
                continue
            if answer.get('failed'):
                return self._explain(arguments, task_vars, result, answer['msg'])
            result['pending'] = False
            return result

    def _explain(self, arguments, task_vars, result, reason):
        """Why the policy is not kept, and what the host has instead."""
        message = LOCKED_OUT.format(timeout=arguments['confirm_timeout'])
        state = self._state(arguments, task_vars)
        if state is None:
            message += 'It cannot be reached again yet. '
        elif state.get('failed'):
            message += 'What it holds now could not be told: {0} '.format(state['msg'])
        else:
            status = state['ansible_facts']['airgap']
            message += 'It holds {0}. '.format(
                'what it held before, read from {0}'.format(status['source']) if status['sealed'] else 'no air gap, as before'
            )
            rollback = status['last_rollback']
            if rollback and rollback['error']:
                message += rollback['error'] + ' '
            result['last_rollback'] = rollback
        return {**result, 'failed': True, 'changed': False, 'pending': False, 'msg': message + '({0})'.format(reason)}

    def _state(self, arguments, task_vars):
        """The state of the host once nothing is pending any more, none if it cannot be reached."""
        end = time.monotonic() + int(arguments['confirm_timeout']) + REACHED_WITHIN
        while time.monotonic() < end:
            try:
                state = self._anew('airgap_info', arguments, task_vars)
            except AnsibleConnectionFailure:
                state = None
            if state and (state.get('failed') or not state['ansible_facts']['airgap']['pending']):
                return state
            time.sleep(1)
        return None
