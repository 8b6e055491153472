# A Beam worker with this project and everything it needs, for Dataflow and other engines.
#
#   docker build -t REGISTRY/embed-images .
#
# Both base images are arguments, so that a mirror or a GPU image can take their place, e.g.
#   --build-arg BASE_IMAGE=tensorflow/tensorflow:2.21.0-gpu
ARG BEAM_VERSION=2.77.0
ARG PYTHON_VERSION=3.11
ARG BEAM_IMAGE=apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}
ARG BASE_IMAGE=python:${PYTHON_VERSION}-slim-bookworm

FROM ${BEAM_IMAGE} AS beam

FROM ${BASE_IMAGE} AS worker
# The worker's boot program; it starts the Python of this image.
COPY --from=beam /opt/apache/beam /opt/apache/beam

WORKDIR /opt/embed-images
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY encoder encoder
COPY pipeline pipeline
# The import finds a base image with another Python than the lock fits, here and not on workers.
RUN python -m pip install --no-cache-dir --no-deps . \
    && python -c "import apache_beam, tensorflow, encoder, pipeline"

ENTRYPOINT ["/opt/apache/beam/boot"]
