package controller

import (
	"reflect"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex"
)

func FuzzDecodeDevice(f *testing.F) {
	whole := device{ClientIdentifier: "client", Token: "token", ServerToken: "server-token", PINID: "1234567890"}
	whole.PIN = &openPIN{Code: "ABCD", ExpiresAt: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	whole.Account = plex.Account{Username: "alice", UUID: "uuid"}
	whole.Server = &server{Name: "My Plex Server", MachineIdentifier: "machine", URL: "http://192.168.1.100:32400", Spec: "{}"}
	data, err := encodeDevice(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[keyClientIdentifier], data[keyToken], data[keyServerToken], data[keyPINID], data[keyState])
	f.Add([]byte("client"), []byte{}, []byte{}, []byte{}, []byte(`{"pin":null,"server":{"url":1}}`))
	f.Fuzz(func(t *testing.T, clientIdentifier, token, serverToken, pinID, state []byte) {
		d, err := decodeDevice(map[string][]byte{
			keyClientIdentifier: clientIdentifier, keyToken: token, keyServerToken: serverToken, keyPINID: pinID, keyState: state,
		})
		if err != nil {
			return
		}
		if d.ClientIdentifier == "" || (d.PIN == nil) != (d.PINID == "") {
			t.Fatal("a device without an identifier, or with half a PIN, was accepted")
		}
		encoded, err := encodeDevice(d)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := decodeDevice(encoded)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if reread, err := encodeDevice(again); err != nil || !reflect.DeepEqual(encoded, reread) {
			t.Fatal("the state changes from one reading to the next")
		}
	})
}
