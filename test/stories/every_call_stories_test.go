package stories

import (
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	oldURL = "http://192.168.1.100:32400"
	newURL = "http://192.168.1.200:32400"
)

// story is what happens to a PlexLink named kometa; any call in act may fail.
type story struct{ prepare, act func(*trial) }

// asksAgain requests a new PIN.
func asksAgain(l *v1alpha1.PlexLink) {
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, v1alpha1.LinkRequestedAtAnnotation, "now")
}

func linkedKometa(change ...func(*v1alpha1.PlexLink)) func(*trial) {
	return func(c *trial) { c.linked("kometa", change...) }
}

func waitingKometa(c *trial) {
	c.person = nil
	c.create("kometa")
	c.until("a PIN", func() error {
		if c.link("kometa").Status.PIN == nil {
			return errNotYet
		}
		return nil
	})
}

// inTemplate sets the keys of the Secret.
func inTemplate(keys ...string) func(*v1alpha1.PlexLink) {
	return func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{}}
		for _, key := range keys {
			l.Spec.Secret.Template.Data[key] = "{{ .URL }}"
		}
	}
}

func inSecret(name string) func(*v1alpha1.PlexLink) {
	return func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = name }
}

// deleted deletes an object, if it exists.
func (c *trial) deleted(object client.Object, options ...client.DeleteOption) {
	c.Helper()
	if err := admin.Delete(c.Context(), object, options...); client.IgnoreNotFound(err) != nil {
		c.Fatal(err)
	}
}

// everyStory holds the stories of TestEveryCallMayFail.
var everyStory = map[string]story{
	"link": {nil, func(c *trial) { c.linked("kometa") }},
	"relink": {linkedKometa(), func(c *trial) {
		before := c.accountToken("kometa")
		c.change("kometa", asksAgain)
		c.until("linked again", c.linkedAnew("kometa", before))
	}},
	"revoke": {linkedKometa(), func(c *trial) {
		before := c.accountToken("kometa")
		c.sim.RevokeTokens(c.alice)
		c.clock.advance(70 * time.Minute)
		c.until("linked again", c.linkedAnew("kometa", before))
	}},
	"expire": {waitingKometa, func(c *trial) {
		c.entered[pinOf(c.link("kometa"))] = true
		c.clock.advance(15*time.Minute + time.Second)
		c.person = c.alice
		c.until("linked", c.ready("kometa"))
	}},
	"move": {linkedKometa(), func(c *trial) {
		c.serverAt("192.168.1.200:32400")
		c.clock.advance(70 * time.Minute)
		c.until("the new address", c.hasURL("kometa", newURL))
		c.until("ready", c.ready("kometa"))
	}},
	"rename twice": {linkedKometa(), func(c *trial) {
		for _, name := range []string{"b", "c"} {
			c.change("kometa", inSecret(name))
			c.until("the Secret "+name, c.hasURL(name, oldURL))
		}
		c.until("ready", c.ready("kometa"))
	}},
	"rename twice at once": {linkedKometa(), func(c *trial) {
		c.change("kometa", inSecret("b"))
		c.change("kometa", inSecret("c"))
		c.until("the Secret c", c.hasURL("c", oldURL))
		c.until("ready", c.ready("kometa"))
	}},
	"template": {linkedKometa(inTemplate("A", "B")), func(c *trial) {
		c.change("kometa", inTemplate("B", "C"))
		c.until("ready", c.ready("kometa"))
	}},
	"type": {linkedKometa(), func(c *trial) {
		c.change("kometa", withType)
		c.until("ready", c.ready("kometa"))
	}},
	"drift: deleted": {linkedKometa(), func(c *trial) {
		c.deleted(c.secret("kometa"))
		c.until("the repair", c.hasURL("kometa", oldURL))
	}},
	"drift: edited": {linkedKometa(), func(c *trial) {
		s := c.secret("kometa")
		s.Data["PLEX_URL"] = []byte("http://edited")
		if err := admin.Update(c.Context(), s); err != nil {
			c.Fatal(err)
		}
		c.until("the repair", c.hasURL("kometa", oldURL))
	}},
	"suspend": {waitingKometa, func(c *trial) {
		c.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
		c.until("suspended", func() error {
			if l := c.link("kometa"); l.Status.PIN != nil || l.Status.ObservedGeneration != l.Generation {
				return errNotYet
			}
			return nil
		})
		c.person = c.alice
		c.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = false })
		c.until("linked", c.ready("kometa"))
	}},
	"import": {func(c *trial) {
		token := c.sim.SignIn(c.alice, "imported-identifier")
		c.backUp("imported-identifier", token)
		c.names = append(c.names, token, "[imported token]")
	}, func(c *trial) {
		c.create("kometa", importing)
		c.until("linked", c.ready("kometa"))
	}},
	"wrong account": {nil, func(c *trial) {
		c.person = c.sim.AddAccount("bob")
		c.create("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
		c.until("the stranger's PIN", func() error {
			if len(c.entered) == 0 {
				return errNotYet
			}
			return nil
		})
		c.person = c.alice
		c.until("linked", c.ready("kometa"))
	}},
	"linkRef": {linkedKometa(allowsLinkRefs), func(c *trial) {
		c.create("tautulli", refersTo("kometa"))
		c.until("linked", c.ready("tautulli"))
	}},
	"linkRef and sign out everywhere": {func(c *trial) {
		c.linked("kometa", allowsLinkRefs)
		c.linked("tautulli", refersTo("kometa"))
	}, func(c *trial) {
		leader, follower := c.accountToken("kometa"), c.accountToken("tautulli")
		c.sim.RevokeTokens(c.alice)
		c.clock.advance(70 * time.Minute)
		c.until("the leader linked again", c.linkedAnew("kometa", leader))
		c.until("the follower linked again", c.linkedAnew("tautulli", follower))
	}},
	"delete with Revoke": {linkedKometa(), func(c *trial) {
		c.deleted(c.link("kometa"))
		c.until("its end", c.gone("kometa"))
	}},
	"delete with Retain": {linkedKometa(retain), func(c *trial) {
		c.leaves("kometa", "kometa-plexlink-device")
		c.deleted(c.link("kometa"))
		c.until("its end", c.gone("kometa"))
	}},
	"delete with Retain and adopt": {linkedKometa(retain), func(c *trial) {
		c.deleted(c.link("kometa"))
		c.until("its end", c.gone("kometa"))
		c.create("kometa")
		c.until("linked", c.ready("kometa"))
	}},
	"foreground deletion": {func(c *trial) {
		c.withGarbageCollector()
		c.linked("kometa", retain)
	}, func(c *trial) {
		c.leaves("kometa", "kometa-plexlink-device")
		c.deleted(c.link("kometa"), client.PropagationPolicy(metav1.DeletePropagationForeground))
		c.until("its end", c.gone("kometa"))
	}},
	"restore": {func(c *trial) {
		c.withGarbageCollector()
		c.linked("kometa", retain)
	}, func(c *trial) {
		saved := c.backUpLink("kometa")
		c.deleted(c.link("kometa"))
		c.until("its end", c.gone("kometa"))
		for _, secret := range c.world.secrets() {
			c.deleted(&secret)
		}
		c.restore(saved, "device target link")
		c.until("linked", c.ready("kometa"))
	}},
	"PIN entered just before deletion": {waitingKometa, func(c *trial) {
		if err := c.sim.Link(c.link("kometa").Status.PIN.Code, c.alice); err != nil {
			c.Fatal(err)
		}
		c.deleted(c.link("kometa"))
		c.until("its end", c.gone("kometa"))
	}},
	"the Plex server that moves": {linkedKometa(), func(c *trial) {
		c.network.Update(func() { c.network.Listeners = map[string]string{"192.168.1.100:1": c.server.Addr} }) // It refuses connections.
		c.until("the loss", func() error {
			if c.clock.advance(2 * time.Second); c.sim.Count(plextest.Resources) < 2 { // A minute passes until each check.
				return errors.New("it is not looked for")
			}
			return nil
		})
		c.serverAt("192.168.1.200:32400")
		c.until("the new address", func() error {
			c.clock.advance(2 * time.Second)
			return c.hasURL("kometa", newURL)()
		})
		c.until("ready", c.ready("kometa"))
	}},
	"the Service that appears": {func(c *trial) {
		c.plexPod("10.42.0.5", "plex")
		c.linked("kometa")
	}, func(c *trial) {
		c.service("plex", 32400, "10.42.0.5")
		c.until("the Service", func() error {
			c.clock.advance(2 * time.Minute) // See waivers: it may take two refreshes.
			return c.hasURL("kometa", "http://plex."+c.namespace+".svc.cluster.local:32400")()
		})
		c.until("ready", c.ready("kometa"))
	}},
}
