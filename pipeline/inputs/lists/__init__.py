"""Lists of images: text, CSV, JSON Lines and Parquet behind one interface.

In: a list's path. Out: an ``Entry`` per image, with the values of carried columns. Each kind of
file has a module; ``registry`` chooses one, ``base`` is what they share. Imported by ``inputs``.
"""
