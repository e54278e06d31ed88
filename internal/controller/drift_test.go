package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestSecretThatIsDeletedOrEditedIsRestoredWithoutAskingPlex(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	good := w.secret("kometa")
	w.sim.ResetRequests()
	for name, damage := range map[string]func(*corev1.Secret) error{
		"deleted": func(s *corev1.Secret) error { return admin.Delete(t.Context(), s) },
		"edited": func(s *corev1.Secret) error {
			s.Data["PLEX_TOKEN"] = []byte("wrong")
			return admin.Update(t.Context(), s)
		},
		"without a key": func(s *corev1.Secret) error {
			delete(s.Data, "PLEX_URL")
			return admin.Update(t.Context(), s)
		},
		"without labels": func(s *corev1.Secret) error {
			s.Labels = nil
			return admin.Update(t.Context(), s)
		},
		"without an owner": func(s *corev1.Secret) error {
			s.OwnerReferences = nil
			return admin.Update(t.Context(), s)
		},
	} {
		if err := damage(w.secret("kometa")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		start := time.Now()
		w.eventually(name+": the repair", func() error {
			s := w.secret("kometa")
			if s == nil {
				return errors.New("there is none")
			}
			if string(s.Data["PLEX_TOKEN"]) != string(good.Data["PLEX_TOKEN"]) || string(s.Data["PLEX_URL"]) != string(good.Data["PLEX_URL"]) ||
				s.Labels[v1alpha1.UIDLabel] != good.Labels[v1alpha1.UIDLabel] || len(s.OwnerReferences) != 1 {
				return fmt.Errorf("it has labels %v, owners %v", s.Labels, s.OwnerReferences)
			}
			return nil
		})
		// Within a second, but other tests share the machine, and the race detector slows it down.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: the repair took %s", name, took)
		} else {
			t.Logf("%s: the repair took %s", name, took.Round(time.Millisecond))
		}
	}
	w.hasEvent("SecretRepaired", "spec.secret")
	if n := len(w.sim.Requests()); n != 0 {
		t.Errorf("the repairs cost %d requests", n)
	}
}

func TestWhatOthersAddToTheSecretStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"URL": "{{ .URL }}", "OLD": "{{ .Token }}"}}
	})
	w.settled("kometa")
	s := w.secret("kometa")
	s.Data["THEIRS"] = []byte("stays")
	s.Labels["theirs"], s.Annotations["theirs"] = "stays", "stays"
	if err := admin.Update(t.Context(), s, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template.Data = map[string]v1alpha1.TemplateText{"URL": "{{ .URL }}", "NEW": "{{ .Token }}"}
	})
	w.eventually("the new content", func() error {
		s = w.secret("kometa")
		if _, old := s.Data["OLD"]; old || len(s.Data["NEW"]) == 0 {
			return fmt.Errorf("there are %d keys, OLD is there: %t", len(s.Data), old)
		}
		return nil
	})
	if string(s.Data["THEIRS"]) != "stays" || s.Labels["theirs"] != "stays" || s.Annotations["theirs"] != "stays" {
		t.Errorf("what others have added is gone: %v %v", s.Labels, s.Annotations)
	}
}

func TestLostDeviceSecretMeansToLinkAgainAndTheSecretStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.secret("kometa")
	if err := admin.Delete(t.Context(), w.secret("kometa-plexlink-device")); err != nil {
		t.Fatal(err)
	}
	w.enterPIN("kometa")
	if w.secret("kometa").UID != old.UID {
		t.Error("the Secret did not stay")
	}
	w.eventually("the new token", func() error {
		if string(w.secret("kometa").Data["PLEX_TOKEN"]) == string(old.Data["PLEX_TOKEN"]) {
			return errors.New("it is the old one")
		}
		return nil
	})
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkSecretOpensServer(t, w.secret("kometa"))
}

func TestUnreadableDeviceSecretIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	s := w.secret("kometa-plexlink-device")
	s.Data[keyState] = []byte("{")
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	link := w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	if !strings.Contains(message(link), "kometa-plexlink-device") || link.Status.Server == nil {
		t.Errorf("the message is %q, the server %v", message(link), link.Status.Server)
	}
	if len(w.secret("kometa-plexlink-device").Data[keyToken]) == 0 || w.secret("kometa") == nil {
		t.Error("something was lost")
	}
}

func TestRenamedSecretIsWrittenBeforeTheOldOneGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "plex" })
	w.eventually("the new Secret", func() error {
		if w.secret("plex") == nil {
			return errors.New("there is none")
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("plex"))
	w.eventually("the end of the old Secret", func() error {
		if w.secret("kometa") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	if name := w.reaches("kometa", v1alpha1.ReasonLinked).Status.SecretName; name != "plex" {
		t.Errorf("status.secretName is %s", name)
	}
}

func TestBackupInANewClusterIsAdoptedWithItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	old := w.linked("kometa")
	w.settled("kometa")
	device, target := w.secret("kometa-plexlink-device"), w.secret("kometa")
	first.stop()
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Finalizers = nil })
	for _, o := range []client.Object{old, device, target} {
		if err := admin.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	// The backup has the objects with the UIDs of the old cluster in their owner references, and another field manager.
	for _, s := range []*corev1.Secret{device, target} {
		s.ObjectMeta = metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace, Labels: s.Labels, Annotations: s.Annotations, OwnerReferences: s.OwnerReferences}
		if err := admin.Create(t.Context(), s, client.FieldOwner("velero")); err != nil {
			t.Fatal(err)
		}
	}
	w.create("kometa")
	w.startOperator()
	link := w.reaches("kometa", v1alpha1.ReasonLinked)
	if len(w.sim.PINs()) != 1 {
		t.Error("a person was asked again")
	}
	w.eventually("adoption", func() error {
		for _, name := range []string{"kometa", "kometa-plexlink-device"} {
			s := w.secret(name)
			if len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != link.UID || s.Labels[v1alpha1.UIDLabel] != string(link.UID) {
				return fmt.Errorf("%s has owners %v", name, s.OwnerReferences)
			}
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("kometa"))
}

func TestAnnotationLinksAHealthyLinkAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.secret("kometa")
	w.kubectl("annotate", "plexlink", "kometa", v1alpha1.LinkRequestedAtAnnotation+"=now")
	var pin string
	w.eventually("a PIN", func() error {
		link := w.link("kometa")
		if link.Status.PIN == nil || !strings.Contains(message(link), link.Status.PIN.Code) {
			return errors.New(message(link))
		}
		pin = link.Status.PIN.Code
		return nil
	})
	w.reaches("kometa", v1alpha1.ReasonLinked) // It is Ready all the time.
	if w.secret("kometa").ResourceVersion != old.ResourceVersion {
		t.Error("the Secret was touched before there was a new token")
	}
	bob := w.sim.AddAccount("bob")
	w.server.Update(func(s *plextest.Server) { s.SharedWith = append(s.SharedWith, bob) })
	if err := w.sim.Link(pin, bob); err != nil {
		t.Fatal(err)
	}
	w.eventually("bob's token", func() error {
		link := w.link("kometa")
		if link.Status.Account == nil || link.Status.Account.Username != "bob" || string(w.secret("kometa").Data["PLEX_TOKEN"]) == string(old.Data["PLEX_TOKEN"]) {
			return fmt.Errorf("account %v", link.Status.Account)
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("kometa"))
	if pins := w.sim.PINs(); len(pins) != 2 || pins[0].ClientIdentifier != pins[1].ClientIdentifier {
		t.Errorf("%d PINs, want two of one device", len(pins))
	}
}

func TestAfterEightPINsNobodyEnteredTheLinkWaitsForARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	last := ""
	for range 8 {
		w.eventually("another PIN", func() error {
			pin := w.link("kometa").Status.PIN
			if pin == nil || pin.Code == last {
				return errors.New("it is not there")
			}
			last = pin.Code
			return nil
		})
		w.advance(15*time.Minute + time.Second)
	}
	link := w.reaches("kometa", v1alpha1.ReasonPINExpired)
	if n := len(w.sim.PINs()); n != 8 {
		t.Errorf("%d PINs were minted, want 8", n)
	}
	command := message(link)[strings.Index(message(link), "kubectl annotate"):]
	w.kubectl(strings.Fields(strings.NewReplacer("kubectl ", "", "\"$(date)\"", "today").Replace(command))...)
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

func TestSuspendStopsEverythingOutwardAndResumingGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("waiting")
	code := w.reaches("waiting", v1alpha1.ReasonAwaitingLink).Status.PIN.Code
	w.linked("kometa")
	w.settled("kometa")
	suspend := func(yes bool) {
		for _, name := range []string{"waiting", "kometa"} {
			w.change(name, func(l *v1alpha1.PlexLink) { l.Spec.Suspend = yes })
		}
	}
	suspend(true)
	w.reaches("kometa", v1alpha1.ReasonSuspended)
	if link := w.reaches("waiting", v1alpha1.ReasonSuspended); link.Status.PIN != nil {
		t.Error("a PIN is shown that nobody polls")
	}
	w.sim.ResetRequests()
	if err := admin.Delete(t.Context(), w.secret("kometa")); err != nil {
		t.Fatal(err)
	}
	w.advance(5 * time.Minute)
	w.linked("neighbour") // The operator had time to do something wrong.
	for _, r := range w.sim.Requests() {
		if !strings.HasPrefix(r.DeviceName, "neighbour") && r.Server == "plex.tv" && r.Endpoint != plextest.SubmitLinkPage {
			t.Errorf("%s came from %s", r.Endpoint, r.DeviceName)
		}
	}
	if w.secret("kometa") != nil {
		t.Error("a suspended link was repaired")
	}
	suspend(false)
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if link := w.reaches("waiting", v1alpha1.ReasonAwaitingLink); link.Status.PIN.Code != code {
		t.Error("there is another PIN after resuming, although the first is still good")
	}
}
