"""Archives of images: tar, zip, TFRecord and Parquet behind one interface.

In: an archive's uri. Out: its members, and their bytes. A module per kind of file; ``registry``
chooses, ``base`` is what they share. Imported by ``inputs``, ``embedding`` and ``runs``.
"""
