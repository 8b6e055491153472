"""The description of a model's layers: checked for code, and rewritten for today's Keras.

In: the JSON that Keras wrote into a file. Out: JSON that names known classes only. Imported by
``model_files``; imports ``stand_ins`` and ``errors``.
"""
