package stories

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/test/model"
)

// modeled are the stories that have no step outside of the model.
var modeled = []string{"link", "expire", "move"}

// follows returns an error unless the versions of Secrets and PlexLink that the trial has recorded, in the order in which the
// API server wrote them, are a path of the model.
func (c *trial) follows() error {
	numbers := map[string]uint8{}
	for i, pin := range c.sim.PINs() {
		numbers[fmt.Sprint(pin.ID)], numbers[pin.Code], numbers[pin.Token] = uint8(i+1), uint8(i+1), uint8(i+1)
	}
	delete(numbers, "")
	addresses := map[string]uint8{oldURL: 1, newURL: 2}
	views := []model.View{{}}
	for _, object := range c.recorded() {
		v := views[len(views)-1]
		switch o := object.(type) {
		case *v1alpha1.PlexLink:
			v.Shown = 0
			if o.Status.PIN != nil {
				v.Shown = numbers[o.Status.PIN.Code]
			}
		case *corev1.Secret:
			if o.Type != v1alpha1.DeviceSecretType {
				v.SecretToken, v.SecretAddress = numbers[string(o.Data["PLEX_TOKEN"])], addresses[string(o.Data["PLEX_URL"])]
				break
			}
			var state struct{ Server struct{ URL string } }
			if err := json.Unmarshal(o.Data[keyState], &state); err != nil {
				return err
			}
			v.PIN, v.Token, v.Address = numbers[string(o.Data[keyPINID])], numbers[string(o.Data[keyToken])], addresses[state.Server.URL]
		}
		if v != views[len(views)-1] {
			views = append(views, v)
		}
	}
	c.Logf("views: %v", views)
	if n := model.Replay(views); n < len(views) {
		return fmt.Errorf("the model does not allow view %d of %+v", n, views)
	}
	return nil
}

// recorded returns all versions of the Secrets and PlexLinks, in the order in which they were written.
func (c *trial) recorded() (objects []client.Object) {
	c.secrets.mu.Lock()
	events := slices.Clone(c.secrets.events)
	c.secrets.mu.Unlock()
	c.links.mu.Lock()
	events = append(events, c.links.events...)
	c.links.mu.Unlock()
	for _, event := range events {
		if object, ok := event.Object.(client.Object); ok && event.Type != watch.Bookmark {
			objects = append(objects, object)
		}
	}
	slices.SortStableFunc(objects, func(a, b client.Object) int {
		order, _ := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion()) // All are valid.
		return order
	})
	return objects
}
