package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// create creates a PlexLink with the changes applied.
func (w *world) create(name string, change ...func(*v1alpha1.PlexLink)) *v1alpha1.PlexLink {
	w.Helper()
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	for _, c := range change {
		c(link)
	}
	if err := admin.Create(w.Context(), link); err != nil {
		w.Fatal(err)
	}
	return link
}

// link reads a PlexLink.
func (w *world) link(name string) *v1alpha1.PlexLink {
	w.Helper()
	var link v1alpha1.PlexLink
	if err := admin.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &link); err != nil {
		w.Fatal(err)
	}
	return &link
}

// change updates a PlexLink, and retries on conflicts.
func (w *world) change(name string, change func(*v1alpha1.PlexLink)) {
	w.Helper()
	link := w.link(name)
	before := link.DeepCopy()
	change(link)
	if err := admin.Patch(w.Context(), link, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
}

// delete deletes a PlexLink without waiting until it is gone.
func (w *world) delete(name string) {
	w.Helper()
	if err := admin.Delete(w.Context(), w.link(name)); err != nil {
		w.Fatal(err)
	}
}

// isGone waits until a PlexLink is gone.
func (w *world) isGone(name string) {
	w.Helper()
	w.eventually("the deletion of "+name, func() error {
		var link v1alpha1.PlexLink
		if err := admin.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &link); client.IgnoreNotFound(err) == nil && err != nil {
			return nil
		}
		return fmt.Errorf("it still exists, deleted at %s", link.DeletionTimestamp)
	})
}

// reaches waits until the PlexLink's Ready condition has the reason, and returns it.
func (w *world) reaches(name, reason string) *v1alpha1.PlexLink {
	w.Helper()
	var link *v1alpha1.PlexLink
	w.eventually(name+" with status "+reason, func() error {
		link = w.link(name)
		ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return errors.New("it has no Ready condition yet")
		}
		if ready.Reason != reason || link.Status.ObservedGeneration != link.Generation {
			return fmt.Errorf("it is %s: %s", ready.Reason, ready.Message)
		}
		return nil
	})
	return link
}

// says waits until the Ready condition has the message.
func (w *world) says(name, text string) {
	w.Helper()
	w.eventually("message of "+name+": "+text, func() error {
		if link := w.link(name); message(link) != text {
			return fmt.Errorf("got %q", message(link))
		}
		return nil
	})
}

// message returns the message of the Ready condition, or "".
func message(link *v1alpha1.PlexLink) string {
	if ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Message
	}
	return ""
}

// request sets a request annotation to a new value.
func (w *world) request(name, annotation string) {
	w.Helper()
	w.change(name, func(l *v1alpha1.PlexLink) {
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, annotation, time.Now().Format(time.RFC3339Nano))
	})
}

// awaitsPIN waits until a link is AwaitingLink with a PIN, and returns it.
func (w *world) awaitsPIN(name string) *v1alpha1.PlexLink {
	w.Helper()
	var link *v1alpha1.PlexLink
	w.eventually("a PIN of "+name, func() error {
		if link = w.reaches(name, v1alpha1.ReasonAwaitingLink); link.Status.PIN == nil {
			return errors.New(message(link))
		}
		return nil
	})
	return link
}

// showsPIN waits until a link shows a PIN and returns its code.
func (w *world) showsPIN(name string) string {
	w.Helper()
	var code string
	w.eventually("a PIN of "+name, func() error {
		link := w.link(name)
		if link.Status.PIN == nil {
			return errors.New(message(link))
		}
		code = link.Status.PIN.Code
		return nil
	})
	return code
}

// letPINsExpire waits until the eight consecutive PINs of a link have expired.
func (w *world) letPINsExpire(name string) {
	w.Helper()
	last := ""
	for range 8 {
		w.eventually("another PIN", func() error {
			pin := w.link(name).Status.PIN
			if pin == nil || pin.Code == last {
				return errNotYet
			}
			last = pin.Code
			return nil
		})
		w.advance(15*time.Minute + time.Second)
	}
}

// enterPIN enters the open PIN of a link as alice.
func (w *world) enterPIN(name string) {
	w.Helper()
	if err := w.sim.Link(w.awaitsPIN(name).Status.PIN.Code, w.alice); err != nil {
		w.Fatal(err)
	}
}

// linked creates a PlexLink and links it.
func (w *world) linked(name string, change ...func(*v1alpha1.PlexLink)) *v1alpha1.PlexLink {
	w.Helper()
	w.create(name, change...)
	w.enterPIN(name)
	return w.reaches(name, v1alpha1.ReasonLinked)
}

// settled waits until the record of the server is stored, the operator's last step for a link.
func (w *world) settled(name string) {
	w.Helper()
	w.eventually("the record of the server", func() error {
		secret := w.secret(name + v1alpha1.DeviceSecretSuffix)
		if secret == nil {
			return errors.New("the device Secret does not exist")
		}
		var state struct {
			Server   struct{ URL string }
			Unproven bool
		}
		if err := json.Unmarshal(secret.Data[keyState], &state); err != nil {
			return err
		}
		if state.Server.URL == "" || state.Unproven {
			return errNotYet
		}
		return nil
	})
}

// refresh lets the refresh interval pass and waits for the refresh.
func (w *world) refresh(name string) {
	w.Helper()
	before := w.link(name).Status.LastRefreshTime
	w.advance(70 * time.Minute)
	w.eventually("a refresh", func() error {
		if now := w.link(name).Status.LastRefreshTime; !now.After(before.Time) {
			return fmt.Errorf("got the last one at %s", now)
		}
		return nil
	})
}

// accountToken returns the account token in the device Secret of a link. Apps get it only if the template uses it.
func (w *world) accountToken(name string) string {
	w.Helper()
	return string(w.secret(name + v1alpha1.DeviceSecretSuffix).Data[keyToken])
}
