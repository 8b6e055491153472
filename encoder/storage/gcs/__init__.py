"""Google Cloud Storage as a Store: one client, retries, listings in parallel, checksums.

Only ``storage.registry`` imports it, when the first ``gs://`` address is used.
"""
