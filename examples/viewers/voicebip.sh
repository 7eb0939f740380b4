#!/usr/bin/env bash
# Watch a call's transcript or a conversation with curl.
#
#   voicebip.sh transcript   [--url URL] [--key KEY] [CALL_ID]           the key in the header
#   voicebip.sh browser      [--url URL] [--key KEY] [CALL_ID]           the same, the key as ?token=
#   voicebip.sh conversation [--url URL] [--key KEY] [CONVERSATION_ID]   the key in the header, which is the only way
#
# Shows the stream as it comes over the wire. It ends with the call; a conversation does not end by itself.
# Nothing is replayed: what happens while nobody watches is in the webhooks alone.
# What is not given comes from TWOFOLD_URL, TWOFOLD_KEY and TWOFOLD_ID, else from the running `make run`.
set -euo pipefail

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; }

view=${1-}
case $view in
  -h | --help) usage; exit ;;
  transcript | browser) kind=call ;;
  conversation) kind=conversation ;;
  *) usage >&2; exit 2 ;;
esac
shift
case ${1-} in -h | --help) usage; exit ;; esac

here=$(cd "$(dirname "$0")" && pwd)
settings=$(python3 "$here/local_run.py" "$kind" "$@") || exit
read -r base key id <<<"$settings"
echo "Watching $kind $id at $base" >&2

case $view in
  transcript)
    exec curl -sS --fail-with-body -N "$base/v1/calls/$id/transcript" -H "Authorization: Bearer $key" ;;
  browser) # as a browser has to; a key in a URL ends up in histories and logs, a stream token does less harm there
    exec curl -sS --fail-with-body -N "$base/v1/calls/$id/transcript?token=$key" ;;
  conversation)
    exec curl -sS --fail-with-body -N "$base/v1/conversations/$id/stream" -H "Authorization: Bearer $key" ;;
esac
