package plextest

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// routeOld adds the endpoints from before /api/v2 that libraries still use. They answer in XML whatever Accept says.
func (s *Simulator) routeOld(mux *http.ServeMux) {
	for pattern, e := range map[string]struct {
		endpoint Endpoint
		refusal  int // the status for a token that is not valid
		h        handler
	}{
		"GET /users/account":   {OldAccount, http.StatusUnprocessableEntity, s.oldAccount},
		"GET /api/resources":   {OldResources, http.StatusUnauthorized, s.oldResources},
		"GET /devices":         {Devices, http.StatusUnauthorized, s.listDevices},
		"DELETE /devices/{id}": {DeleteDevice, http.StatusUnauthorized, s.deleteDevice},
	} {
		mux.HandleFunc(pattern, s.serve(plexTVName, e.endpoint, func(c *call) answer {
			c.json = false
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.grant = s.grants[c.token]; c.grant == nil {
				return c.reply(e.refusal, object{"errors", []field{{"error", list{bare: true, items: []object{
					{"error", []field{{"message", "Invalid token"}}},
				}}}}})
			}
			return e.h(c)
		}))
	}
}

func (s *Simulator) oldAccount(c *call) answer {
	user := userBody(c.grant)
	user.fields = append(user.fields, field{"authenticationToken", c.grant.token})
	return c.reply(http.StatusOK, user)
}

func (s *Simulator) oldResources(c *call) answer {
	all := s.resourcesOf(c).items
	for i := range all {
		all[i] = oldForm(all[i])
	}
	return c.reply(http.StatusOK, container(len(all), field{"Device", list{all, true}}))
}

// listDevices lists everything under Authorized Devices, apps that provide nothing too, each with its token.
func (s *Simulator) listDevices(c *call) answer {
	var all []object
	add := func(resource object, number int, token string) {
		o := oldForm(resource)
		o.fields = append(o.fields, []field{
			{"id", number}, {"token", token}, {"version", ""}, {"model", ""}, {"vendor", ""}, {"screenResolution", ""},
			{"screenDensity", ""},
		}...)
		all = append(all, o)
	}
	for _, m := range s.servers {
		if m.server.Owner == c.grant.account {
			add(s.serverResource(c, m), m.number, c.grant.token)
		}
	}
	for _, d := range s.devicesOf(c.grant.account) {
		add(playerResource(d), d.number, d.token)
	}
	return c.reply(http.StatusOK, container(len(all), field{"Device", list{all, true}}))
}

// deleteDevice removes an entry under Authorized Devices, which revokes its token.
func (s *Simulator) deleteDevice(c *call) answer {
	number, _ := strconv.Atoi(c.PathValue("id"))
	for _, d := range s.devicesOf(c.grant.account) {
		if d.number != number {
			continue
		}
		if d.token != "" {
			s.revoke(s.grants[d.token])
		}
		s.devices = slices.DeleteFunc(s.devices, func(d device) bool { return d.number == number })
		return answer{status: http.StatusNoContent, header: http.Header{}}
	}
	return c.plexError(http.StatusNotFound, codeNotFound)
}

// oldForm is a resource as it was before /api/v2: times in seconds, connections bare, no empty attributes.
func oldForm(resource object) object {
	o := object{tag: "Device"}
	for _, f := range resource.fields {
		switch v := f.value.(type) {
		case nil:
			continue
		case string:
			if t, err := time.Parse(time.RFC3339, v); err == nil {
				f.value = t.Unix()
			}
		case list:
			bare := list{bare: true}
			for _, item := range v.items {
				bare.items = append(bare.items, object{"Connection", item.fields})
			}
			f = field{"Connection", bare}
		}
		o.fields = append(o.fields, f)
	}
	return o
}
