"""The ncnn engine: networks as ncnn's own files, computed without TensorFlow and Keras.

In: the encoder of a bundle. Out: its compiled form, ``encoder.ncnn.param`` and
``encoder.ncnn.bin``, and an engine that runs it. ``compile`` makes the form and ``proof`` tries it;
``convert`` walks the network's steps, ``net`` writes the files. ``form`` is what a bundle says of
it, ``check`` what it must look like, and ``engine`` runs it; these import no Keras. Imported by
``engines.choice``, ``bundle`` and ``extraction``.
"""
