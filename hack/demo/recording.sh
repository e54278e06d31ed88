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

status='kubectl get plexlink -n media'
run 'kubectl apply -n media -f plexlink.yaml' 0.5
kubectl wait -n media plexlink/kometa --for=jsonpath='{.status.pin.code}' --timeout=30s >/dev/null
run "$status" 2
pin=$(kubectl get plexlink -n media kometa -o jsonpath='{.status.pin.code}')
type "# Enter $pin at plex.tv/link. Here a simulator plays plex.tv."
curl --silent --fail --output /dev/null --data account=alice --data pin="$pin" "$PLEX_URL/link"
printf '\n'
run 'kubectl wait -n media plexlink/kometa --for=condition=Ready' 0.5
run "$status" 2
run "kubectl get secret -n media kometa --template='{{.data.PLEX_URL | base64decode}}'" 0
printf '\n'
sleep 1.5
type '# Deleted by mistake? It comes back.'
run 'kubectl delete secret -n media kometa' 0.5
kubectl wait -n media secret/kometa --for=create --timeout=30s >/dev/null
run 'kubectl get secret -n media kometa' 1
type '# No token was copied.'
sleep 3
: >"$ENDED"
