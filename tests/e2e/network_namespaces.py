"""Hosts of a network of a test's own: network namespaces, joined by a bridge, whose links can be cut.

The test itself gets a network namespace too, with the bridge, so that it reaches every host. Nothing of
it is left when the test's process has ended.
"""

import ctypes
import os
import subprocess

from harness import DIE_WITH_PARENT, wait_until

_CLONE_NEWNET = 0x40000000


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


def enter_own_network():
    """Moves this process into a network of its own; returns why not, or nothing.

    To be called before there are other threads, which would stay where they are.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return f"no network namespaces here: {os.strerror(ctypes.get_errno())}"
    try:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "bridge", "type", "bridge")
        _run("ip", "address", "add", "10.77.0.254/24", "dev", "bridge")
        _run("ip", "link", "set", "bridge", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no bridge between network namespaces here: {getattr(error, 'stderr', error)}"
    return None


class Host:
    """A network namespace with one address, 10.77.0.NUMBER."""

    def __init__(self, number):
        self.address = f"10.77.0.{number}"
        self._port = f"port{number}"
        # Its process keeps the namespace.
        self._holder = subprocess.Popen([*DIE_WITH_PARENT, "unshare", "--net", "sleep", "infinity"])
        pid = str(self._holder.pid)

        def is_apart():
            return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")

        wait_until(is_apart, "the namespace is there")
        self.prefix = ["nsenter", "--target", pid, "--net"]
        _run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "link", "set", self._port, "master", "bridge", "up")
        _run(*self.prefix, "ip", "link", "set", "lo", "up")
        _run(*self.prefix, "ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        _run(*self.prefix, "ip", "link", "set", "eth0", "up")

    @property
    def any_port(self):
        return f"{self.address}:0"

    def cut(self):
        """Nothing comes in or goes out any more, and nobody is told."""
        _run("ip", "link", "set", self._port, "down")

    def mend(self):
        _run("ip", "link", "set", self._port, "up")

    def slow(self):
        """Makes its link slow, and returns how."""
        for how in ("netem delay 5ms", "tbf rate 20mbit burst 16kbit latency 2s"):
            command = ["tc", "qdisc", "replace", "dev", self._port, "root", *how.split()]
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                return how
        return None

    def stop(self):
        self._holder.kill()
        self._holder.wait()
        subprocess.run(["ip", "link", "del", self._port], check=False, capture_output=True)
