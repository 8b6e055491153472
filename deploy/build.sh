#!/usr/bin/env bash
# Build the image, with base images pinned by digest.
#
#   deploy/build.sh cpu|gpu|launcher IMAGE:TAG [option of docker build ...]
#   deploy/build.sh template PROJECT REGION [...] # push the launcher, upload its template; after
#                                                 # deploy/gcloud/setup.sh has made the places
#   deploy/build.sh digests                      # look up the newest digests of the base images
#
# The digests are in deploy/image/digests.env. Keep that file in git: the same digests make the same
# image. Options: --push, --build-arg EXTRAS="s3 heic", ...
set -euo pipefail
cd "$(dirname "$0")/.."
readonly DIGESTS=deploy/image/digests.env

argument() { # the default of a build argument in the Dockerfile
    sed -n "s/^ARG $1=//p" Dockerfile
}

look_up() {
    local beam python name tag digest
    beam=$(argument BEAM_VERSION) python=$(argument PYTHON_VERSION)
    for name in BEAM_IMAGE BASE_IMAGE LAUNCHER_IMAGE; do
        tag=$(argument "$name")
        tag=${tag//\$\{BEAM_VERSION\}/$beam}
        tag=${tag//\$\{PYTHON_VERSION\}/$python}
        digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
        [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || {
            echo "error: the digest of $tag is '$digest'; expected sha256: and 64 hex digits" >&2
            exit 1
        }
        echo "$name=$tag@$digest"
    done >"$DIGESTS.new"
    mv "$DIGESTS.new" "$DIGESTS"
    echo "wrote $DIGESTS; keep it in git"
}

build() {
    local target=$1 image=$2 line arguments=()
    shift 2
    [[ -e $DIGESTS ]] || look_up
    while read -r line; do
        arguments+=(--build-arg "$line")
    done <"$DIGESTS"
    docker buildx build --target "$target" --tag "$image" --build-arg "IMAGE=$image" \
        "${arguments[@]}" "$@" .
}

template() {
    local project=$1 region=$2 image
    shift 2
    image=$region-docker.pkg.dev/$project/embed-images/embed-images:launcher
    gcloud --quiet auth configure-docker "$region-docker.pkg.dev"
    build launcher "$image" --push "$@"
    "${PYTHON:-python}" -m deploy.flex_template.metadata --image "$image" |
        gcloud --quiet --project "$project" storage cp - "gs://$project-embed-images-temp/template.json"
}

case ${1:-}:$# in
    digests:1) look_up ;;
    template:[1-2])
        echo "error: template needs PROJECT and REGION" >&2
        exit 2
        ;;
    template:*) template "${@:2}" ;;
    cpu:1 | gpu:1 | launcher:1)
        echo "error: $1 needs the name of the image, such as REGISTRY/embed-images:$1" >&2
        exit 2
        ;;
    cpu:* | gpu:* | launcher:*) build "$@" ;;
    *)
        echo "error: '${1:-}' is no target; expected cpu, gpu, launcher, template or digests" >&2
        exit 2
        ;;
esac
