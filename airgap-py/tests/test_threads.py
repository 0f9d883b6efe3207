"""Threads, and a Ctrl-C at any time."""

import signal
import subprocess
import sys
import threading
import time

from conftest import pairs

import airgap


def test_the_interpreter_lock_is_released(host):
    policy = airgap.Policy.from_dict(pairs(30_000))
    running, longest, last = True, 0.0, time.perf_counter()

    def tick():
        nonlocal longest, last
        while running:
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.perf_counter()
    host.apply(host.plan(policy))
    took = time.perf_counter() - begin
    running = False
    ticker.join()
    # Were the lock held, the other thread would have stood still all the while.
    assert longest < took / 2


INTERRUPTED = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import pairs
import airgap
host = airgap.Host()
policies = [airgap.Policy.from_dict(pairs(n)) for n in (1, 20_000)]
print("ready", flush=True)
try:
    while True:
        for policy in policies:
            host.apply(policy)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_leaves_old_or_new(host, request):
    hashes = [airgap.Policy.from_dict(pairs(n)).hash for n in (1, 20_000)]
    seen = set()
    for step in range(16):
        words = [sys.executable, "-W", "error", "-c", INTERRUPTED, str(request.path.parent)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.05 + step * 0.017)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60) == ("interrupted\n", "")
        status = host.status(full=True)
        assert status.drift == ()
        assert status.hash in hashes
        seen.add(status.hash)
    # Else every interrupt came at the same moment, and the test shows little.
    assert seen == set(hashes)
