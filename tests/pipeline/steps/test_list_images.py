from collections import Counter

from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings
from pipeline.inputs.archives.base import Packing
from pipeline.runs.batches import PARTITIONS, KnownBatch, NamedBatch, pack, partition_of, unpack
from pipeline.runs.scope import Scope
from pipeline.steps.list_images import _Look


def test_what_lists_named_in_archives_is_packed():
    """By partition and list, over all archives that a bundle of Beam opens."""
    step = _Look(Packing(), Scope(()), StorageSettings())
    uris = [f"/{n % 50}.tar#{n}.jpg" for n in range(3000)]
    lists = ["/one.txt", "/two.txt"]
    step.start_bundle()
    found = []
    for archive in range(50):
        known = [(uri, "part", "v", "sha", None, True, None) for uri in uris[archive::50]]
        sides = {"archives": [], "known": [pack(KnownBatch(known))], "named": lists}
        found += step.process((f"/{archive}.tar", sides))
    found += step.finish_bundle()
    assert {output.tag for output in found} == {"named"}
    assert len(found) <= PARTITIONS * len(lists)
    named = Counter()
    for output in found:
        value = output.value.value if isinstance(output.value, WindowedValue) else output.value
        partition, batch = value[0], unpack(value[1], NamedBatch)
        assert {partition_of(uri) for uri in batch.uris} == {partition}
        named.update((batch.list_uri, uri) for uri in batch.uris)
    assert named == Counter((list_uri, uri) for list_uri in lists for uri in uris)
