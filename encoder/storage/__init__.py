"""Read, write and list files on this machine or in Google Cloud Storage.

In: a path or address. Out: bytes, listings and versions. ``base`` is the interface; ``registry``
finds the store of a path. Imports only ``errors``; every other folder may import it.
"""
