"""One run: its job, the rules that decide about every image, and the commit. No Beam.

In: options, and what listing and index found. Out: decisions, a committed manifest, a run record.
Called ``runs`` because ``pipeline.run`` is the function that starts one. Imported by ``embedding``,
``steps`` and what is above them; imports ``inputs`` and ``dataset``.
"""
