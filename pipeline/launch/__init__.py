"""Hand a job to a Beam runner, wait for it, and explain what went wrong.

In: a ``Job`` and Beam's options. Out: the run record. Imported by ``cli``; imports ``graph``.
"""
