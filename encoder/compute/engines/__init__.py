"""What computes the vectors: an engine takes pixels and returns embeddings.

In: a bundle. Out: functions from ``uint8 (n, height, width, channels)`` to ``float32 (n, dim)``.
``base`` is the interface, and ``choice`` says which engine is faster here. ``keras`` runs the
network itself, on TensorFlow or JAX; ``ncnn`` runs the compiled form that ``extract`` has written,
and needs neither. Imported by ``compute.runtime``, ``bundle`` and ``cli``.
"""
