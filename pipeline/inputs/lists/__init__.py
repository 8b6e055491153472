"""Lists of images: text, CSV, JSON Lines and Parquet behind one interface.

In: a list's path. Out: an ``Entry`` per image, with the values of carried columns. A module per
kind of file; ``registry`` chooses, ``base`` is what they share. Imported by ``inputs``.
"""
