"""The Dockerfile, and with IMAGE=1 (``make test-image``) the images themselves, built by buildah.

There is no registry and no Docker engine here. The base images are stand-ins that are made on the
spot: Debian with its Python 3.11 for python:3.11-slim-bookworm; the same with Beam's own boot
program, built from Beam's sources, for Beam's image; and with a script in place of Google's
launcher, whose source is not published. Every RUN line is executed, on these. It needs root,
buildah, debootstrap, Go, and 20 GB.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
from importlib import metadata

import pyarrow.dataset as ds
import pytest

from deploy.image import locks

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = pathlib.Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "image"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BEAM = metadata.version("apache-beam")
TARGETS = ("cpu", "gpu", "launcher")
EXTRAS = {"EXTRAS": "s3 heic jax savedmodel"}


def test_each_extra_has_a_lock_that_fits_the_others():
    base = (ROOT / "requirements.lock").read_text()
    versions = {}
    for extra in locks.EXTRAS:
        added = (ROOT / f"requirements-{extra}.lock").read_text()
        assert locks.only_in(added, base) == added
        assert all("--hash=sha256:" in each for each in locks.requirements(added))
        mine = {}
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", added, re.M):
            mine.setdefault(name, set()).add(version)
        for name, found in mine.items():
            assert versions.setdefault(name, found) == found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*locks.EXTRAS, "dev"} == set(project["optional-dependencies"])


def test_other_versions_than_the_base_are_refused():
    with pytest.raises(ValueError, match=r"pillow==2 .* differs from requirements\.lock"):
        locks.only_in(
            "pillow==2 \\\n    --hash=sha256:ab\n", "pillow==1 \\\n    --hash=sha256:ab\n"
        )


def test_targets():
    assert {*TARGETS} <= set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M))
    assert not re.search(r"^USER", DOCKERFILE, re.M)


def test_what_is_copied_is_not_ignored():
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    for name in " ".join(copied).split():
        assert f"!{name}" in rules
    assert "requirements-dev.lock" in rules
    assert not [rule for rule in rules if rule.startswith("!") and ".venv" in rule]


needs_buildah = pytest.mark.skipif("IMAGE" not in os.environ, reason="make test-image")
pytestmark = pytest.mark.filterwarnings("default")


def call(*words, **options):
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return subprocess.run(
        [str(word) for word in words], check=True, text=True, env=environment, **options
    )


def container_of(image):
    return call("buildah", "from", image, stdout=subprocess.PIPE).stdout.strip()


def commit(container, image):
    call("buildah", "commit", "--quiet", container, image)
    call("buildah", "rm", container, stdout=subprocess.DEVNULL)
    return image


@pytest.fixture(scope="session")
def bases():
    """The stand-ins for the base images, as build arguments."""
    python, beam, launcher = (f"localhost/test-{name}:1" for name in ("python", "beam", "launcher"))
    CACHE.mkdir(parents=True, exist_ok=True)
    root = CACHE / "root"
    if not (root / "usr/bin/python").exists():
        shutil.rmtree(root, ignore_errors=True)
        packages = "--include=python3,python3-pip,python3-venv,ca-certificates"
        call("debootstrap", "--variant=minbase", packages, "bookworm", root)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
        (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        (root / "usr/bin/python").symlink_to("python3.11")
    container = container_of("scratch")
    call("buildah", "add", "--quiet", container, root, "/")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    call("buildah", "config", "--env", f"PATH={path}", container)
    commit(container, python)

    boot = CACHE / "boot"
    if not boot.exists():
        (CACHE / "go.mod").write_text("module build\n")
        module = "github.com/apache/beam/sdks/v2"
        call("go", "get", f"{module}@v{BEAM}", cwd=CACHE)
        where = call(
            "go", "list", "-m", "-f", "{{.Dir}}", module, cwd=CACHE, stdout=subprocess.PIPE
        )
        source = pathlib.Path(where.stdout.strip()) / "python" / "container"
        call("go", "build", "-o", boot, ".", cwd=source)
    container = container_of(python)
    call("buildah", "copy", "--quiet", container, boot, "/opt/apache/beam/boot")
    pip = ("python", "-m", "pip", "install", "-q", "--no-cache-dir", "--no-deps")
    call("buildah", "run", "--network", "host", container, "--", *pip, f"apache-beam=={BEAM}")
    commit(container, beam)

    script = CACHE / "launcher"
    script.write_text('#!/bin/sh\nexec python "$FLEX_TEMPLATE_PYTHON_PY_FILE" "$@"\n')
    script.chmod(0o755)
    container = container_of(python)
    place = "/opt/google/dataflow/python_template_launcher"
    call("buildah", "copy", "--quiet", container, script, place)
    commit(container, launcher)
    return {"BASE_IMAGE": python, "BEAM_IMAGE": beam, "LAUNCHER_IMAGE": launcher}


def build(target, arguments):
    words = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    image = f"localhost/embed-images:{target}"
    options = ("--network=host", "--layers", "--target", target, "--tag", image)
    done = subprocess.run(
        ["buildah", "bud", "--isolation=chroot", *options, *words, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(params=TARGETS, scope="session")
def built(request, bases):
    """A container of each target, with all extras."""
    target = request.param
    code, output = build(target, {**bases, **EXTRAS, "IMAGE": f"host/{target}:1"})
    assert code == 0, output[-5000:]
    container = container_of(f"localhost/embed-images:{target}")
    yield target, container
    call("buildah", "rm", container)


def inside(container, *words, user="10001", mounts=()):
    """Run a command in the container. Returns its exit code and output."""
    run = ("buildah", "run", "--isolation=chroot", "--user", user, "--env", "HOME=/home/embed")
    command = [*run, *mounts, container, "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_buildah
def test_an_image_works_without_root(built, images, small_bundle, tmp_path):
    target, container = built
    assert inside(container, "python", "-m", "pip", "check") == (
        0,
        "No broken requirements found.\n",
    )
    assert inside(container, "python", "-m", "pipeline", "--help")[0] == 0
    assert "No id provided" in inside(container, "/opt/apache/beam/boot")[1]
    extras = "import boto3, jax, pillow_heif, tf_keras"
    assert inside(container, "python", "-c", extras)[0] == 0
    found = inside(container, "sh", "-c", "ls -d /usr/local/lib/python3*/*-packages/nvidia")[0]
    assert (found == 0) == (target == "gpu")
    for folder in (tmp_path, images, small_bundle, *tmp_path.parents[:2], small_bundle.parent):
        folder.chmod(0o777)
    mounts = [f"--volume={folder}:{folder}" for folder in (tmp_path, small_bundle)]
    paths = {"--input": images, "--encoder": small_bundle, "--output": tmp_path / "out"}
    words = [str(word) for pair in paths.items() for word in pair]
    code, output = inside(container, "python", "-m", "pipeline", "run", *words, mounts=mounts)
    assert code == 0, output
    assert ds.dataset(tmp_path / "out" / "embeddings").count_rows() == 5


@needs_buildah
def test_beams_boot_program_runs_a_worker_without_root(built, images, small_bundle, tmp_path):
    """A job service here, and the image as its pool of workers, in a network of their own."""
    target, container = built
    if target != "cpu":
        pytest.skip("once is enough")
    for folder in (tmp_path, images, small_bundle, *tmp_path.parents[:2], small_bundle.parent):
        folder.chmod(0o777)
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    script = f"""
        ip link set lo up
        buildah run --isolation=chroot --network=host --user=10001 --env=HOME=/home/embed \
            --volume={tmp_path}:{tmp_path} --volume={small_bundle}:{small_bundle} \
            {container} -- /opt/apache/beam/boot --worker_pool &
        {sys.executable} -m apache_beam.runners.portability.local_job_service_main \
            --port=50001 --staging_dir={tmp_path}/staging &
        sleep 10
        {sys.executable} -m pipeline run --input {images} --encoder {small_bundle} \
            --output {tmp_path}/out --runner=PortableRunner --job_endpoint=127.0.0.1:50001 \
            --environment_type=EXTERNAL --environment_config=127.0.0.1:50000
    """
    words = ["unshare", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert ds.dataset(tmp_path / "out" / "embeddings").count_rows() == 5


@needs_buildah
def test_the_launcher_knows_its_image(built):
    target, container = built
    if target != "launcher":
        pytest.skip("for the launcher")
    launcher = "/opt/google/dataflow/python_template_launcher"
    code, output = inside(container, launcher, "--input=gs://b/x", "--allow_empty=perhaps")
    assert code == 2
    # What follows is buildah's.
    assert output.startswith("error: allow_empty is 'perhaps'; expected true or false\n")
    assert inside(container, "printenv", "EMBED_IMAGES_IMAGE") == (0, "host/launcher:1\n")


@needs_buildah
def test_another_sdk_in_beams_image_fails_the_build(bases):
    container = container_of(bases["BEAM_IMAGE"])
    change = (
        "import importlib.metadata as m; path = m.distribution('apache-beam')._path / 'METADATA'; "
        f"text = path.read_text().replace('Version: {BEAM}', 'Version: 2.1.0'); "
        "path.write_text(text)"
    )
    call("buildah", "run", container, "--", "python", "-c", change)
    other = commit(container, "localhost/test-beam:other")
    code, output = build("cpu", {**bases, **EXTRAS, "BEAM_IMAGE": other})
    assert code != 0
    assert "BEAM_IMAGE has apache-beam 2.1.0, requirements.lock has " in output
