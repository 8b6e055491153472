"""``python -m pipeline``; see pipeline.cli.main."""

from __future__ import annotations

from pipeline.cli.main import command, main
from pipeline.cli.parser import build_parser

__all__ = ["build_parser", "command", "main"]

if __name__ == "__main__":
    command()
