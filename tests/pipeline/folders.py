"""Folders that can't be listed."""

import os


def close(monkeypatch, name):
    """Folders of this name may not be entered; root may enter all, so the refusal is made."""
    scandir = os.scandir

    def refusing(path):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
