"""For Beam's --setup_file only; everything about the package is in pyproject.toml."""

from setuptools import setup

setup()
