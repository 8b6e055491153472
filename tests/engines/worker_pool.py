"""Beam's external worker pool on one address, also if Beam asks for all interfaces.

As a program, with the arguments HOST PORT (0 for a free one): prints the port, and starts worker
processes on request until it is terminated.
"""

import os
import signal
import sys
import time

import grpc

_make_server = grpc.server


def _server_at(host):
    def make(*arguments, **options):
        server = _make_server(*arguments, **options)
        bind = server.add_insecure_port
        server.add_insecure_port = lambda address: bind(f"{host}:{address.rpartition(':')[2]}")
        return server

    return make


def main() -> None:
    host, port = sys.argv[1:]
    grpc.server = _server_at(host)
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # runs "python"
    address, _ = BeamFnExternalWorkerPoolServicer.start(use_process=True, port=int(port))
    print(address.rpartition(":")[2], flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # exit handlers end workers
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
