"""``python -m encoder``; see encoder.cli.main."""

from __future__ import annotations

from encoder.cli.main import build_parser, command, main

__all__ = ["build_parser", "command", "main"]

if __name__ == "__main__":
    command()
