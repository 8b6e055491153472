"""``python -m encoder``: commands, and what they print or draw.

In: the words of a command line. Out: an exit code. Nothing imports it but ``encoder.__main__``.
"""
