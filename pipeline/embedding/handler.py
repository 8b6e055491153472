"""How Beam's RunInference loads and calls an encoder."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from cachetools import LRUCache
from numpy.typing import NDArray

from encoder.bundle import load
from encoder.spec import EngineName, read_spec
from encoder.storage.base import StorageSettings, configure, settings
from pipeline.embedding.call_sizes import share_cores
from pipeline.errors import JobError
from pipeline.logs import name_run, run_logger
from pipeline.measures import Collector, Name
from pipeline.records import EMBED, Decoded, Embedded, Failure, Load, failure_of
from pipeline.runs.progress import Tally

if TYPE_CHECKING:
    from encoder.compute.runtime import Encoder

RECENT_BYTES = 32 << 20  # bytes of vectors to keep
_ENTRY_BYTES = 512  # approximate bytes of a cache entry besides its vector
_LOG = run_logger(__name__)

# A vector, float32 (dim,), with the load that computed it, or an error.
_Vector = tuple[NDArray[np.float32], Load]
_Result = _Vector | Exception


class Call(NamedTuple):
    """The measures of one call of the handler, which follow the images that it returns."""

    values: tuple[tuple[Name, float], ...]


class Computed(NamedTuple):
    """What a call of a LoadedEncoder gives.

    Attributes:
        vectors: float32 (n, dim).
        load: the load that computed them.
        waited: seconds that the call loaded the encoder, or waited for the load.
        is_first: whether no call gave vectors before.
    """

    vectors: NDArray[np.float32]
    load: Load
    waited: float
    is_first: bool


class LoadedEncoder:
    """An encoder that is loaded when the first images come, and an id of this load.

    RunInference loads its model on every worker, even if no image comes.

    Args:
        load: returns the encoder. It is called once.
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None
        self._loaded = Load(uuid.uuid4().hex, "")
        self._is_used = False

    def embed(self, images: NDArray[np.uint8], batch_size: int | None) -> Computed:
        """Embed images; see encoder.Encoder.embed.

        Args:
            images: uint8 (n, height, width, channels).
            batch_size: images per call.

        Raises:
            JobError: the encoder can't be loaded.
        """
        began = time.perf_counter()
        with self._lock:
            encoder = self._encoder
            if encoder is None:
                encoder = self._encoder = self._load()
                seconds = round(time.perf_counter() - began, 3)
                self._loaded = Load(self._loaded.id, encoder.computes_on, seconds)
        waited = time.perf_counter() - began
        vectors = encoder.embed(images, batch_size)
        with self._lock:
            is_first, self._is_used = not self._is_used, True
        return Computed(vectors, self._loaded, waited, is_first)


@dataclasses.dataclass
class EncoderHandler(ModelHandler[Decoded, Embedded | Failure | Call, LoadedEncoder]):  # type: ignore[misc]
    """Decoded -> Embedded, or a Failure for an image that the encoder can't take. And Calls.

    Attributes:
        bundle: path of the encoder bundle, as the workers reach it.
        encoder_id: the id of the bundle that the job was planned for.
        batch_size: images per call at most. It is fixed: new sizes would be compiled again, and
            growing ones can run out of memory hours into a job.
        engine: what computes; see encoder.load.
        trust: allow a bundle with Lambda layers or custom classes.
        custom_objects: names of modules that define custom classes of the bundle.
        across_processes: load once for all processes of a machine, in a separate process.
        storage: request settings for buckets, applied in the process that loads.
        tally_folder: where the device is announced; see pipeline.runs.progress.
        run_id: the run's id, for log messages.
    """

    bundle: str
    encoder_id: str
    batch_size: int
    engine: EngineName = "auto"
    trust: bool = False
    custom_objects: tuple[str, ...] = ()
    across_processes: bool = False
    storage: StorageSettings = dataclasses.field(default_factory=settings)
    tally_folder: str | None = None
    run_id: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._recent: LRUCache[str, _Vector] = LRUCache(RECENT_BYTES, _bytes_held)

    def load_model(self) -> LoadedEncoder:
        """The model that RunInference keeps once per worker machine; see LoadedEncoder."""
        return LoadedEncoder(self.load_encoder)

    def load_encoder(self) -> Encoder:
        """Load the bundle and warm it up.

        Raises:
            JobError: the bundle can't be loaded, or it is not the encoder that the job began with.
        """
        configure(self.storage)
        name_run(self.run_id)
        began = time.monotonic()
        try:
            spec = read_spec(self.bundle)
            share_cores(spec.height, spec.width)
            encoder = load(
                self.bundle,
                trust=self.trust,
                custom_objects=self.custom_objects,
                engine=self.engine,
            )
        except Exception as error:
            raise JobError(f"the encoder can't be loaded: {error}") from error
        if encoder.spec.id != self.encoder_id:
            raise JobError(
                f"the bundle {self.bundle} is encoder {encoder.spec.id} now, but the job began "
                f"with {self.encoder_id}: somebody has replaced it meanwhile. Start the job again"
            )
        Tally(self.tally_folder).announce(f"the encoder computes on {encoder.computes_on}")
        encoder.warm_up(self.batch_size)
        seconds = time.monotonic() - began
        _LOG.info("encoder %s loaded in %.1f s: %s", spec.id, seconds, encoder.computes_on)
        return encoder

    def run_inference(
        self,
        batch: Sequence[Decoded],
        model: LoadedEncoder,
        inference_args: Mapping[str, object] | None = None,
    ) -> Iterable[Embedded | Failure | Call]:
        """Embed a batch, see embed; the measures come last."""
        measures = Collector()
        outcomes = self.embed(batch, model, measures)
        return [*outcomes, Call(tuple(measures.take()))]

    def embed(
        self, batch: Sequence[Decoded], model: LoadedEncoder, measures: Collector | None = None
    ) -> list[Embedded | Failure]:
        """Embed a batch; equal content is computed once, also across recent batches.

        If the call fails, halves are tried, down to single images. Failures are not cached.

        Args:
            batch: the images.
            model: of load_model.
            measures: gets the measures of the call.

        Raises:
            JobError: the encoder can't be loaded.
        """
        measures = measures or Collector()
        results: dict[str, _Result] = {}
        fresh: dict[str, Decoded] = {}
        for image in batch:
            known = self._recent.get(image.sha256)
            if known is None:
                fresh[image.sha256] = image
            else:
                results[image.sha256] = known
        measures.add("batch_images", len(batch))
        measures.add("cache_hits", len(batch) - len(fresh))
        for sha256, result in _embedded(list(fresh.values()), model, self.batch_size, measures):
            results[sha256] = result
            if not isinstance(result, Exception):  # its traceback would keep pixels in memory
                with contextlib.suppress(ValueError):  # one vector is larger than the whole cache
                    self._recent[sha256] = result
        return [_outcome(image, results[image.sha256]) for image in batch]

    def get_num_bytes(self, batch: Sequence[Decoded]) -> int:
        """Bytes of pixels, for Beam's metrics; Beam's default would pickle every batch."""
        return sum(image.pixels.nbytes for image in batch)

    def get_metrics_namespace(self) -> str:
        """The namespace of RunInference's own metrics."""
        return "embed_images_inference"

    def share_model_across_processes(self) -> bool:
        """See across_processes."""
        return self.across_processes


def _bytes_held(vector: _Vector) -> int:
    return vector[0].nbytes + _ENTRY_BYTES


def _embedded(
    images: list[Decoded], model: LoadedEncoder, batch_size: int | None, measures: Collector
) -> Iterator[tuple[str, _Result]]:
    """sha256 and result of each image.

    A batch is filled up, so that an image's vector does not depend on the others to the last bit.
    Its halves are not, since the batch may have been too large for the memory.
    """
    if not images:
        return
    pixels = np.stack([image.pixels for image in images])
    try:
        began = time.perf_counter()
        vectors, load, waited, is_first = model.embed(pixels, batch_size)
        measures.add("inference_ms", 1000 * (time.perf_counter() - began - waited))
        if is_first:
            measures.add("load_ms", 1000 * load.seconds)
    except (ConnectionError, EOFError, JobError):  # the encoder, or its process, is gone
        raise
    except Exception as error:
        if len(images) == 1:
            yield images[0].sha256, error
            return
        middle = len(images) // 2
        yield from _embedded(images[:middle], model, None, measures)
        yield from _embedded(images[middle:], model, None, measures)
        return
    for image, vector in zip(images, vectors, strict=True):
        yield image.sha256, (vector.copy(), load)  # a view would keep the whole batch in memory


def _outcome(image: Decoded, result: _Result) -> Embedded | Failure:
    if isinstance(result, Exception):
        return failure_of(image, EMBED, result)
    vector, load = result
    if not np.isfinite(vector).all():
        error = ValueError(f"{np.count_nonzero(~np.isfinite(vector))} values are not finite")
        return failure_of(image, EMBED, error)
    return Embedded(
        uri=image.uri,
        version=image.version,
        bytes=image.bytes,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        truncated=image.truncated,
        carried=image.carried,
        embedding=vector,
        load=load,
    )
