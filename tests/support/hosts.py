"""Two hosts that share a folder of a third one over sshfs, each in a network of its own.

Needs root, /dev/fuse, and the programs ip, unshare, sshfs, sshd, ssh-keygen.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

PROGRAMS = ("ip", "unshare", "sshfs", "sshd", "ssh-keygen")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def what_is_missing() -> str:
    """Why hosts can't be made here; "" if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not os.path.exists("/dev/fuse"):
        return "needs /dev/fuse"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"needs the programs {', '.join(missing)}" if missing else ""


class Host:
    """A host that has mounted the server's folder at the same path as every other."""

    def __init__(self, space: str, server: str, folder: pathlib.Path, mount: pathlib.Path) -> None:
        self._space = space
        options = (
            f"IdentityFile={folder}/key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,"
            "default_permissions"
        )
        # The mount is seen only in this host's mount namespace. Its shell starts all programs.
        script = (
            f"sshfs -f -o {options} root@{server}:{folder}/shared {mount} 2>{folder}/{space}.log & "
            f"while ! grep -q ' {mount} fuse.sshfs ' /proc/mounts; do sleep 0.1; done; "
            'echo ready; while read -r line; do eval "$line"; done'
        )
        self._shell = subprocess.Popen(
            [
                *("ip", "netns", "exec", space),
                *("unshare", "-m", "--propagation", "private", "bash", "-c", script),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PATH": _PATH},
        )
        assert self._shell.stdout
        assert self._shell.stdout.readline() == "ready\n"

    def start(self, command: str) -> None:
        """Start a command line; finish waits for it."""
        assert self._shell.stdin
        self._shell.stdin.write(f"{{ {command}; }}; echo done $?\n")
        self._shell.stdin.flush()

    def finish(self) -> tuple[int, str]:
        """The exit code of the command, and what it printed."""
        assert self._shell.stdout
        printed = ""
        for line in self._shell.stdout:
            if line.startswith("done "):
                return int(line.split()[1]), printed
            printed += line
        raise AssertionError(f"the host's shell has ended: {printed}")

    def close(self) -> None:
        """End the host's programs and its mount."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, 9)
        self._shell.wait()
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def two_hosts(folder: pathlib.Path, mount: pathlib.Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts and their server.

    Args:
        folder: for keys and logs; its subfolder "shared" is what the server offers.
        mount: where the hosts mount that.
    """
    name = f"h{os.getpid()}"
    for each in (folder / "shared", mount):
        each.mkdir(parents=True, exist_ok=True)
    for key in ("key", "hostkey"):
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
    shutil.copy(folder / "key.pub", folder / "authorized")
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/hostkey\nAuthorizedKeysFile {folder}/authorized\nUsePAM no\n"
        "StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    with contextlib.ExitStack() as stack:
        for space in (f"{name}s", f"{name}a", f"{name}b"):
            _do("ip", "netns", "add", space)
            stack.callback(_do, "ip", "netns", "delete", space)
        hosts = []
        for number, space in ((1, f"{name}a"), (2, f"{name}b")):
            near, far = f"{space}n", f"{space}f"
            _do(*f"ip link add {near} netns {space} type veth peer {far} netns {name}s".split())
            for host, device, place in ((space, near, 2), (f"{name}s", far, 1)):
                _do(*f"ip -n {host} addr add 10.99.{number}.{place}/24 dev {device}".split())
                _do(*f"ip -n {host} link set {device} up".split())
        log = stack.enter_context((folder / "sshd.log").open("w"))
        server = subprocess.Popen(
            [
                *("ip", "netns", "exec", f"{name}s"),
                *(shutil.which("sshd", path=_PATH) or "sshd", "-D", "-e"),
                *("-f", str(folder / "sshd_config")),
            ],
            stderr=log,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        for _ in range(100):
            if "listening" in (folder / "sshd.log").read_text():
                break
            time.sleep(0.1)
        for number, space in ((1, f"{name}a"), (2, f"{name}b")):
            host = Host(space, f"10.99.{number}.1", folder, mount)
            stack.callback(host.close)
            hosts.append(host)
        yield hosts[0], hosts[1]


def _do(*words: str) -> None:
    subprocess.run(words, check=True, env={**os.environ, "PATH": _PATH}, timeout=30)
