"""Docker's resolver and a local stub, shown with a process that is called as
the daemon is. The real daemon is in tests/lab, probe `docker-dns`."""

from dockerd import WithDaemon


class Resolver(WithDaemon):
    def test_its_control_group_is_kept_from_the_stub(self):
        group, other = self.group("a"), self.group("b")
        process = self.daemon(group)
        self.assertTrue(self.passes(group))
        self.airgap("apply", self.policy())
        self.assertFalse(self.passes(group))
        self.assertTrue(self.passes(other))
        self.airgap("status")
        # A daemon that was started anew has another group: nothing keeps it.
        self.end(process)
        self.daemon(other)
        self.assertTrue(self.passes(other))
        self.assertIn("apply again", self.airgap("status", code=3).stdout)
        self.airgap("apply", self.policy())
        self.assertFalse(self.passes(other))
        self.airgap("status")

    def test_without_a_group_of_its_own_there_is_a_warning(self):
        self.daemon(self.root)
        done = self.airgap("apply", self.policy())
        self.assertIn("root control group", done.stderr)
        self.assertIn("root control group", self.airgap("status").stdout)
        self.assertNotIn("cgroupv2", self.ruleset())

    def test_without_a_stub_nothing_is_kept_from_it(self):
        self.resolv_conf.write_text("nameserver 192.0.2.53\n")
        group = self.group("a")
        self.daemon(group)
        self.assertNotIn("warning", self.airgap("apply", self.policy()).stderr)
        self.assertTrue(self.passes(group))
