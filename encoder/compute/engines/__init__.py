"""Keras's backends, TensorFlow and JAX, behind one interface.

In: a ``keras.Model`` and a device. Out: a function from ``uint8 (n, height, width, channels)`` to
``float32 (n, dim)``. ``base`` is the interface, ``registry`` finds the engine in use; each
engine is a module. Imported by ``compute.runtime``, ``bundle`` and ``cli``.
"""
