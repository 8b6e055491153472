"""Inputs: folders, globs, lists and archives of images, and the stores that hold them.

In: the text of an ``--input``. Out: ``Image`` records and carried columns. Only ``stores.s3`` and
``stores.beam`` import Beam. Imported by ``runs`` and the layers above; imports ``dataset``.
"""
