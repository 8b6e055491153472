"""``python -m encoder``: the commands and their output.

In: the words of a command line. Out: an exit code. Only ``encoder.__main__`` imports it.
"""
