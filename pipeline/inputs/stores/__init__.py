"""Stores for input only: S3, and stores behind Beam's file systems; and time limits of all stores.

In: paths such as s3://. Out: file states, listings and bytes, as ``encoder.storage.base.Store``.
``registry`` adds the stores to ``encoder.storage``; a store's module is imported on first use.
``name_ranges`` lists large buckets in ranges, ``by_listing`` finds many files by listing.
``timeouts`` bounds how long a store may take to list files and to answer.
"""
