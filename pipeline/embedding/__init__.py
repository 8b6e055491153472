"""From an image that has to be embedded to its vector: read ahead, decode, call the encoder.

In: ``Todo``. Out: ``Embedded``, or ``Failure`` with a reason. Beam only in ``handler``. Imported by
``steps`` and ``cli.doctor``; imports ``runs``, ``inputs``, ``dataset`` and the encoder.
"""
