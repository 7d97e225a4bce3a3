"""A network of its own whose packets can be dropped in silence: three network namespaces, one the router.

    near (the server) ── router ── far (the clients)

The router drops by a route of type blackhole, each way: no reset, no ICMP message, and the links stay up, so
neither end has anything to go by but the silence, as when a router of the Internet fails. Made with
unshare(1), nsenter(1) and ip(8), as root or, where the machine lets users make namespaces, without it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

NEAR, FAR = "10.77.1.1", "10.77.2.1"
_NEAR_ROUTER, _FAR_ROUTER = "10.77.1.254", "10.77.2.254"
_TOOLS = ("unshare", "nsenter", "ip", "ss")
_ONE_LINE_EACH = ("--tcp", "--numeric", "--no-header", "--oneline")
_LIMIT_S = 10.0

_MAKE_SOCKETS = """
import socket, sys
asking = socket.socket(fileno=int(sys.argv[1]))
asking.send(b"!")
while asking.recv(1):
    with socket.socket() as made:
        socket.send_fds(asking, [b"!"], [made.fileno()])
"""
"""Holds a namespace for as long as the other end is open, and makes sockets there for whoever asks."""


class NoNamespacesError(Exception):
    """This machine does not let us make a network; the message says why."""


class _Namespace:
    """A network namespace, held by a process in it.

    Args:
        inside: The namespace whose user namespace this one is to share; None makes the first.
    """

    def __init__(self, inside: _Namespace | None = None) -> None:
        self._rootless = os.geteuid() != 0
        ours, theirs = socket.socketpair()
        self._asking = ours
        ours.settimeout(_LIMIT_S)
        make = ["unshare", "--net"]
        if inside is not None:
            make = [*inside.enter, *make]
        elif self._rootless:
            make += ["--user", "--map-root-user"]
        with theirs:
            self._holder = subprocess.Popen(
                [*make, sys.executable, "-S", "-c", _MAKE_SOCKETS, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )
        if not ours.recv(1):
            error = self.close()
            raise NoNamespacesError(f"unshare: {error.strip()}")

    @property
    def pid(self) -> int:
        """Of the process that holds it."""
        return self._holder.pid

    @property
    def enter(self) -> list[str]:
        """The beginning of a command that is to run in it."""
        as_root = ["--user", "--preserve-credentials"] if self._rootless else []
        return ["nsenter", "--target", str(self.pid), "--net", *as_root]

    def run(self, *command: str) -> str:
        """Runs a command in it; returns what it printed.

        Raises:
            NoNamespacesError: It failed.
        """
        done = subprocess.run(
            [*self.enter, *command], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        if done.returncode:
            raise NoNamespacesError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def socket(self) -> socket.socket:
        """A TCP socket that belongs to it, not connected; to be used here."""
        self._asking.send(b"?")
        _, fds, _, _ = socket.recv_fds(self._asking, 1, 1)
        made = socket.socket(fileno=fds[0])
        made.setblocking(False)
        return made

    def close(self) -> str:
        """Lets it go; returns what its holder had to complain of."""
        self._asking.close()
        _, error = self._holder.communicate(timeout=_LIMIT_S)
        return error.decode()


class Network:
    """Two hosts with a router between, up for the length of a block.

    Raises:
        NoNamespacesError: On entering: the machine does not allow it, or has not the tools.
    """

    def __init__(self) -> None:
        self._made = ExitStack()

    def __enter__(self) -> Network:
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if sys.platform != "linux" or missing:
            raise NoNamespacesError(
                f"this is {sys.platform}, and it lacks: {', '.join(missing) or 'nothing'}"
            )
        with ExitStack() as made:
            self._near, self._router, self._far = _hosts(made)
            self._made = made.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._made.close()

    @property
    def enter_near(self) -> list[str]:
        """The beginning of a command that is to run on the near host."""
        return self._near.enter

    def drop(self) -> None:
        """From now on every packet between the two is lost, both ways, and nobody is told."""
        for address in (NEAR, FAR):
            self._router.run("ip", "route", "add", "blackhole", f"{address}/32")

    def mend(self) -> None:
        """Packets pass again."""
        for address in (NEAR, FAR):
            self._router.run("ip", "route", "del", "blackhole", f"{address}/32")

    def near_socket(self) -> socket.socket:
        """A socket of the near host, not connected: for what is to be done whatever the router does."""
        return self._near.socket()

    def far_socket(self) -> socket.socket:
        """A socket of the far host, not connected."""
        return self._far.socket()

    def backoff(self, port: int) -> int:
        """How often the near host's kernel has tried again and heard nothing, by the far host's port."""
        told = self._near.run("ss", *_ONE_LINE_EACH, "--info", "dst", f"{FAR}:{port}")
        match = re.search(r"backoff:(\d+)", told)
        return int(match[1]) if match else 0

    def established(self) -> int:
        """How many connections of the far host the near one's kernel holds for alive."""
        told = self._near.run("ss", *_ONE_LINE_EACH, "state", "established", "dst", FAR)
        return len(told.splitlines())


def _hosts(made: ExitStack) -> tuple[_Namespace, _Namespace, _Namespace]:
    """The near host, the router and the far host, connected."""
    near = _Namespace()
    made.callback(near.close)
    router, far = (_Namespace(inside=near) for _ in range(2))
    for each in (far, router):
        made.callback(each.close)
    for host, name, address, gateway in (
        (near, "near", NEAR, _NEAR_ROUTER),
        (far, "far", FAR, _FAR_ROUTER),
    ):
        router.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        router.run("ip", "address", "add", f"{gateway}/24", "dev", name)
        router.run("ip", "link", "set", name, "up")
        host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "link", "set", "lo", "up")
        host.run("ip", "route", "add", "default", "via", gateway)
    router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    return near, router, far
