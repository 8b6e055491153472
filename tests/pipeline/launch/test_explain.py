"""Errors of runners in one line; the texts are those that Beam 2.77 and Flink 1.19 gave."""

import threading

import pytest

from pipeline.launch.explain import explain, quiet_threads

VENDORED = "org.apache.beam.vendor.grpc.v1p60p1.io.grpc.StatusRuntimeException"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"Pipeline BeamApp-1 failed in state FAILED: {VENDORED}: {VENDORED}: CANCELLED: client "
            "cancelled",
            "a worker process has ended, or the connection to it broke (CANCELLED: client "
            "cancelled). What was finished is not lost: start the job again",
        ),
        (
            "<_MultiThreadedRendezvous of RPC that terminated with:\n\tstatus = "
            'StatusCode.UNAVAILABLE\n\tdetails = "Socket closed"\n\tdebug_error_string = "x"\n>',
            "the job service has ended, or the connection to it broke (UNAVAILABLE). What was "
            "finished is not lost: start the service, and then the job again",
        ),
        (
            "Pipeline BeamApp-1 failed in state FAILED: org.apache.flink.FlinkException: Could not "
            "upload job files.\n\tat org.apache.flink.X.y(X.java:1)\n]",
            "the job failed: org.apache.flink.FlinkException: Could not upload job files.",
        ),
        (
            "Pipeline BeamApp-1 failed in state FAILED: java.lang.RuntimeException: Error received "
            "from SDK harness for instruction 9: Traceback (most recent call last):\n"
            '  File "x.py", line 1, in process\n'
            "pipeline.errors.JobError: no image was found [while running 'Commit/Commit']\n",
            "no image was found",
        ),
    ],
)
def test_errors_of_job_services(text, line):
    assert explain(RuntimeError(text)) == line


def test_threads_print_no_tracebacks(capsys):
    def fail():
        raise RuntimeError("the stream has ended")

    before = threading.excepthook
    with quiet_threads():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert capsys.readouterr().err == ""
    assert threading.excepthook is before


def test_a_reader_that_fails_after_the_job_is_quiet(capfd):
    failing = threading.Event()

    def fail():
        failing.wait()
        raise ValueError("the service has ended")

    with quiet_threads():
        threading.Thread(target=fail, name="wait_until_finish_read").start()
        threading.Timer(0.2, failing.set).start()
    assert capfd.readouterr() == ("", "")
