# Workers, and whatever else runs this project in a container. Targets:
#
#   cpu       a Beam worker, and `python -m pipeline` for Kubernetes and the like
#   gpu       the same with NVIDIA's libraries; the driver comes from the machine
#   launcher  cpu that can also launch itself as a Flex Template; with EXTRAS=cuda, for GPUs
#
#   deploy/build.sh cpu REGISTRY/embed-images:TAG      # resolves the base images to digests
#
# EXTRAS are extras of pyproject.toml with a lock of their own, such as "s3 heic".
ARG BEAM_VERSION=2.77.0
ARG PYTHON_VERSION=3.11
ARG BEAM_IMAGE=apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}
ARG BASE_IMAGE=python:${PYTHON_VERSION}-slim-bookworm
ARG LAUNCHER_IMAGE=gcr.io/dataflow-templates-base/python311-template-launcher-base:latest

FROM ${BEAM_IMAGE} AS beam
# The boot program does not state its version. The SDK that it was published with does.
RUN python -c "from importlib.metadata import version; print(version('apache-beam'))" \
    > /opt/apache/beam/sdk-version

FROM ${BASE_IMAGE} AS cpu
# A user for all that needs no root. The boot program makes an environment for each worker, and a file
# with the options in the working directory; any user may write there.
RUN useradd --uid 10001 --create-home embed \
    && install --directory --mode 1777 /opt/apache/beam-venv /var/lib/embed-images
COPY --from=beam /opt/apache/beam /opt/apache/beam

WORKDIR /opt/embed-images
ARG EXTRAS=""
COPY requirements*.lock ./
RUN set -- \
    && for extra in ${EXTRAS}; do set -- "$@" --requirement "requirements-${extra}.lock"; done \
    && python -m pip install --no-cache-dir --no-deps --require-hashes \
        --requirement requirements.lock "$@"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY encoder encoder
COPY pipeline pipeline
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation .
# A base image with another Python than the locks fit, and a boot program of another SDK, fail here
# and not on workers.
RUN python -m pip check \
    && python -c "import apache_beam, tensorflow, encoder, pipeline" \
    && python -c "from importlib.metadata import version as v; s = open('/opt/apache/beam/sdk-version').read().strip(); assert v('apache-beam') == s, f'BEAM_IMAGE has apache-beam {s}, requirements.lock has ' + v('apache-beam')"

# Where Dataflow and GKE mount NVIDIA's driver, if there is a GPU.
ENV PATH=${PATH}:/usr/local/nvidia/bin LD_LIBRARY_PATH=/usr/local/nvidia/lib64
WORKDIR /var/lib/embed-images
# No USER: Dataflow mounts folders that only root may write. Other engines can run it as "embed".
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM cpu AS gpu
# "cuda" for TensorFlow, "jax-cuda" for JAX, or both.
ARG GPU_EXTRAS="cuda"
RUN set -- \
    && for extra in ${GPU_EXTRAS}; do \
        set -- "$@" --requirement "/opt/embed-images/requirements-${extra}.lock"; done \
    && python -m pip install --no-cache-dir --no-deps --require-hashes \
        --requirement /opt/embed-images/requirements.lock "$@" \
    && python -m pip check

FROM ${LAUNCHER_IMAGE} AS template-launcher

FROM cpu AS launcher
COPY --from=template-launcher /opt/google/dataflow/python_template_launcher \
    /opt/google/dataflow/python_template_launcher
COPY deploy/flex_template/launch.py /opt/embed-images/launch.py
# Its own name, for workers of the jobs that it launches.
ARG IMAGE=""
# Flex Templates replace the entrypoint when they launch. Workers use it as it is.
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/embed-images/launch.py EMBED_IMAGES_IMAGE=${IMAGE}
