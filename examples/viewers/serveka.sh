#!/usr/bin/env bash
# Watch a meeting bot with curl: get a URL and a token for the key, open the stream with the token.
#
#   serveka.sh [--url URL] [--key KEY] [BOT_ID]
#
# Shows the stream as it comes over the wire, until the bot has left the meeting. A token lives five minutes and lines
# get cut: it subscribes again then, and goes on behind the last event that it has seen.
# What is not given comes from TWOFOLD_URL, TWOFOLD_KEY and TWOFOLD_ID, else from the running `make run`.
set -euo pipefail

case ${1-} in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;; esac

# Show the body of the answer that is read, on descriptor 3. Prints its status, the id of the last whole event, and how
# many seconds to wait before the next connection.
show() {
  local line='' status='' id='' last=$1 wait=0
  read -r _ status _ || wait=2 # nothing came at all
  while IFS= read -r line && [ "$line" != $'\r' ]; do :; done
  while IFS= read -r line; do
    printf '%s\n' "$line" >&3
    case $line in
      'id: '*) id=${line#id: } ;;
      '') last=${id:-$last} ;; # a blank line ends an event: of one that was cut in two, the id does not count
      'retry: '*) wait=2 ;;    # a server that restarts says how long to stay away, and this is about what it says
    esac
  done
  [ -z "$line" ] || printf '%s\n' "$line" >&3
  echo "${status:-0} $last $wait"
}

here=$(cd "$(dirname "$0")" && pwd)
settings=$(python3 "$here/local_run.py" bot "$@") || exit
read -r base key id <<<"$settings"
echo "Watching bot $id at $base" >&2

last=0 # events are numbered from 1
exec 3>&1
while true; do
  # 1. The stream's URL and a token. (curl asks again while the server is away or overloaded.)
  answer=$(curl -sS --fail-with-body --retry 30 --retry-delay 1 --retry-connrefused -X POST \
    "$base/api/v1/bots/$id/subscribe" -H "X-API-Key: $key") || { code=$?; echo "$answer" >&2; exit "$code"; }
  [[ $answer =~ \"url\":\ *\"([^\"]*)\" ]] && url=${BASH_REMATCH[1]}
  [[ $answer =~ \"token\":\ *\"([^\"]*)\" ]] && token=${BASH_REMATCH[1]}

  # 2. The stream. Its end does not tell why it ended: the server is asked once more, and says 204 when all is over.
  seen=$({ curl -sS -i -N "$url" -H "Authorization: Bearer $token" -H "Last-Event-ID: $last" || true; } | show "$last")
  read -r status last wait <<<"$seen"
  case $status in
    204) exit 0 ;;
    4*) exit 1 ;; # what was shown is the reason
  esac
  sleep "$wait"
done
