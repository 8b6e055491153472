"""Archives of every kind for the tests, made with the libraries that people use."""

import io
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.inputs.archives.tfrecord_files import _FOOTER, _HEADER, _example_type, masked_checksum


def picture(seed, kind="PNG"):
    """The bytes of a small image that depends on the seed."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (seed * 37 % 256, seed * 91 % 256, seed % 256)).save(buffer, kind)
    return buffer.getvalue()


def tar(path, files, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def example(**features):
    """A serialized tf.train.Example. Values are bytes, text, int or float."""
    message = _example_type()()
    for name, value in features.items():
        feature = message.features.feature[name.replace("__", "/")]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    return message.SerializeToString()


def record(data):
    head = _HEADER.pack(len(data), 0)[:8]
    footer = _FOOTER.pack(masked_checksum(data))
    return head + _FOOTER.pack(masked_checksum(head)) + data + footer


def parquet(path, images, row_group_size=None, **columns):
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=row_group_size)
    return path
