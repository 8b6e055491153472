"""HDF5 files that show other files' data or fill the memory, as .h5 and inside .keras files."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network
from tests.encoder.model_files.hostile import copy_with

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
SECRET = np.arange(64, dtype=np.float32)


def first_weights(archive):
    """A dataset of weights, its group and its name there."""
    found = []
    archive.visititems(lambda _, item: found.append(item) if hasattr(item, "dtype") else None)
    dataset = found[0]
    return dataset, dataset.parent, dataset.name.rpartition("/")[2]


def replaced(make):
    def change(archive, folder):
        dataset, group, name = first_weights(archive)
        shape = dataset.shape
        del group[name]
        make(group, name, shape, folder)

    return change


def external_link(group, name, shape, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.resize(SECRET, shape)
    group[name] = h5py.ExternalLink(str(folder / "other.h5"), "secret")


def soft_link(group, name, shape, folder):
    group.file["moved"] = np.zeros(shape, np.float32)
    group[name] = h5py.SoftLink("/moved")


def dangling_link(group, name, shape, folder):
    group[name] = h5py.SoftLink("/nowhere")


def external_storage(group, name, shape, folder):
    size = int(np.prod(shape)) * 4
    (folder / "secret").write_bytes(np.resize(SECRET, shape).tobytes())
    parts = [(str(folder / "secret"), 0, size)]
    group.create_dataset(name, shape, np.float32, external=parts)


def virtual(group, name, shape, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.resize(SECRET, shape)
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "secret", shape)
    group.create_virtual_dataset(name, layout)


def declared_only(group, name, shape, folder):
    group.create_dataset(name, (1 << 40, 4), np.float32, chunks=(1024, 4))


def compressed_zeros(group, name, shape, folder):
    zeros = group.create_dataset(name, (1 << 26,), np.float32, chunks=(1 << 24,), compression=9)
    zeros[:] = 0


def many_declared(group, name, shape, folder):
    for number in range(100):
        group.create_dataset(f"{name}{number}", (1 << 20,), np.float32, chunks=(1024,))


def objects(group, name, shape, folder):
    group.create_dataset(name, (3,), h5py.string_dtype())


def plugin(group, name, shape, folder):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(307, h5py.h5z.FLAG_OPTIONAL)  # bzip2, which HDF5 loads from a library
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plan)


ATTACKS = {
    "link .*ExternalLink": external_link,
    "link .*SoftLink": soft_link,
    "link .*/'.*SoftLink": dangling_link,
    "shows data of another file$|shows data of another file,": external_storage,
    "another file, which": virtual,
    "declares arrays of more": declared_only,
    "declares arrays": compressed_zeros,
    "declares arrays of": many_declared,
    "and not numbers": objects,
    r"plugins \[307\]": plugin,
}


@pytest.mark.parametrize("message", ATTACKS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_it_is_refused(message, ending, tmp_path):
    path = tmp_path / f"m{ending}"
    small_network().save(path)
    hostile = tmp_path / f"hostile{ending}"
    change = replaced(ATTACKS[message])
    if ending == ".h5":
        copy_with(path, hostile, lambda archive: change(archive["model_weights"], tmp_path))
    else:
        with_weights(path, hostile, lambda archive: change(archive, tmp_path))
    with pytest.raises(InputError, match=rf"hostile\{ending}.*({message})"):
        load_model(hostile)


def with_weights(source, target, change):
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as copy:
        for name in whole.namelist():
            data = whole.read(name)
            if name == "model.weights.h5":
                opened = io.BytesIO(data)
                with h5py.File(opened, "r+") as archive:
                    change(archive)
                data = opened.getvalue()
            copy.writestr(name, data)


def test_a_group_that_contains_itself_does_not_hang(tmp_path):
    small_network().save(tmp_path / "m.h5")

    def change(archive):
        archive["model_weights"]["again"] = archive["model_weights"]

    path = copy_with(tmp_path / "m.h5", tmp_path / "loop.h5", change)
    assert load_model(path)[0].name == small_network().name


def test_attributes_that_are_no_text(tmp_path):
    small_network().save(tmp_path / "m.h5")
    for value in (7, np.arange(4), h5py.Empty("f"), np.array([b"{}", b"{}"])):

        def change(archive, value=value):
            archive.attrs["model_config"] = value

        path = copy_with(tmp_path / "m.h5", tmp_path / "odd.h5", change)
        with pytest.raises(InputError, match=r"odd\.h5.*damaged description"):
            load_model(path)


def test_a_model_without_weights(tmp_path):
    small_network().save(tmp_path / "m.h5")

    def change(archive):
        del archive["model_weights"]

    path = copy_with(tmp_path / "m.h5", tmp_path / "bare.h5", change)
    with pytest.raises(InputError, match="has no weights"):
        load_model(path)


def test_weights_alone_are_checked_too(tmp_path):
    network = small_network()
    network.save_weights(tmp_path / "m.weights.h5")
    hostile = tmp_path / "hostile.weights.h5"
    copy_with(
        tmp_path / "m.weights.h5",
        hostile,
        lambda archive: replaced(external_storage)(archive, tmp_path),
    )
    with pytest.raises(InputError, match="data of another file"):
        load_model(hostile, builder="tests.conftest:small_network")
