"""Maintain a dataset between runs: status, verify, repair, compact, prune.

In: an output. Out: findings, or a new manifest. Neither Beam nor TensorFlow. Imported by ``cli``;
imports ``dataset``.
"""
