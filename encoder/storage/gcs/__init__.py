"""Google Cloud Storage as a Store: one client, retries, listings in parallel, checksums.

Imported by ``storage.registry`` alone, when the first ``gs://`` address is used.
"""
