"""The boxes of the graph: one Beam transform each, with as little logic as possible.

In and out: PCollections, named and typed in each transform. What a step does with an element is
a function of ``embedding``, ``runs``, ``inputs`` or ``dataset``. Imported by ``graph``.
"""
