#!/usr/bin/env bash
# Make all that nightly runs on Dataflow need in a Google Cloud project. It may be run again.
#
#   PROJECT=p REGION=europe-west4 IMAGES=bucket-of-images EMAIL=ops@example.org \
#       BILLING_ACCOUNT=0X-0X-0X BUDGET=100EUR deploy/gcloud/setup.sh
#
# IMAGES must exist. Without BILLING_ACCOUNT there is no budget. NIGHTLY and WEEKLY are times for cron,
# in UTC. It also builds and pushes the image, which needs docker.
set -euo pipefail

: "${PROJECT:?names the project}" "${REGION:?names the region of buckets and jobs}"
: "${IMAGES:?names the bucket of the images, without gs://}"
: "${EMAIL:?is the address that alerts go to}"
: "${NIGHTLY:=0 2 * * *}" "${WEEKLY:=0 12 * * 0}"
readonly NAME=embed-images
readonly EMBEDDINGS=$PROJECT-embeddings TEMP=$PROJECT-embed-images-temp
readonly IMAGE=$REGION-docker.pkg.dev/$PROJECT/$NAME/$NAME:launcher
readonly WORKER=$NAME-worker@$PROJECT.iam.gserviceaccount.com
readonly SCHEDULER=$NAME-scheduler@$PROJECT.iam.gserviceaccount.com
readonly SCOPE=https://www.googleapis.com/auth/cloud-platform
HERE=$(cd "$(dirname "$0")" && pwd)
readonly HERE

g() {
    gcloud --quiet --project "$PROJECT" "$@"
}

there() { # a command of gcloud that describes something: whether it exists
    g "$@" >/dev/null 2>&1
}

in_project() { # account, role
    g projects add-iam-policy-binding "$PROJECT" --member "serviceAccount:$1" --role "$2" \
        --condition None >/dev/null
}

in_bucket() { # account, bucket, role
    g storage buckets add-iam-policy-binding "gs://$2" --member "serviceAccount:$1" --role "$3" \
        >/dev/null
}

g services enable artifactregistry.googleapis.com cloudscheduler.googleapis.com \
    compute.googleapis.com dataflow.googleapis.com monitoring.googleapis.com run.googleapis.com

there artifacts repositories describe "$NAME" --location "$REGION" ||
    g artifacts repositories create "$NAME" --location "$REGION" --repository-format docker

# Buckets. Embeddings stay; what jobs leave in the other one goes after a week.
for bucket in "$EMBEDDINGS" "$TEMP"; do
    there storage buckets describe "gs://$bucket" ||
        g storage buckets create "gs://$bucket" --location "$REGION" \
            --uniform-bucket-level-access --public-access-prevention
done
g storage buckets update "gs://$TEMP" --lifecycle-file "$HERE/lifecycle.json"

# Accounts. The worker computes; the scheduler may only start jobs that act as the worker.
for account in worker scheduler; do
    there iam service-accounts describe "$NAME-$account@$PROJECT.iam.gserviceaccount.com" ||
        g iam service-accounts create "$NAME-$account"
done
in_project "$WORKER" roles/dataflow.worker
# A Flex Template's launcher is a machine of the worker's account, and creates the job.
in_project "$WORKER" roles/dataflow.admin
g iam service-accounts add-iam-policy-binding "$WORKER" --member "serviceAccount:$WORKER" \
    --role roles/iam.serviceAccountUser >/dev/null
in_bucket "$WORKER" "$IMAGES" roles/storage.objectViewer
in_bucket "$WORKER" "$EMBEDDINGS" roles/storage.objectUser
in_bucket "$WORKER" "$TEMP" roles/storage.objectUser
g artifacts repositories add-iam-policy-binding "$NAME" --location "$REGION" \
    --member "serviceAccount:$WORKER" --role roles/artifactregistry.reader >/dev/null
in_project "$SCHEDULER" roles/dataflow.developer
g iam service-accounts add-iam-policy-binding "$WORKER" --member "serviceAccount:$SCHEDULER" \
    --role roles/iam.serviceAccountUser >/dev/null
in_bucket "$SCHEDULER" "$TEMP" roles/storage.objectViewer

"$HERE/../build.sh" template "$PROJECT" "$REGION"

# Each night: launch the template. Its job has the same name each time, and Dataflow refuses a second
# job of that name while the first works; so runs don't pile up.
body=$(mktemp)
trap 'rm -f "$body"' EXIT
sed -e "s/PROJECT-images/$IMAGES/g" -e "s/PROJECT/$PROJECT/g" "$HERE/launch.json" >"$body"
verb=create
there scheduler jobs describe "$NAME-nightly" --location "$REGION" && verb=update
g scheduler jobs "$verb" http "$NAME-nightly" --location "$REGION" --schedule "$NIGHTLY" \
    --time-zone Etc/UTC --http-method POST --message-body-from-file "$body" \
    --uri "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch" \
    --oauth-service-account-email "$SCHEDULER" --oauth-token-scope "$SCOPE" \
    --max-retry-attempts 2 --min-backoff 10m --max-backoff 30m

# Each week: the upkeep, which needs no Dataflow, as a job on Cloud Run. Findings of verify fail it.
verb=create
there run jobs describe "$NAME-upkeep" --region "$REGION" && verb=update
# shellcheck disable=SC2016 # $0 is for the shell in the container
g run jobs "$verb" "$NAME-upkeep" --region "$REGION" --image "$IMAGE" \
    --service-account "$WORKER" --cpu 2 --memory 8Gi --max-retries 0 --task-timeout 10h \
    --command sh --args '^|^-c|python -m pipeline compact "$0" && python -m pipeline prune "$0" --runs-older-than 90d && python -m pipeline verify "$0"'"|gs://$EMBEDDINGS/photos"
g run jobs add-iam-policy-binding "$NAME-upkeep" --region "$REGION" \
    --member "serviceAccount:$SCHEDULER" --role roles/run.invoker >/dev/null
verb=create
there scheduler jobs describe "$NAME-weekly" --location "$REGION" && verb=update
g scheduler jobs "$verb" http "$NAME-weekly" --location "$REGION" --schedule "$WEEKLY" \
    --time-zone Etc/UTC --http-method POST \
    --uri "https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$NAME-upkeep:run" \
    --oauth-service-account-email "$SCHEDULER" --oauth-token-scope "$SCOPE"

# Alerts by mail, once.
if [[ -z $(g monitoring policies list --filter 'displayName="embed-images: a job failed"' --format 'value(name)') ]]; then
    channel=$(g beta monitoring channels create --display-name "$NAME" --type email \
        --channel-labels "email_address=$EMAIL" --format 'value(name)')
    g monitoring policies create --policy-from-file "$HERE/alert-policy.json" \
        --notification-channels "$channel"
fi

if [[ -n ${BILLING_ACCOUNT:-} ]]; then
    g services enable billingbudgets.googleapis.com
    if [[ -z $(g billing budgets list --billing-account "$BILLING_ACCOUNT" --filter "displayName=$NAME" --format 'value(name)') ]]; then
        g billing budgets create --billing-account "$BILLING_ACCOUNT" --display-name "$NAME" \
            --budget-amount "${BUDGET:?is the sum per month, such as 100EUR}" \
            --filter-projects "projects/$PROJECT" \
            --threshold-rule percent=0.5 --threshold-rule percent=0.9 --threshold-rule percent=1.0
    fi
fi
echo "done; the next run starts at $NIGHTLY (UTC)"
