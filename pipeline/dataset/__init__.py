"""The dataset on disk or in a bucket: layout, schema, manifest, parts. No Beam.

In: rows and paths. Out: Parquet files, and the current state of the dataset. Imported by everything
above; imports ``options``, ``records``, ``errors`` and the encoder's storage and spec.
"""
