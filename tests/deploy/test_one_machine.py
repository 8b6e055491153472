"""The script for cron and systemd: real calls, real locks, real signals, real exit codes."""

import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.support.tools import needs

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "one-machine"
SCRIPT = FOLDER / "embed-images.sh"
SYSTEMD = FOLDER / "systemd"
BUSY, TIMED_OUT, STOPPED = 75, 124, 143


class Machine:
    """A machine with one collection, whose Python is a script that ends with given exit codes."""

    def __init__(self, folder):
        self.folder = folder
        self.alerts = folder / "alerts"
        self.calls = folder / "calls"
        self.codes = folder / "codes"
        self.lock = folder / "lock"
        self.python = folder / "python"
        self.python.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >> {self.calls}\n'
            f"code=$(head -n 1 {self.codes}); sed -i 1d {self.codes}\n"
            'case $code in sleep*) exec $code;; esac\nexit "${code:-0}"\n'
        )
        self.python.chmod(0o755)
        self.settings = {
            "PYTHON": self.python,
            "OUTPUT": folder / "out",
            "RUN_OPTIONS": "(--input photos --encoder vgg16)",
            "LOCK": self.lock,
            "RETRIES": 2,
            "RETRY_SECONDS": 0,
            "ALERT": f"(tee -a {self.alerts})",
        }

    def command(self, what="nightly", *codes, **settings):
        self.codes.write_text("".join(f"{code}\n" for code in codes))
        config = self.folder / "collection.conf"
        lines = {**self.settings, **settings}.items()
        config.write_text("".join(f"{name}={value}\n" for name, value in lines))
        return [SCRIPT, what, config]

    def call(self, what="nightly", *codes, **settings):
        """Run the script to its end. Returns the exit code and the output of errors."""
        command = self.command(what, *codes, **settings)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def start(self, what="nightly", *codes, **settings):
        """Start the script, and wait until its first command works."""
        process = subprocess.Popen(self.command(what, *codes, **settings))
        wait_for(lambda: self.calls.exists() and self.calls.read_text())
        return process

    def commands(self):
        """The commands that were run, in order."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [call.split()[2] for call in calls]

    def alerted(self):
        return self.alerts.read_text() if self.alerts.exists() else ""


def wait_for(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened in 10 seconds")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_night(machine):
    assert machine.call()[0] == 0
    call = f"-m pipeline run --input photos --encoder vgg16 --output {machine.folder}/out\n"
    assert machine.calls.read_text() == call
    assert machine.alerted() == ""


def test_a_failure_that_passes_is_tried_again(machine):
    code, err = machine.call("nightly", 1, 137, 0)
    assert code == 0
    assert machine.commands() == ["run"] * 3
    assert "try 1 of 2" in err
    assert machine.alerted() == ""


def test_a_failure_that_stays_alerts_once(machine):
    assert machine.call("nightly", 1, 1, 1)[0] == 1
    assert machine.commands() == ["run"] * 3
    assert machine.alerted().count("run: failed with exit code 1") == 1


def test_a_wrong_command_line_is_not_tried_again(machine):
    assert machine.call("nightly", 2)[0] == 2
    assert machine.commands() == ["run"]
    assert "the command line is wrong" in machine.alerted()


def test_an_alert_that_fails_changes_nothing(machine):
    code, err = machine.call("nightly", 2, ALERT="(false)")
    assert code == 2
    assert "the alert itself failed with exit code 1: false" in err


def test_a_log_is_kept_and_its_end_is_in_the_alert(machine):
    log = machine.folder / "log"
    code, err = machine.call("nightly", 2, LOG=log)
    assert (code, err) == (2, "")
    assert "the command line is wrong" in log.read_text()
    assert "embed-images nightly: run" in machine.alerted()


def test_the_upkeep(machine):
    assert machine.call("weekly", KEEP_RUNS="8w")[0] == 0
    out = machine.settings["OUTPUT"]
    assert machine.calls.read_text().splitlines() == [
        f"-m pipeline compact {out}",
        f"-m pipeline prune {out} --runs-older-than 8w",
        f"-m pipeline verify {out}",
    ]


def test_findings_alert_and_are_not_looked_for_again(machine):
    assert machine.call("weekly", 1, 0, 0, 1)[0] == 1
    assert machine.commands() == ["compact", "compact", "prune", "verify"]
    assert machine.alerted().splitlines() == [machine.alerted().strip()]
    assert "verify: failed with exit code 1" in machine.alerted()


def test_a_second_call_is_left_out(machine):
    first = machine.start("nightly", "sleep 2")
    code, err = machine.call("nightly")
    assert code == BUSY
    assert "left out" in err
    assert machine.commands() == ["run"]
    assert first.wait(10) == 0
    assert machine.call("nightly")[0] == 0


def test_the_upkeep_waits_for_the_night(machine):
    first = machine.start("nightly", "sleep 1")
    assert machine.call("weekly", UPKEEP_WAIT_SECONDS=30)[0] == 0
    assert first.wait(10) == 0
    assert machine.commands() == ["run", "compact", "prune", "verify"]


def test_a_job_whose_script_was_killed_keeps_the_lock(machine):
    """As after an out-of-memory kill of the script alone: the job goes on, so nothing else may."""
    first = machine.start("nightly", "sleep 2")
    first.kill()
    first.wait()
    assert machine.call("nightly")[0] == BUSY
    wait_for(lambda: machine.call("nightly")[0] == 0)


def test_a_daemon_that_an_alert_starts_does_not_keep_the_lock(machine):
    daemon = "(bash -c 'cat >/dev/null; setsid sleep 5 >/dev/null 2>&1 &')"
    assert machine.call("nightly", 2, ALERT=daemon)[0] == 2
    assert machine.call("nightly")[0] == 0


def test_a_run_that_hangs_is_stopped_and_not_tried_again(machine):
    assert machine.call("nightly", "sleep 60", TIME_LIMIT_SECONDS=1)[0] == TIMED_OUT
    assert machine.commands() == ["run"]
    assert "time limit of 1 s" in machine.alerted()


def test_a_signal_stops_the_job_as_well(machine):
    process = machine.start("nightly", "sleep 60")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == STOPPED
    assert machine.call("nightly")[0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"OUTPUT": ""}, "does not set OUTPUT"),
        ({"RUN_OPTIONS": "()"}, "does not set RUN_OPTIONS"),
        ({"RETRIES": "many"}, "RETRIES is 'many'"),
        ({"LOCK": "/no/such/folder/lock"}, "can't be made"),
        ({"LOG": "/no/such/folder/log"}, "can't be written"),
        ({"OUTPUT": "$UNKNOWN"}, "does not set OUTPUT"),
        ({"OUTPUT": "'"}, "has an error"),
    ],
)
def test_a_wrong_configuration(machine, settings, message):
    code, err = machine.call("nightly", **settings)
    assert code == 2
    assert message in err
    assert machine.commands() == []


@pytest.mark.parametrize("words", [[], ["nightly"], ["daily", "x"], ["nightly", "/no/such/file"]])
def test_a_wrong_command_line(words):
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected 'nightly' or 'weekly'" in done.stderr or "not readable" in done.stderr


class TestTheRealPipeline:
    """The same script with the real job."""

    @pytest.fixture
    def night(self, machine, images, small_bundle):
        machine.settings.update(
            PYTHON=sys.executable,
            RUN_OPTIONS=f"(--input {images} --encoder {small_bundle})",
            RETRIES=1,
        )
        return machine

    def test_a_wrong_option_and_a_night(self, night):
        code, err = night.call(RUN_OPTIONS=f"{night.settings['RUN_OPTIONS'][:-1]} --no-such 1)")
        assert code == 2
        assert "--no-such" in err
        assert "try 1" not in err
        assert "the command line is wrong" in night.alerted()
        code, err = night.call()
        assert code == 0, err

    @pytest.mark.long
    def test_a_week_and_a_night_that_fails(self, night, images):
        assert night.call()[0] == 0
        assert night.call("weekly")[0] == 0
        for image in images.rglob("*.*"):
            image.write_bytes(b"broken")
        code, err = night.call()
        assert code == 1
        assert err.count("try 1 of 1") == 1
        assert night.alerted().count("failed with exit code 1") == 1


@needs("shellcheck", "shellcheck")
def test_scripts_pass_shellcheck():
    scripts = [*ROOT.glob("deploy/**/*.sh"), FOLDER / "photos.conf", ROOT / ".ci" / "run"]
    assert len(scripts) >= 3
    command = ["shellcheck", "--external-sources", f"--source-path={FOLDER}", *scripts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def units():
    return sorted(SYSTEMD.iterdir())


@needs("systemd-analyze", "systemd")
def test_systemd_accepts_the_units(tmp_path):
    for unit in units():
        text = unit.read_text().replace("/opt/embed-images", str(ROOT))
        (tmp_path / unit.name).write_text(text)
    names = [f"./{unit.name}" for unit in units()]
    command = ["systemd-analyze", "verify", "--man=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "embed-images@.timer").write_text("[Timer]\nOnCalendar=every night\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "every night" in done.stderr


@needs("systemd-analyze", "systemd")
def test_the_times_of_timers():
    times = {unit.name: setting(unit, "OnCalendar") for unit in units() if unit.suffix == ".timer"}
    assert len(times) == 2
    for when in times.values():
        command = ["systemd-analyze", "calendar", when]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_units_call_the_script_as_it_expects(machine):
    """ExecStart, by hand: two at once, of which the second is left out without an error."""
    unit = SYSTEMD / "embed-images@.service"
    words = shlex.split(setting(unit, "ExecStart"))
    command = machine.command("nightly", "sleep 2")
    words[0] = str(ROOT / pathlib.Path(words[0]).relative_to("/opt/embed-images"))
    assert words[-1] == "/etc/embed-images/%i.conf"
    words[-1] = str(command[-1])
    first = subprocess.Popen(words)
    wait_for(lambda: machine.commands() == ["run"])
    second = subprocess.run(words, check=False).returncode
    assert str(second) == setting(unit, "SuccessExitStatus")
    assert first.wait(10) == 0
    assert machine.commands() == ["run"]


def setting(unit, name):
    (value,) = [
        line.partition("=")[2]
        for line in unit.read_text().splitlines()
        if line.startswith(f"{name}=")
    ]
    return value


def test_cron_calls_the_script_as_it_expects():
    lines = [
        line
        for line in (FOLDER / "cron.d" / "embed-images").read_text().splitlines()
        if line and not line.startswith("#") and "=" not in line.split()[0]
    ]
    assert len(lines) == 2
    for line, what in zip(lines, ("nightly", "weekly"), strict=True):
        *when, user, script, called, config = line.split()
        assert len(when) == 5
        assert user == "embed"
        assert script == f"/opt/embed-images/{SCRIPT.relative_to(ROOT)}"
        assert (called, config) == (what, "/etc/embed-images/photos.conf")
