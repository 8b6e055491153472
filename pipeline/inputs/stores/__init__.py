"""Stores for input only: S3, and stores behind Beam's file systems.

In: paths such as s3://. Out: file states, listings and bytes, as ``encoder.storage.base.Store``.
``registry`` adds the stores to ``encoder.storage``; a store's module is imported on first use.
"""
