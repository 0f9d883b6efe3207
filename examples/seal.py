"""Seals a host, and says what passes then.

    python examples/seal.py POLICY [FLOW ...]     # as root

    python examples/seal.py examples/connector.toml 'host -> tcp 34.95.12.47:443'

The host takes the policy back by itself if this program is not there to confirm
it within a minute.
"""

import sys

import airgap


def main() -> int:
    path, *flows = sys.argv[1:]
    try:
        policy = airgap.Policy.load(path)
        for warning in policy.warnings:
            print(f"{warning.path}: {warning.message}", file=sys.stderr)
        host = airgap.Host()
        plan = host.plan(policy)
        print(plan.diff or "Nothing to change.")
        if plan.changed:
            host.apply(plan, confirm_within=60)
            # Here a program of yours would see whether it still reaches what it must.
            host.confirm()
        for flow in flows:
            print(host.explain(flow))
    except airgap.AirgapError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
