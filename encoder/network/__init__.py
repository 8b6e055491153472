"""A trained network as a graph: find the tap, cut there, pool, and give the result an id.

In: a built ``keras.Model``. Out: the cut encoder, ``(n, height, width, channels)`` to ``(n, dim)``,
with the reasons for what was chosen. Keras, and no files. Imported by ``bundle``, ``compute`` and
``cli``; imports ``spec`` and ``errors``.
"""
