package plextest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// edit changes the true answer according to Drift and OddRecords.
func (f Fault) edit(a answer) answer {
	if !strings.Contains(a.header.Get("Content-Type"), "json") {
		return a
	}
	if f.Drift {
		a.body = encodeJSON(drift(decodeJSON(a.body)))
	}
	if records, ok := decodeJSON(a.body).([]any); ok && f.OddRecords {
		a.body = encodeJSON(slices.Concat(oddRecords(), records, oddRecords()))
	}
	return a
}

// drift returns the value with other types. Digits stay text if there are more of them than numbers usually have.
func drift(v any) any {
	switch v := v.(type) {
	case bool:
		return map[bool]int{false: 0, true: 1}[v]
	case json.Number:
		return v.String()
	case string:
		if n, err := strconv.ParseUint(v, 10, 32); err == nil && strconv.FormatUint(n, 10) == v {
			return n
		}
	case []any:
		for i := range v {
			v[i] = drift(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = drift(v[key])
		}
	}
	return v
}

// oddRecords are like records that real accounts have had in their lists, most of them servers shared by strangers.
func oddRecords() []any {
	server := func(key string, value any) map[string]any {
		record := map[string]any{
			"name": "Odd Server", "product": "Plex Media Server", "provides": "server", "clientIdentifier": hexText(20),
			"accessToken": newToken(), "owned": false, "sourceTitle": "a stranger", "httpsRequired": false, "connections": []any{},
		}
		record[key] = value
		return record
	}
	return []any{
		nil,
		server("clientIdentifier", nil),
		server("httpsRequired", 2),
		server("connections", nil),
		server("connections", []any{map[string]any{"protocol": "http", "address": "203.0.113.9", "port": "auto", "uri": nil}, nil}),
		map[string]any{"provides": nil},
	}
}

func decodeJSON(body []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		panic(err) // The simulator itself has encoded it.
	}
	return v
}

func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}
