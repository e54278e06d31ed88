package stories

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
				return errNotYet
			}
			if string(s.Data["PLEX_TOKEN"]) != string(good.Data["PLEX_TOKEN"]) || string(s.Data["PLEX_URL"]) != string(good.Data["PLEX_URL"]) ||
				s.Labels[v1alpha1.UIDLabel] != good.Labels[v1alpha1.UIDLabel] || len(s.OwnerReferences) != 1 {
				return fmt.Errorf("got labels %v, owners %v", s.Labels, s.OwnerReferences)
			}
			return nil
		})
		// Normally within a second, but other tests share the machine and the race detector slows it down.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: the repair took %s, want at most 5s", name, took)
		} else {
			t.Logf("%s: the repair took %s", name, took.Round(time.Millisecond))
		}
		w.advance(6 * time.Minute) // Ends the backoff between repairs.
	}
	w.hasEvent("SecretRepaired", "spec.secret")
	if n := len(w.plexRequests()); n != 0 {
		t.Errorf("got %d requests for the repairs, want none", n)
	}
}

func TestAdditionsByOtherClientsToTheSecretStay(t *testing.T) {
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
	if err := admin.Update(t.Context(), s, client.FieldOwner("another")); err != nil {
		t.Fatal(err)
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template.Data = map[string]v1alpha1.TemplateText{"URL": "{{ .URL }}", "NEW": "{{ .Token }}"}
	})
	w.eventually("the new content", func() error {
		s = w.secret("kometa")
		if _, old := s.Data["OLD"]; old || len(s.Data["NEW"]) == 0 {
			return fmt.Errorf("got %d keys, OLD among them: %t", len(s.Data), old)
		}
		return nil
	})
	if string(s.Data["THEIRS"]) != "stays" || s.Labels["theirs"] != "stays" || s.Annotations["theirs"] != "stays" {
		t.Errorf("got the labels %v and annotations %v, want the additions of others kept", s.Labels, s.Annotations)
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
			return errNotYet
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("plex"))
	w.eventually("the old Secret to be deleted", func() error {
		if w.secret("kometa") != nil {
			return errors.New("it still exists")
		}
		return nil
	})
	if name := w.reaches("kometa", v1alpha1.ReasonLinked).Status.SecretName; name != "plex" {
		t.Errorf("got status.secretName %s, want plex", name)
	}
}

func TestAnnotationLinksAHealthyLinkAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.secret("kometa")
	w.kubectl("annotate", "plexlink", "kometa", v1alpha1.LinkRequestedAtAnnotation+"=now")
	pin := w.showsPIN("kometa")
	if got := message(w.link("kometa")); !strings.Contains(got, pin) {
		t.Errorf("got the message %q, want the PIN in it", got)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked) // It stays Ready throughout.
	if w.secret("kometa").ResourceVersion != old.ResourceVersion {
		t.Error("the Secret changed before there was a new token")
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
		t.Errorf("got %d PINs, want two of one device", len(pins))
	}
}

func TestAfterEightExpiredPINsTheLinkWaitsForARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	w.letPINsExpire("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonPINExpired)
	if n := len(w.sim.PINs()); n != 8 {
		t.Errorf("got %d PINs, want 8", n)
	}
	command := message(link)[strings.Index(message(link), "kubectl annotate"):]
	w.kubectl(strings.Fields(strings.NewReplacer("kubectl ", "", "\"$(date)\"", "today").Replace(command))...)
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

func TestSuspendStopsAllRequestsAndResumingContinues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("waiting")
	code := w.awaitsPIN("waiting").Status.PIN.Code
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
		t.Error("got a PIN in the status of a suspended link, want none")
	}
	w.sim.ResetRequests()
	if err := admin.Delete(t.Context(), w.secret("kometa")); err != nil {
		t.Fatal(err)
	}
	w.advance(5 * time.Minute)
	w.linked("neighbour") // Gives the operator time to do something wrong.
	for _, r := range w.sim.Requests() {
		if !strings.HasPrefix(r.DeviceName, "neighbour") && r.Server == "plex.tv" && r.Endpoint != plextest.SubmitLinkPage {
			t.Errorf("got a request to %s from %s, want none", r.Endpoint, r.DeviceName)
		}
	}
	if w.secret("kometa") != nil {
		t.Error("a suspended link was repaired")
	}
	suspend(false)
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if link := w.awaitsPIN("waiting"); link.Status.PIN.Code != code {
		t.Error("got another PIN after resuming, want the first, which is still valid")
	}
}
