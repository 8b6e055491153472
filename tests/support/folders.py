"""Folders that can't be listed."""

import os


def close(monkeypatch, name):
    """Folders of this name may not be entered; root may enter all, so the refusal is made."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith(f"/{name}"):  # it may be the number of an open folder
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
