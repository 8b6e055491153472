"""What an ``--input`` names: folders, globs, lists, archives, and the stores that hold them.

In: the text of an ``--input``. Out: ``Image`` records and carried columns. Beam only in
``stores.s3`` and ``stores.beam``. Imported by ``runs`` and what is above it; imports ``dataset``.
"""
