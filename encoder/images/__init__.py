"""Image files to pixels, as the encoder's spec defines them.

In: the bytes of one file. Out: ``uint8 (height, width, channels)``, or an error that describes
what is wrong with the file. No Keras. Imported by ``compute``, and by the pipeline, whose workers
decode.
"""
