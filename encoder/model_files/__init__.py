"""Trained models as files: check a file for code that it would run, then load it with Keras.

In: a ``.keras`` or ``.h5`` file, a SavedModel folder, a weights file or a checkpoint, local or in a
bucket.
Out: a ``keras.Model`` and the file's sha256. Imported by ``bundle`` and ``cli``; imports
``storage``.
"""
