"""The long form of fuzzing: Atheris finds inputs that reach new lines of encoder and pipeline.

``python -m tests.fuzz --minutes 60`` gives each target its share of the minutes, each in a process
of its own, and prints a table. Inputs that were worth keeping stay in the corpus for the next time.
"""

import argparse
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import traceback

import atheris

LONGEST = 1 << 16  # bytes of an input
SLOWEST = 20  # seconds for one input; more is a finding
MEMORY = 4096  # MiB; more is a finding


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--target", action="append", help="may be given several times")
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path(".cache/fuzz"))
    parser.add_argument("--only", help=argparse.SUPPRESS)  # this process is one target's
    options = parser.parse_args()
    if options.only:
        fuzz(options.only, options.corpus, options.minutes)
    names = options.target or targets()
    print("target | executions | minutes | lines reached | findings", flush=True)
    found = [row(name, options.corpus, options.minutes / len(names)) for name in names]
    return 1 if any(found) else 0


def targets():
    from tests.fuzz.targets import TARGETS

    return list(TARGETS)


def place_of(name, corpus):
    place = corpus.resolve() / re.sub(r"\W+", "-", name)
    for each in ("inputs", "findings"):
        (place / each).mkdir(parents=True, exist_ok=True)
    return place


def row(name, corpus, minutes):
    """Run one target and print its row. Returns the number of its findings."""
    place = place_of(name, corpus)
    command = [sys.executable, "-m", "tests.fuzz", "--only", name, "--corpus", str(corpus)]
    with open(place / "log.txt", "w+", encoding="utf-8", errors="replace") as log:
        subprocess.run([*command, "--minutes", str(minutes)], stderr=log, stdout=log, check=False)
        log.seek(0)
        text = log.read()
    executions = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)", text, re.M)
    reached = re.findall(r"cov: (\d+)", text)
    findings = sorted((place / "findings").iterdir())
    count = "".join(executions[-1]) if executions else "0"
    lines = reached[-1] if reached else "0"
    print(f"{name} | {count} | {minutes:.1f} | {lines} | {len(findings)}", flush=True)
    for finding in findings:
        print(f"  {finding}", flush=True)
    return len(findings)


def fuzz(name, corpus, minutes):
    """Fuzz one target; does not return."""
    with atheris.instrument_imports(include=["encoder", "pipeline"]):
        from tests.fuzz.targets import TARGETS
    target, place = TARGETS[name], place_of(name, corpus)
    for seed in target.seeds():
        (place / "inputs" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = place / "words.txt"
    words.write_text("".join(f'"{escaped(each)}"\n' for each in target.words if len(each) < 60))

    def one(data):
        try:
            target.check(data)
        except Exception as error:  # a finding, named by where it arises, so that it counts once
            frames = traceback.extract_tb(error.__traceback__)
            where = " ".join(f"{each.filename}:{each.lineno}" for each in frames[-3:])
            digest = hashlib.sha256(f"{type(error)} {where}".encode()).hexdigest()[:8]
            finding = place / "findings" / f"{type(error).__name__}-{digest}"
            if not finding.exists() or len(data) < finding.stat().st_size:
                finding.write_bytes(data)
                traceback.print_exc()

    options = [
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={LONGEST}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={place / 'findings'}{os.sep}",
        f"-dict={words}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(place / "inputs")], one)
    atheris.Fuzz()


def escaped(word):
    """A word as a dictionary of libFuzzer has it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
