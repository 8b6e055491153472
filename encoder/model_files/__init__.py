"""Trained models as files: what a file would run is checked, then Keras loads it.

In: a ``.keras`` or ``.h5`` file, a SavedModel folder or a weights file, local or in a bucket.
Out: a ``keras.Model`` and the file's sha256. Imported by ``bundle`` and ``cli``; imports
``storage``.
"""
