"""The Keras engine: the network itself, on TensorFlow or JAX.

In: a ``keras.Model``. Out: an engine. ``base`` is the interface of Keras's backends, ``registry``
finds the one in use; each is a module. ``engine`` compiles the model for every device. Imported by
``bundle`` and ``cli``.
"""
