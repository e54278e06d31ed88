package stories

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// secretWatch watches the Secrets of a namespace, as apps do, and records what it saw.
type secretWatch struct {
	watch.Interface
	done     sync.WaitGroup
	stopping atomic.Bool

	versions int
	pins     map[string]bool      // ids of stored PINs
	tokens   map[string]bool      // stored tokens
	owners   map[string]types.UID // links by token
	links    map[string]types.UID // links by client identifier
}

func watchSecrets(w *world) *secretWatch {
	w.Helper()
	s := &secretWatch{pins: map[string]bool{}, tokens: map[string]bool{}, owners: map[string]types.UID{}, links: map[string]types.UID{}}
	var err error
	if s.Interface, err = admin.Watch(context.Background(), &corev1.SecretList{}, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	s.done.Go(func() {
		for event := range s.ResultChan() {
			secret, ok := event.Object.(*corev1.Secret)
			switch {
			case !ok && s.stopping.Load():
			case !ok:
				w.Errorf("the watch ended: %v", event.Object)
			case event.Type != watch.Deleted:
				s.see(w, secret)
			}
		}
	})
	w.Cleanup(func() { s.stop() })
	return s
}

// see checks a version of a Secret and records it.
func (s *secretWatch) see(w *world, secret *corev1.Secret) {
	s.versions++
	if !strings.HasSuffix(secret.Name, v1alpha1.DeviceSecretSuffix) {
		if len(secret.Data["PLEX_URL"]) == 0 || len(secret.Data["PLEX_TOKEN"]) == 0 {
			w.Errorf("Secret %s lacks PLEX_URL or PLEX_TOKEN, want both in every version", secret.Name)
		}
		return
	}
	uid := types.UID(secret.Labels[v1alpha1.UIDLabel])
	s.links[string(secret.Data[keyClientIdentifier])] = uid
	if id := string(secret.Data[keyPINID]); id != "" {
		s.pins[id] = true
	}
	if token := string(secret.Data[keyToken]); token != "" {
		s.tokens[token], s.owners[token] = true, uid
	}
}

// stop ends the watch and returns it.
func (s *secretWatch) stop() *secretWatch {
	s.stopping.Store(true)
	s.Stop()
	s.done.Wait()
	return s
}
