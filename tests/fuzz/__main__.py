"""The long form of fuzzing: Atheris finds inputs that reach new lines of encoder and pipeline.

``python -m tests.fuzz --minutes 60`` gives each target its share of the minutes, each in a process
of its own, and prints a table. Inputs that were worth keeping stay in the corpus for the next time.
"""

import argparse
import hashlib
import os
import pathlib
import re
import sys
import traceback

import atheris

from tests.fuzz.target import folder

LONGEST = 1 << 16  # bytes of an input
SLOWEST = 20  # seconds for one input; more is a finding
MEMORY = 4096  # MiB; more is a finding


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--target", action="append", help="may be given several times")
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path(".cache/fuzz"))
    options = parser.parse_args()
    with atheris.instrument_imports(include=["encoder", "pipeline"]):
        from tests.fuzz.targets import TARGETS
    folder()  # made here, since libFuzzer's processes end without removing it
    names = options.target or list(TARGETS)
    print("target | executions | minutes | places reached | findings", flush=True)
    minutes = options.minutes / len(names)
    found = [row(TARGETS[name], options.corpus.resolve(), minutes) for name in names]
    return 1 if any(found) else 0


def row(target, corpus, minutes):
    """Fuzz one target, in a process of its own, and print its row. Returns how much was found."""
    place = corpus / re.sub(r"\W+", "-", target.name)
    for each in ("inputs", "findings"):
        (place / each).mkdir(parents=True, exist_ok=True)
    log = place / "log.txt"
    process = os.fork()  # libFuzzer ends its process; and the imports take many seconds
    if process == 0:
        with log.open("wb") as opened:
            os.dup2(opened.fileno(), 1)
            os.dup2(opened.fileno(), 2)
            fuzz(target, place, minutes)
    os.waitpid(process, 0)
    text = log.read_text(errors="replace")
    executions = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)", text, re.M)
    reached = re.findall(r"cov: (\d+)", text)
    findings = sorted((place / "findings").iterdir())
    count = int("".join(executions[-1])) if executions else 0
    places = reached[-1] if reached else "0"
    print(f"{target.name} | {count:,} | {minutes:.1f} | {places} | {len(findings)}", flush=True)
    for finding in findings if count else [f"it did not run: {log}"]:
        print(f"  {finding}", flush=True)
    return len(findings) if count else 1


def fuzz(target, place, minutes):
    """Fuzz one target; does not return."""
    for seed in target.seeds():
        (place / "inputs" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = place / "words.txt"
    words.write_text("".join(f'"{escaped(each)}"\n' for each in target.words if len(each) < 60))
    dictionary = [f"-dict={words}"] if target.words else []  # libFuzzer refuses an empty one

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
        "-print_final_stats=1",
        *dictionary,
    ]
    atheris.Setup([sys.argv[0], *options, str(place / "inputs")], one)
    atheris.Fuzz()


def escaped(word):
    """A word as a dictionary of libFuzzer has it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
