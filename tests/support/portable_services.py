"""Beam's portable job service and an external worker pool, on 127.0.0.1 only.

As a program, it prints "JOB_PORT POOL_PORT" and serves until it is terminated. Workers run in their
own processes, which share nothing with the submitter.
"""

import os
import signal
import sys
import time

import grpc

_make_server = grpc.server


def _local_server(*arguments, **options):
    """A gRPC server on 127.0.0.1, even if Beam asks for all interfaces."""
    server = _make_server(*arguments, **options)
    bind = server.add_insecure_port
    server.add_insecure_port = lambda address: bind(f"127.0.0.1:{address.rpartition(':')[2]}")
    return server


def main() -> None:
    grpc.server = _local_server
    from apache_beam.runners.portability.local_job_service import LocalJobServicer
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # runs "python"
    pool_address, _ = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    job_port = LocalJobServicer(staging_dir=sys.argv[1]).start_grpc_server()
    print(job_port, pool_address.rpartition(":")[2], flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # exit handlers end workers
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
