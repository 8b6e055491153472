"""Check within seconds that a portable job service answers. Does not import Beam.

Beam would wait for it for five minutes without a word.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time

from encoder.errors import InputError

EMBEDDED = "embed"  # a job service in this process; for tests of Beam
SECONDS = 3.0  # for all of the check
_PLACE = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]:/]+)):(?P<port>\d{1,5})")
_OTHER_FORM = re.compile(r"(unix|unix-abstract|dns|ipv4|ipv6|vsock):")  # gRPC's own addresses
# HTTP/2: what a client sends first, an empty frame of settings, and the type of such frames.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_HEAD_BYTES, _TYPE, _SETTINGS = 9, 3, 4


def check_endpoint(endpoint: str, seconds: float = SECONDS) -> None:
    """Check that a gRPC service answers at an address.

    Args:
        endpoint: ``--job_endpoint``, HOST:PORT.
        seconds: to wait for it, in all.

    Raises:
        InputError: nobody answers there, or no gRPC service.
    """
    if endpoint == EMBEDDED or _OTHER_FORM.match(endpoint):
        return
    found = _PLACE.fullmatch(endpoint)
    if not found or not 0 < int(found["port"]) < 1 << 16:
        raise InputError(
            f"--job_endpoint is {endpoint!r}; expected HOST:PORT, such as localhost:8099"
        )
    problem = "it does not answer"
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            if _is_grpc(found["ipv6"] or found["host"], int(found["port"]), left):
                return
            problem = "what answers there is no gRPC service"
            break
        except ConnectionResetError:
            problem = "what answers there is no gRPC service"
            break
        except TimeoutError:
            problem = f"nothing came back within {seconds:g} seconds"
        except socket.gaierror as error:
            problem = f"the host is not known: {error.strerror}"
            break
        except OSError as error:  # it may be about to start
            problem = error.strerror or str(error)
            if seconds <= SECONDS:
                break
            time.sleep(min(1.0, left))
    raise InputError(
        f"--job_endpoint {endpoint!r} can't be used ({problem}); start the job service there, or "
        "name the address of one that runs; --job_server_timeout=SECONDS waits longer for one that "
        "starts"
    )


def _is_grpc(host: str, port: int, seconds: float) -> bool:
    """Whether a server begins as HTTP/2 servers do, with their settings."""
    until = time.monotonic() + seconds
    with socket.create_connection((host, port), seconds) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(_PREFACE)
        head = b""
        while len(head) < _HEAD_BYTES:
            connection.settimeout(max(0.01, until - time.monotonic()))
            got = connection.recv(_HEAD_BYTES - len(head))
            if not got:
                return False
            head += got
        return head[_TYPE] == _SETTINGS
