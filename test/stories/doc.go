// Package stories tells what a person and a cluster do to a whole operator: each test drives a running manager against a
// real API server, a simulated plex.tv and simulated media servers. It uses the exported API of internal/controller only.
package stories
