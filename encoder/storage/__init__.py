"""Files, wherever they are: on this machine or in Google Cloud Storage.

In: a path or address. Out: bytes, listings and versions, by the interface in ``base``; ``registry``
knows which store a path belongs to. Imports only ``errors``; every other folder may import it.
"""
