"""Image files as pixels, exactly as the encoder's spec says.

In: the bytes of one file. Out: ``uint8 (height, width, channels)``, or an error that says what is
wrong with the file. No Keras. Imported by ``compute``, and by the pipeline, whose workers decode.
"""
