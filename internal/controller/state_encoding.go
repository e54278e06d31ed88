package controller

import (
	"encoding/json"
	"fmt"

	"plexlink.dev/operator/internal/plex"
)

// Keys of the device Secret. Each secret value has its own key; the rest is JSON. The first two are also the keys of a
// Secret to import from (spec.device.importSecretRef).
const (
	keyClientIdentifier = "client-identifier"
	keyToken            = "token"
	keyServerToken      = "server-token"
	keyPINID            = "pin-id"
	keyPendingToken     = "pending-token"
	keyStrayToken       = "stray-token"
	keyState            = "state.json"
)

// secrets returns the fields that have their own keys.
func (s *state) secrets() map[string]*plex.Sensitive {
	return map[string]*plex.Sensitive{
		keyClientIdentifier: &s.ClientIdentifier,
		keyToken:            &s.Token,
		keyServerToken:      &s.ServerToken,
		keyPINID:            &s.PINID,
		keyPendingToken:     &s.PendingToken,
		keyStrayToken:       &s.StrayToken,
	}
}

// encode returns the data of the device Secret. It is the inverse of decodeState.
func (s state) encode() (map[string][]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode device state: %w", err)
	}
	data := map[string][]byte{keyState: text}
	for key, value := range s.secrets() {
		if *value != "" {
			data[key] = []byte(value.Reveal())
		}
	}
	return data, nil
}

// decodeState reads the data of a device Secret. Its errors contain none of the data.
func decodeState(data map[string][]byte) (state, error) {
	var s state
	if err := json.Unmarshal(data[keyState], &s); err != nil {
		return state{}, fmt.Errorf("key %s cannot be read", keyState)
	}
	for key, value := range s.secrets() {
		*value = plex.Sensitive(data[key])
	}
	if (s.PINID == "") != (s.PIN == openPIN{}) { // A backup was applied over a Secret with another state.
		s.PIN, s.PINID = openPIN{}, ""
	}
	if err := s.check(); err != nil {
		return state{}, err
	}
	return s, nil
}
