// Package stories tests a whole operator: each test drives a running manager against a real API server, a simulated plex.tv
// and simulated media servers. It uses the exported API of internal/controller only.
package stories
