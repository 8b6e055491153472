"""Archives of images: tar, zip, TFRecord and Parquet behind one interface.

In: an archive's uri. Out: its members, and their bytes. Each kind of archive has a module;
``registry`` chooses one, ``base`` is what they share. Imported by ``inputs``, ``embedding`` and the
layers above.
"""
