"""A trained network as a graph: find the tap, cut there, pool, and compute the encoder's id.

In: a built ``keras.Model``. Out: the cut encoder, ``(n, height, width, channels)`` to ``(n, dim)``,
with the reasons for each choice. Uses Keras, and reads no files. Imported by ``bundle``,
``compute`` and ``cli``; imports ``spec`` and ``errors``.
"""
