"""Stores that images are only read from: S3, and what Beam's file systems know.

``registry`` adds them to ``encoder.storage``; each is imported when its first address is used.
"""
