"""``python -m pipeline``: the parser, the commands, and what they print.

In: the words of a command line. Out: an exit code. May import everything; only
``pipeline.__main__`` imports it.
"""
