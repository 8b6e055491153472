"""Run one command: options are parsed, buckets are checked, errors become one line."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from encoder.errors import InputError
from encoder.storage.base import GCS_PREFIX, StorageSettings, configure
from encoder.storage.registry import check_reachable, normalize
from encoder.terminal import exit_code, report, run_command, show_logs
from pipeline.cli.log_output import AsJson, ForPeople, is_wanted
from pipeline.cli.parser import build_parser
from pipeline.errors import JobError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code (0 done, 1 the job failed, 2 wrong command line)."""
    parser = build_parser()
    words = sys.argv[1:] if arguments is None else arguments
    parser.check_filled(words)
    options, rest = parser.parse_known_args(words)
    as_json = getattr(options, "log_format", "text") == "json"
    if options.verbose or as_json:
        show_logs(AsJson(options.verbose) if as_json else ForPeople(), is_wanted, for_data=as_json)
        logging.captureWarnings(True)
    else:
        logging.disable(logging.CRITICAL)
    if not options.verbose:
        warnings.simplefilter("ignore")
    try:
        if not options.request_deadline > 0:
            raise InputError(f"--request-deadline is {options.request_deadline:g}; expected more")
        configure(StorageSettings(options.user_project, options.request_deadline))
        if "check" in options:
            options.check(options, rest)
        _check_buckets(options)
        return int(options.command(options, rest))
    except (Exception, KeyboardInterrupt) as error:
        if as_json:
            logging.getLogger(__name__).error("%s: %s", type(error).__name__, error, exc_info=True)
            return exit_code(error)
        return report(error, (InputError, JobError, OSError), options.verbose)


def _check_buckets(options: argparse.Namespace) -> None:
    """Report errors of buckets before Beam is loaded, which takes seconds."""
    for option in ("input", "encoder", "output"):
        value = getattr(options, option, None) or ()
        for text in (value,) if isinstance(value, str) else value:
            if text.lower().startswith(GCS_PREFIX):
                from pipeline.inputs.source import parse_input

                path = parse_input(text).base if option == "input" else normalize(text)
                try:
                    check_reachable(path)
                except OSError as error:
                    of_option = f"--{option}: " if "input" in options else ""
                    raise InputError(f"{of_option}{error}") from error


def command() -> None:
    """Run as the installed command."""
    run_command(main)
