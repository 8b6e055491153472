"""Compute embeddings: the machine, Keras's backend, and the loaded encoder.

In: a ``keras.Model``, its spec, and ``uint8 (n, height, width, channels)``.
Out: ``float32 (n, dim)``. Imported by ``bundle`` and ``cli``; imports ``network``,
``images`` and ``spec``.
"""
