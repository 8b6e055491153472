#!/usr/bin/env bash
# One nightly run, or the weekly upkeep, of one collection. For cron and systemd.
#
#   embed-images.sh nightly|weekly CONFIG
#
# CONFIG is a file like photos.conf beside this script. Only one call per lock works at a time.
#
# Exit codes:
#   0    done
#   1    failed, also when it was tried again; the next night takes over the finished parts
#   2    wrong command line or configuration; not tried again
#   75   left out: the call before it still works
#   124  stopped at the time limit
#   143  stopped by a signal
set -uo pipefail

readonly WRONG=2 BUSY=75 TIMED_OUT=124 STOPPED=143

say() {
    printf '%s embed-images %s: %s\n' "$(date --utc +%FT%TZ)" "$what" "$*" >&2
}

wrong() {
    say "$*"
    exit "$WRONG"
}

# The alert gets the message as its standard input. It must not hold the lock, whatever it starts.
alert() {
    say "$*"
    [[ -n ${ALERT[*]} ]] || return 0
    {
        printf 'embed-images %s on %s: %s\n' "$what" "$(uname -n)" "$*"
        [[ -z $LOG ]] || tail -n 30 -- "$LOG"
    } | "${ALERT[@]}" 9>&- || say "the alert itself failed with exit code $?: ${ALERT[*]}"
}

# Run one command within what is left of the time limit. The command inherits the lock: if this
# script is killed, the lock stays for as long as the job goes on.
attempt() {
    local left=$((TIME_LIMIT_SECONDS - SECONDS)) code
    ((left > 0)) || return "$TIMED_OUT"
    timeout --kill-after=60 "$left" "$PYTHON" -m pipeline "$@" &
    child=$!
    wait "$child"
    code=$?
    child=
    ((code == 0 || SECONDS < TIME_LIMIT_SECONDS)) || code=$TIMED_OUT
    return "$code"
}

# Run a command, and again after a failure that may pass.
#   $1  exit codes that are final, separated by spaces
try() {
    local final=" $1 $TIMED_OUT " tries=0 code
    shift
    while true; do
        attempt "$@"
        code=$?
        ((code != 0)) || return 0
        if [[ $final == *" $code "* ]] || ((tries == RETRIES)); then
            return "$code"
        fi
        ((tries += 1))
        say "$1 ended with exit code $code; try $tries of $RETRIES in $RETRY_SECONDS s"
        sleep "$RETRY_SECONDS" 9>&- &
        child=$!
        wait "$child"
        child=
    done
}

# shellcheck disable=SC2317 # called by the trap
stopped() {
    trap '' TERM INT
    if [[ -n $child ]]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child"
    fi
    say "stopped by a signal; the next call takes over what is finished"
    exit "$STOPPED"
}

# Report a failure of one command, and remember it as the exit code.
failed() {
    local command=$1 code=$2
    case $code in
        "$WRONG") alert "$command: the command line is wrong (exit code 2); it was not tried again" ;;
        "$TIMED_OUT") alert "$command: stopped at the time limit of $TIME_LIMIT_SECONDS s" ;;
        *) alert "$command: failed with exit code $code" ;;
    esac
    case $code in
        "$WRONG" | "$TIMED_OUT") result=$code ;;
        *) result=1 ;;
    esac
}

what=${1:-}
[[ $# -eq 2 && ($what == nightly || $what == weekly) ]] ||
    wrong "expected 'nightly' or 'weekly' and a configuration file, found: $*"
[[ -r $2 ]] || wrong "the configuration $2 is missing or not readable"

# Defaults; the configuration may set others.
ALERT=() LOG='' RETRIES=2 RETRY_SECONDS=600 TIME_LIMIT_SECONDS=72000 UPKEEP_WAIT_SECONDS=21600
KEEP_RUNS=90d
set +u # an unset variable in the configuration would end this script with exit code 1
# shellcheck source=photos.conf
source "$2" || wrong "the configuration $2 has an error"
set -u
for name in PYTHON OUTPUT LOCK RUN_OPTIONS; do
    [[ -n ${!name:-} ]] || wrong "the configuration $2 does not set $name"
done
for name in RETRIES RETRY_SECONDS TIME_LIMIT_SECONDS UPKEEP_WAIT_SECONDS; do
    [[ ${!name} =~ ^[0-9]+$ ]] || wrong "$name is '${!name}' in $2; expected a whole number"
done
if [[ -n $LOG ]]; then
    exec >>"$LOG" 2>&1 || wrong "the log $LOG can't be written"
fi

child='' result=0
exec 9>>"$LOCK" || wrong "the lock $LOCK can't be made"
if [[ $what == nightly ]]; then
    flock --nonblock 9
else
    flock --wait "$UPKEEP_WAIT_SECONDS" 9
fi || {
    say "left out: another call holds $LOCK"
    exit "$BUSY"
}
SECONDS=0
trap stopped TERM INT

if [[ $what == nightly ]]; then
    try "$WRONG" run "${RUN_OPTIONS[@]}" --output "$OUTPUT" || failed run $?
else
    try "$WRONG" compact "$OUTPUT" || failed compact $?
    try "$WRONG" prune "$OUTPUT" --runs-older-than "$KEEP_RUNS" || failed prune $?
    # Findings (exit code 1) do not pass by themselves.
    try "1 $WRONG" verify "$OUTPUT" || failed verify $?
fi
if ((result == 0)); then
    say "done in $SECONDS s"
fi
exit "$result"
