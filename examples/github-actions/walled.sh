#!/bin/sh
# walled.sh AGENT COMMAND...: runs the command behind the wall, as AGENT of the
# policy and as the user `walled`. Called as root:
#
#   sudo env "PATH=$PATH" walled ci-build npm ci
set -eu

agent=$1
shift

# `cedarwall run` goes on as whoever called sudo. That would be the runner's own
# user, whose files the steps after this one trust: GITHUB_ENV, GITHUB_PATH, the
# checkout, the runner itself. Each is a way to have an unwalled step do the
# talking. A user of its own can write none of them.
SUDO_UID=$(id -u "${WALLED_USER:-walled}")
SUDO_GID=$(id -g "${WALLED_USER:-walled}")
export SUDO_UID SUDO_GID

# The policy is root's, and so out of the command's reach as well.
exec cedarwall run --policy "${WALLED_POLICY:-/etc/cedarwall/policies}" --agent "$agent" \
    --journal "${WALLED_JOURNALS:-/var/log/cedarwall}/$agent-$$.jsonl" -- "$@"
