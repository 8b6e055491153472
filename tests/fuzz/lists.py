"""Targets: lists of images in text, CSV, JSON and Parquet, and what their uris become."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.registry import is_remote
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import carried_types, check_columns, read_list
from pipeline.inputs.uris import path_of, readable, uri_of
from pipeline.options import ListOptions
from tests.fuzz.target import Target, content, file_with

ROWS = [
    {"uri": "a.jpg", "label": "cat", "n": 1},
    {"uri": "/b/ü,'\"x.png", "label": 'two\nlines, "quoted"', "n": 2.5},
    {"uri": "gs://bucket/c.jpg", "label": "", "n": None},
    {"uri": "file:///d%20e.jpg", "label": "日本", "n": 2**63},
]
TEXT_WORDS = (
    *(b"\n", b"\r", b"\r\n", b"\0", b'"', b'""', b'"""', b'x","\n', b",", b";", b"\t", b"sep=|\n"),
    *(b"uri", b"\xff\xfe", b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"\x1f\x8b", b"BZh", b"\xed\xa0\x80"),
    *(b"file:///%00", b"file://host/a", b"gs://", b"gs:///a", b"../" * 9, b"#", b".tar#", b"~x"),
)
JSON_WORDS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'"\\ud800"', b"\\u0000", b"[" * 3000),
    *(
        b"1e999",
        b"-0",
        b"NaN",
        b"9" * 5000,
        b'{"a":' * 200,
        b"null",
        b'{"uri":"a"}\n',
        b"[{",
        b"}]",
    ),
)


def check(name, quoting="auto"):
    options = ListOptions(quoting=quoting)

    def check(data):
        with file_with(data, name) as path, contextlib.suppress(ListError):
            check_columns(str(path), options)
            keep = () if name.endswith(".txt") else ("label", "n")
            carried = carried_types(str(path), options, keep) if keep else pa.schema([])
            for entry in read_list(str(path), options, carried, []):
                assert entry.path.startswith("/") or is_remote(entry.path)
                readable(entry.error or "").encode()
                assert len(entry.carried or ()) == len(keep)
                if entry.error is None:
                    assert path_of(uri_of(entry.path)) == entry.path

    return check


def as_csv(**dialect):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), **dialect)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


def texts():
    return [b"a.jpg\n\xff.png\r\n/b/c.jpg", b"a.jpg\rb.jpg", "ü.jpg\n".encode("utf-16")]


def tables():
    plain = as_csv()
    found = [
        plain,
        as_csv(delimiter=";"),
        as_csv(quoting=csv.QUOTE_ALL),
        pd.DataFrame(ROWS).to_csv(),
    ]
    return [
        *(text.encode() for text in found),
        plain.encode("utf-16"),
        plain.encode("utf-8-sig"),
        *(pack(plain.encode()) for pack in (gzip.compress, bz2.compress, lzma.compress)),
    ]


def objects():
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    found = [lines, json.dumps(ROWS), json.dumps(ROWS, indent=1)]
    return [*(text.encode() for text in found), lines.encode("utf-16-le")]


def parquets():
    plain = pa.table(
        {
            "uri": [row["uri"] for row in ROWS],
            "label": [row["label"].encode() for row in ROWS],
            "n": [[1], None, [], [2, None]],
        }
    )
    coded = plain.set_column(0, "uri", plain["uri"].dictionary_encode())
    options = ({}, {"compression": "none"}, {"compression": "zstd", "data_page_version": "2.0"})
    return [
        content(lambda path, t=table, o=each: pq.write_table(t, path, **o), "x.parquet")
        for table in (plain, coded)
        for each in options
    ]


TARGETS = (
    Target("text list", check("list.txt"), texts, TEXT_WORDS),
    Target("csv", check("list.csv"), tables, TEXT_WORDS),
    Target("csv, standard quotes", check("list.csv", "standard"), tables, TEXT_WORDS),
    Target("tsv", check("list.tsv"), lambda: [as_csv(delimiter="\t").encode()], TEXT_WORDS),
    Target("json", check("list.jsonl"), objects, JSON_WORDS),
    Target("parquet list", check("list.parquet"), parquets),
)
