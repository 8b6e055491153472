"""Runners: their names in every form that Beam takes, and those that are refused."""

import pytest

from encoder.errors import InputError
from pipeline.__main__ import main
from pipeline.launch.runners import checked_runner

PORTABLE = "apache_beam.runners.portability"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("DirectRunner", "DirectRunner"),
        ("direct", "DirectRunner"),
        ("apache_beam.runners.direct.direct_runner.SwitchingDirectRunner", "DirectRunner"),
        ("apache_beam.runners.portability.fn_api_runner.FnApiRunner", "FnApiRunner"),
        ("dataflow", "DataflowRunner"),
        ("FLINKRUNNER", "FlinkRunner"),
        (f"{PORTABLE}.spark_runner.SparkRunner", "SparkRunner"),
        ("my.own.Runner", "my.own.Runner"),
    ],
)
def test_names_are_understood_as_beam_does(given, name):
    assert checked_runner(given) == name


@pytest.mark.parametrize(
    "given",
    [
        *("DaskRunner", "dask", "apache_beam.runners.dask.dask_runner.DaskRunner"),
        *("BundleBasedDirectRunner", "InteractiveRunner", "interactive"),
    ],
)
def test_runners_that_lose_or_repeat_are_refused(given):
    with pytest.raises(InputError, match=f"--runner '{given}' can't be used: Beam's "):
        checked_runner(given)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_nothing_is_written_before_a_runner_is_refused(
    command, images, small_bundle, tmp_path, capsys
):
    output = tmp_path / "out"
    words = ["--input", images, "--encoder", small_bundle, "--output", output]
    assert main([command, *map(str, words), "--runner=DaskRunner"]) == 2
    assert capsys.readouterr().err == (
        "error: --runner 'DaskRunner' can't be used: Beam's DaskRunner reports success although it "
        "loses elements; leave out --runner to run on this machine, or see docs/runners.md for "
        "those that were tested\n"
    )
    assert not output.exists()
