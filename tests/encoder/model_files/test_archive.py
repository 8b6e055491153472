"""Zip archives that are no plain .keras files."""

import json
import stat
import warnings
import zipfile

import keras
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network
from tests.encoder.model_files import hostile


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture
def evil(canary):
    return json.dumps(hostile.chain(hostile.lambda_layer(canary)))


def good():
    return json.dumps(keras.saving.serialize_keras_object(small_network()))


def keras_file(path, config, extra=()):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        return hostile.keras_file(path, config, extra=extra)


def test_other_descriptions_beside_the_description_are_not_read(tmp_path, evil, canary):
    extra = [
        (name, evil) for name in ("./config.json", "CONFIG.JSON", "a/config.json", "../c.json")
    ]
    nested = keras_file(tmp_path / "inner.keras", evil).read_bytes()
    extra += [("assets/inner.keras", nested), ("inner.keras", nested)]
    path = keras_file(tmp_path / "m.keras", good(), extra)
    assert load_model(path)[0].name == small_network().name
    assert not canary.exists()
    assert not (tmp_path.parent / "c.json").exists()


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_descriptions_the_one_that_is_checked_is_loaded(order, tmp_path, evil, canary):
    first, second = (good(), evil)[::order]
    path = keras_file(tmp_path / "m.keras", first, [("config.json", second)])
    if order == 1:
        with pytest.raises(InputError, match="has a Lambda"):
            load_model(path)
    else:
        assert load_model(path)[0].name == small_network().name
    assert not canary.exists()


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_equal_keys_the_one_that_is_checked_is_loaded(order, tmp_path, canary):
    odd = hostile.lambda_layer(canary)
    first, second = (odd, hostile.dense())[::order]
    text = json.dumps(hostile.chain("HERE")).replace(
        '"HERE"', f'{{"class_name": "{first["class_name"]}", {json.dumps(second)[1:]}'
    )
    with pytest.raises(InputError, match=r"can't load|has a Lambda"):
        load_model(keras_file(tmp_path / "m.keras", text))
    assert not canary.exists()


def test_a_description_in_another_spelling(tmp_path, evil, canary):
    text = evil.replace('"Lambda"', '"\\u004cambda"')
    assert "Lambda" not in text.replace("__lambda__", "")
    with pytest.raises(InputError, match="has a Lambda"):
        load_model(keras_file(tmp_path / "m.keras", text))
    assert not canary.exists()


def test_links_among_the_members_are_not_followed(tmp_path):
    target = tmp_path / "secret.json"
    target.write_text(good())
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("config.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr("metadata.json", "{}")
        archive.writestr(link, str(target))
    with pytest.raises(InputError, match="damaged description"):
        load_model(path)


def test_an_encrypted_member(tmp_path):
    path = keras_file(tmp_path / "m.keras", good())
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(signature, place + 4)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"not a whole \.keras file"):
        load_model(path)


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_member_that_expands(member, tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (("metadata.json", "{}"), ("config.json", good())):
            if name != member:
                archive.writestr(name, text)
        with archive.open(member, "w") as opened:
            for _ in range(80):
                opened.write(b" " * (1 << 20))
    with pytest.raises(InputError, match=rf"m\.keras.*{member}.*expands"):
        load_model(path)


def test_a_member_that_says_it_is_short(tmp_path):
    """The size in the directory of the archive is a claim; no more than that is written."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", good())
        archive.writestr("model.weights.h5", b" " * (80 << 20))
    data = path.read_bytes()
    size = (80 << 20).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"m\.keras"):
        load_model(path)


def test_weights_of_another_kind_are_not_read(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", good())
        archive.writestr("model.weights.npz", b"pickle")
    with pytest.raises(InputError, match=r"no 'model\.weights\.h5'"):
        load_model(path)
