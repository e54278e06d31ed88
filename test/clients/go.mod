module plexlink.dev/operator/test/clients

go 1.26.0

require (
	github.com/LukeHagar/plexgo v0.28.1
	github.com/clambin/mediaclients v0.18.0
	github.com/jrudio/go-plex-client v0.0.0-20220428052413-e5b4386beb17
)

require (
	codeberg.org/clambin/go-common/set v0.6.0 // indirect
	github.com/google/uuid v1.5.0 // indirect
	github.com/gorilla/websocket v1.4.0 // indirect
)
