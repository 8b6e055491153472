"""Real image files of every kind, made in memory from a photograph."""

import functools
import importlib.util
import io
import pathlib
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

SIZE = (64, 48)  # width, height


@functools.cache
def photograph(width=SIZE[0], height=SIZE[1]):
    """A cat, RGB."""
    package = importlib.util.find_spec("skimage")
    path = pathlib.Path(package.origin).parent / "data" / "chelsea.png"
    with Image.open(path) as image:
        return image.convert("RGB").resize((width, height))


def saved(image, kind, **options):
    image = image.copy()  # saving an image leaves settings that disturb saving it in another format
    buffer = io.BytesIO()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels, **options):
    """A TIFF of a kind that Pillow does not write: tiles, 16 bits, floats, several strips."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
ADAM7 = (*ADAM7, (0, 1, 1, 2))  # first column, first row, columns apart, rows apart


def png_rows(pixels, bits=8, interlaced=False):
    """The uncompressed bytes of a PNG: for each row, a filter byte of 0 and the samples."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    return b"".join(
        b"\0" + packed(row, bits)
        for x, y, across, down in passes
        for row in pixels[y::down, x::across]
        if row.size
    )


def packed(row, bits):
    if bits == 16:
        return row.astype(">u2").tobytes()
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    split = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - bits :]
    return np.packbits(split).tobytes()


def png(pixels, bits=8, color=None, interlaced=False, chunks=b"", rows=None):
    """A PNG of any kind in the standard, also of kinds that Pillow does not write.

    ``rows`` replaces the bytes before compression. ``chunks`` come before the pixels.
    """
    if color is None:
        color = {2: 0, 3: {1: 0, 2: 4, 3: 2, 4: 6}.get(pixels.shape[-1])}[pixels.ndim]
    rows = png_rows(pixels, bits, interlaced) if rows is None else rows
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def gif(pixels, interlaced=False, end_after=None):
    """A GIF of gray pixels (height, width), whose codes may end early."""
    height, width = pixels.shape
    if interlaced:
        pixels = np.concatenate([pixels[0::8], pixels[4::8], pixels[2::4], pixels[1::2]])
    flat = pixels.ravel()[:end_after]
    codes = [
        code for k, v in enumerate(flat) for code in ([256] if k % 100 == 0 else []) + [int(v)]
    ]
    bits, count, stream = 0, 0, bytearray()
    for code in [*codes, 257]:  # all of nine bits, since the table is cleared before it grows
        bits |= code << count
        count += 9
        while count >= 8:
            stream.append(bits & 255)
            bits, count = bits >> 8, count - 8
    stream.append(bits)
    palette = bytes(value for gray in range(256) for value in (gray, gray, gray))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x40 * interlaced) + b"\x08"
    pieces = [bytes(stream[k : k + 255]) for k in range(0, len(stream), 255)]
    return head + frame + b"".join(bytes([len(p)]) + p for p in pieces) + b"\0;"


def run_length_bmp(pixels, rows=None):
    """A run-length coded BMP of gray pixels (height, width), with only ``rows`` rows."""
    height, width = pixels.shape
    lines = pixels[::-1][:rows]
    code = b"".join(b"".join(bytes([1, v]) for v in line) + b"\0\0" for line in lines) + b"\0\1"
    palette = b"".join(bytes([k, k, k, 0]) for k in range(256))
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(code), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(code), 0, 0, start) + info + palette + code


def segments(data):
    """(marker, first byte, end) of a JPEG file's segments up to its first scan's header."""
    position, found = 2, []
    while not found or found[-1][0] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        found.append((data[position + 1], position, end))
        position = end
    return found


def without(data, marker):
    """A JPEG file without the segments of a marker."""
    for code, start, end in reversed(segments(data)):
        if code == marker:
            data = data[:start] + data[end:]
    return data


def with_segment(data, marker, content):
    """A JPEG file with another segment at its beginning."""
    return (
        data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + data[2:]
    )


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def two_frames(image):
    return {"save_all": True, "append_images": [image.rotate(180)]}


@functools.cache
def every_kind():
    """A file of every supported kind by name, all of the same photograph."""
    photo = photograph()
    gray, rgba, two = photo.convert("L"), photo.convert("RGBA"), photo.convert("1")
    colors, grays = np.asarray(photo), np.asarray(gray)
    wide, wide_gray = colors.astype(np.uint16) * 257, grays.astype(np.uint16) * 257
    cmyk, palette = photo.convert("CMYK"), photo.quantize(64)
    return {
        "jpeg": saved(photo, "JPEG"),
        "jpeg progressive": saved(photo, "JPEG", progressive=True),
        "jpeg 4:4:4": saved(photo, "JPEG", subsampling=0),
        "jpeg gray": saved(gray, "JPEG"),
        "jpeg cmyk": saved(cmyk, "JPEG"),
        "jpeg odd sampling": saved(cmyk, "JPEG", subsampling=2),
        "jpeg restarts": saved(photo, "JPEG", restart_marker_blocks=2),
        "jpeg mpo": saved(photo, "MPO", **two_frames(photo)),
        "png": saved(photo, "PNG"),
        **{f"png {b} bits": png(grays >> 8 - b, b) for b in (1, 2, 4, 8)},
        "png 16 bits": png(wide_gray, 16),
        "png 16 bits colour": png(wide, 16),
        "png palette": saved(palette, "PNG"),
        "png alpha": saved(rgba, "PNG"),
        "png interlaced": png(colors, interlaced=True),
        "png animated": saved(photo, "PNG", **two_frames(photo)),
        "gif": saved(palette, "GIF"),
        "gif interlaced": gif(grays, interlaced=True),
        "gif animated": saved(palette, "GIF", **two_frames(palette)),
        "webp": saved(photo, "WEBP"),
        "webp lossless": saved(photo, "WEBP", lossless=True),
        "webp alpha": saved(rgba, "WEBP"),
        "webp animated": saved(photo, "WEBP", **two_frames(photo)),
        "bmp": saved(photo, "BMP"),
        "bmp palette": saved(palette, "BMP"),
        "bmp 1 bit": saved(two, "BMP"),
        "bmp run-length": run_length_bmp(grays),
        "tiff strips": tiff(colors, photometric="rgb", rowsperstrip=10),
        "tiff tiles": tiff(colors, photometric="rgb", tile=(16, 32)),
        "tiff deflated tiles": tiff(colors, photometric="rgb", tile=(16, 32), compression="zlib"),
        "tiff big": tiff(colors, photometric="rgb", bigtiff=True),
        "tiff 16 bits": tiff(wide_gray, byteorder=">"),
        "tiff 16 bits colour": tiff(wide, photometric="rgb"),
        "tiff float": tiff((grays / 255).astype(np.float32)),
        "tiff cmyk": saved(cmyk, "TIFF"),
        "tiff alpha": saved(rgba, "TIFF"),
        "tiff pages": saved(photo, "TIFF", **two_frames(photo)),
        "tiff lzw": saved(photo, "TIFF", compression="tiff_lzw"),
        "tiff packbits": saved(photo, "TIFF", compression="packbits"),
        "tiff jpeg": saved(photo, "TIFF", compression="jpeg"),
        "tiff fax": saved(two, "TIFF", compression="group4"),
        "avif": saved(photo, "AVIF"),
        "avif alpha": saved(rgba, "AVIF"),
        "jpeg 2000": saved(photo, "JPEG2000"),
        "jpeg 2000 codestream": saved(photo, "JPEG2000", no_jp2=True),
        "jpeg 2000 lossy": saved(photo, "JPEG2000", irreversible=True, quality_layers=[20]),
        "jpeg 2000 tiles": saved(photo, "JPEG2000", tile_size=(32, 32)),
        "jpeg 2000 16 bits": saved(Image.fromarray(wide_gray), "JPEG2000"),
        "heic": saved(photo, "HEIF"),
        "heic alpha": saved(rgba, "HEIF"),
        "ppm": saved(photo, "PPM"),
        "pgm 16 bits": b"P5 %d %d 65535\n" % SIZE + wide_gray.astype(">u2").tobytes(),
        "tga": saved(photo, "TGA"),
        "tga run-length": saved(photo, "TGA", compression="tga_rle"),
    }


def endless_gif(parts=40_000):
    """Comments, whose parts Pillow joins one by one: seconds grow with the square of their size."""
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "GIF")
    head, _, rest = data.getvalue().partition(b"\x2c")
    comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * parts + b"\0"
    return head + comment + b"\x2c" + rest


def endless_jpeg(scans=400, side=10_000):
    """A progressive image whose scans all refine the same coefficients."""
    data = io.BytesIO()
    Image.new("L", (side, side)).save(data, "JPEG", progressive=True)
    stream = data.getvalue()
    last = stream.rindex(b"\xff\xda")
    return stream[:last] + stream[last:-2] * scans + b"\xff\xd9"
