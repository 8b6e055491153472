"""``python -m pipeline``; see pipeline.cli.main."""

from __future__ import annotations

from pipeline.cli.main import build_parser, command, main

__all__ = ["build_parser", "command", "main"]

if __name__ == "__main__":
    command()
