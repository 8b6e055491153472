"""Hosts on this machine: network namespaces, joined by a switch whose links can be cut.

Needs root and the programs of iproute2 and util-linux.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

from tests.engines.job_servers import ROOT

_PATH = f"{pathlib.Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_BRIDGE = "bridge"
# A host has a name and a list of the others' addresses of its own.
_AS_HOST = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


def what_is_missing() -> str:
    """Why hosts can't be made here; "" if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    missing = [
        name for name in ("ip", "unshare", "mount") if shutil.which(name, path=_PATH) is None
    ]
    return f"needs the programs {', '.join(missing)}" if missing else ""


class Host:
    """A host, which the others reach by its name."""

    def __init__(self, name: str, space: str, folder: pathlib.Path) -> None:
        self.name = name
        self._space = space
        self._folder = folder
        self.environment: dict[str, str] = {}

    def _words(self, words: tuple[str, ...]) -> list[str]:
        private = (
            "unshare",
            "-m",
            "-u",
            "--propagation",
            "private",
            "bash",
            "-c",
            _AS_HOST,
            "bash",
        )
        hosts = str(self._folder / "hosts")
        return ["ip", "netns", "exec", self._space, *private, self.name, hosts, *words]

    def start(self, *words: str, output: int | None = None) -> subprocess.Popen[str]:
        """Start a program. What it prints goes to a log, or stdout and stderr to this output."""
        with (self._folder / f"{self.name}.log").open("a") as log:
            return subprocess.Popen(
                self._words(words),
                stdout=output or log,
                stderr=output or log,
                text=True,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PATH": _PATH,
                    **self.environment,
                },
            )

    def log(self) -> str:
        """What its programs have printed."""
        return (self._folder / f"{self.name}.log").read_text()


class Network:
    """Hosts by name, and the links between them and the switch."""

    def __init__(self, hosts: dict[str, Host], switch: str) -> None:
        self.hosts = hosts
        self._switch = switch

    @contextlib.contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """Within this block the host is cut off: what it sends and should get is lost."""
        ip("-n", self._switch, "link", "set", name, "down")
        try:
            yield
        finally:
            ip("-n", self._switch, "link", "set", name, "up")


@contextlib.contextmanager
def network(folder: pathlib.Path, *names: str) -> Iterator[Network]:
    """Make hosts with these names, and remove them at the end.

    Args:
        folder: for logs.
        names: at most 15 characters each, as the kernel allows for links.
    """
    spaces = {name: f"{name}{os.getpid()}" for name in names}
    switch = f"switch{os.getpid()}"
    addresses = {name: f"10.98.0.{number}" for number, name in enumerate(names, start=1)}
    lines = [f"{address} {name}\n" for name, address in addresses.items()]
    (folder / "hosts").write_text("".join(["127.0.0.1 localhost\n", *lines]))
    with contextlib.ExitStack() as stack:
        for space in (switch, *spaces.values()):
            ip("netns", "add", space)
            stack.callback(ip, "netns", "delete", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", _BRIDGE, "type", "bridge")
        ip("-n", switch, "link", "set", _BRIDGE, "up")
        for name, space in spaces.items():
            peer = ("type", "veth", "peer", name, "netns", switch)
            ip("link", "add", "eth0", "netns", space, *peer)
            ip("-n", switch, "link", "set", name, "master", _BRIDGE, "up")
            ip("-n", space, "address", "add", f"{addresses[name]}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
        hosts = {name: Host(name, space, folder) for name, space in spaces.items()}
        yield Network(hosts, switch)


def ip(*words: str) -> None:
    """Run the program ip."""
    subprocess.run(["ip", *words], check=True, env={**os.environ, "PATH": _PATH}, timeout=30)
