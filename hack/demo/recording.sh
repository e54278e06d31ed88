#!/usr/bin/env bash
# The scene of docs/demo.svg. "demo -record" runs it in its world: every command is run, and the picture shows its output.
# Only the pauses and the typing are added.
set -euo pipefail

type() {
	printf '\033[1;32m$\033[0m '
	local i
	for ((i = 0; i < ${#1}; i += 3)); do
		printf '%s' "${1:i:3}"
		sleep 0.08
	done
	sleep 0.3
	printf '\n'
}

run() { # COMMAND SECONDS-TO-READ
	type "$1"
	eval "$1"
	printf '\n'
	sleep "$2"
}

# enter types the PIN on the link page, as a person does who has looked at it for a while.
enter() {
	kubectl wait -n media plexlink/kometa --for=create --timeout=60s
	kubectl wait -n media plexlink/kometa --for=jsonpath='{.status.pin.code}' --timeout=30s
	sleep 6
	curl --silent --fail --data account=alice --data "pin=$(kubectl get plexlink -n media kometa -o jsonpath='{.status.pin.code}')" "$PLEX_URL/link"
}

type '# Here a simulator plays plex.tv.'
enter >/dev/null &
run 'kubectl plexlink link kometa -n media --recipe kometa' 3
wait $!
run 'kubectl get secret -n media kometa -o jsonpath={.data.KOMETA_PLEX_URL} | base64 -d' 0
printf '\n'
sleep 1.5
type '# Deleted by mistake? It comes back.'
run 'kubectl delete secret -n media kometa' 0.5
kubectl wait -n media secret/kometa --for=create --timeout=30s >/dev/null
run 'kubectl get secret -n media kometa' 1
type '# No token was copied.'
sleep 3
printf '\n' # A picture ends with the last output.
: >"$ENDED"
