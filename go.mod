module plexlink.dev/operator

go 1.26.0
