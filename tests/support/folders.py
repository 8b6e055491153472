"""Folders that can't be listed."""

import os


def close(monkeypatch, name):
    """Refuse to open folders of this name, also for root, who may open all folders."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith(f"/{name}"):  # it may be the number of an open folder
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
