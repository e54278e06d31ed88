package stories

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// storeRefusals are answers of an API server that does not store a Secret, by the name of the link that receives them.
var storeRefusals = map[string]struct {
	code   int32
	reason metav1.StatusReason
	text   string
}{
	"forbidden": {http.StatusForbidden, metav1.StatusReasonForbidden, "a policy of the cluster forbids it"},
	"broken":    {http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcdserver: mvcc: database space exceeded"},
	"quota":     {http.StatusForbidden, metav1.StatusReasonForbidden, "exceeded quota: none, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0"},
}

// Fault A3: while the device Secret cannot be written, no PIN and no token is lost, and none is minted.
func TestNothingIsLostWhileTheDeviceSecretCannotBePatched(t *testing.T) {
	t.Parallel()
	var stories sync.WaitGroup
	for _, outage := range []time.Duration{20 * time.Second, 60 * time.Second} {
		for moment, test := range map[string]func(*testing.T, *refusingAPIServer, time.Duration){
			"a PIN is created": testRefusedPIN, "a token is received": testRefusedToken,
		} {
			stories.Go(func() {
				t.Run(fmt.Sprintf("for %s while %s", outage, moment), func(t *testing.T) {
					a := &refusingAPIServer{world: newWorld(t)}
					a.startOperator(func(o *operator) { o.answer = a.answer })
					test(t, a, outage)
				})
			})
		}
	}
	stories.Wait()
}

// refusingAPIServer refuses to patch the device Secrets of the links in storeRefusals while that is on.
type refusingAPIServer struct {
	*world
	refuses atomic.Bool
	refused sync.Map // how often, as *atomic.Int64 by the name of the link
}

func (a *refusingAPIServer) answer(r *http.Request) *http.Response {
	name, isDevice := strings.CutSuffix(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], v1alpha1.DeviceSecretSuffix)
	how, known := storeRefusals[name]
	if !a.refuses.Load() || !isDevice || !known || r.Method != http.MethodPatch {
		return nil
	}
	count, _ := a.refused.LoadOrStore(name, new(atomic.Int64))
	count.(*atomic.Int64).Add(1)
	return refusal(r, how.code, how.reason, how.text)
}

// outlast waits until each link reports why its device Secret cannot be written, and until the outage is over.
func (a *refusingAPIServer) outlast(outage time.Duration, began time.Time) {
	a.Helper()
	for name, how := range storeRefusals {
		a.eventuallyWithin(time.Until(began.Add(15*time.Second)), "SecretRefused of "+name, func() error {
			link := a.link(name)
			ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != v1alpha1.ReasonSecretRefused || !strings.Contains(ready.Message, how.text) {
				return fmt.Errorf("got %+v", ready)
			}
			return nil
		})
		a.hasEvent(v1alpha1.ReasonSecretRefused, how.text)
	}
	time.Sleep(time.Until(began.Add(outage))) // The outage lasts this long.
	for name := range storeRefusals {
		count, _ := a.refused.Load(name)
		if got := count.(*atomic.Int64).Load(); got < int64(outage/time.Second)/3 {
			a.Errorf("%s: got %d attempts in %s, want one every 2s", name, got, outage)
		}
	}
}

// stored waits until each device Secret has a key, for no longer than one attempt takes.
func (a *refusingAPIServer) stored(key string) {
	a.Helper()
	end := time.Now()
	for name := range storeRefusals {
		a.eventuallyWithin(time.Until(end.Add(3*time.Second)), "storing "+key+" of "+name, func() error {
			if len(a.secret(name + v1alpha1.DeviceSecretSuffix).Data[key]) == 0 {
				return errNotYet
			}
			return nil
		})
	}
}

// testRefusedPIN refuses writes from before a PIN is created.
func testRefusedPIN(t *testing.T, a *refusingAPIServer, outage time.Duration) {
	a.refuses.Store(true)
	for name := range storeRefusals {
		a.create(name)
	}
	a.eventually("a PIN for each link", func() error {
		if got := len(a.sim.PINs()); got != len(storeRefusals) {
			return fmt.Errorf("got %d", got)
		}
		return nil
	})
	links := a.recordLinks()
	a.outlast(outage, time.Now())
	for name := range storeRefusals {
		_, versions := links.of(name)
		for _, link := range versions {
			if link.Status.PIN != nil {
				t.Errorf("%s: got an unstored PIN in the status, want none", name)
			}
		}
	}
	a.refuses.Store(false)
	a.stored(keyPINID)
	for name := range storeRefusals {
		a.enterPIN(name)
	}
	a.finish(t)
}

// testRefusedToken refuses writes from before the PINs are entered.
func testRefusedToken(t *testing.T, a *refusingAPIServer, outage time.Duration) {
	for name := range storeRefusals {
		a.create(name)
	}
	for name := range storeRefusals {
		a.awaitsPIN(name)
	}
	a.refuses.Store(true)
	for name := range storeRefusals {
		a.enterPIN(name)
	}
	a.eventually("the tokens", func() error {
		for _, pin := range a.sim.PINs() {
			if !pin.Collected {
				return errNotYet
			}
		}
		return nil
	})
	a.outlast(outage, time.Now())
	a.refuses.Store(false)
	a.stored(keyToken)
	a.finish(t)
}

// finish checks that every link is linked with its first PIN.
func (a *refusingAPIServer) finish(t *testing.T) {
	for name := range storeRefusals {
		a.reaches(name, v1alpha1.ReasonLinked)
		checkSecretOpensServer(t, a.secret(name))
	}
	if got := a.sim.Count(plextest.CreatePIN); got != len(storeRefusals) {
		t.Errorf("got %d PINs, want one for each of %d links", got, len(storeRefusals))
	}
}

// Fault A9: a refused device Secret is reported in conditions and an event, and costs no PIN.
func TestRefusedDeviceSecretIsReportedAndCostsNoPIN(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse func(*world) (lift func())
		says   string
	}{
		"ResourceQuota":                   {refuseByQuota, "exceeded quota: none"},
		"ValidatingAdmissionPolicy":       {refuseByPolicy, "no device Secrets in this namespace"},
		"a policy that answers Forbidden": {nil, storeRefusals["forbidden"].text},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var refuses atomic.Bool
			lift := func() { refuses.Store(false) }
			if test.refuse != nil {
				lift = test.refuse(w)
			} else {
				refuses.Store(true)
			}
			w.startOperator(func(o *operator) {
				o.answer = func(r *http.Request) *http.Response {
					if !refuses.Load() || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/secrets") {
						return nil
					}
					return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, test.says)
				}
			})
			w.create("kometa")
			link := w.reaches("kometa", v1alpha1.ReasonSecretRefused)
			for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSecretSynced} {
				c := meta.FindStatusCondition(link.Status.Conditions, condition)
				if c == nil || c.Reason != v1alpha1.ReasonSecretRefused || !strings.Contains(c.Message, test.says) || c.ObservedGeneration != 1 {
					t.Errorf("got the condition %s %+v, want the API server's message", condition, c)
				}
			}
			w.hasEvent(v1alpha1.ReasonSecretRefused, test.says)
			if got := len(w.sim.Requests()); got != 0 {
				t.Errorf("got %d requests to plex.tv, want none", got)
			}
			lift()
			w.eventuallyWithin(10*time.Second, "a PIN", func() error {
				if link := w.link("kometa"); link.Status.PIN == nil {
					return fmt.Errorf("got %q", message(link))
				}
				return nil
			})
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if got := w.sim.Count(plextest.CreatePIN); got != 1 {
				t.Errorf("got %d PINs, want one", got)
			}
		})
	}
}

// refuseByQuota sets a quota of no Secrets. No controller counts them here, so the story sets the usage itself.
func refuseByQuota(w *world) (lift func()) {
	w.Helper()
	none := corev1.ResourceList{"count/secrets": resource.MustParse("0")}
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: w.namespace}, Spec: corev1.ResourceQuotaSpec{Hard: none},
	}
	if err := admin.Create(w.Context(), quota); err != nil {
		w.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	if err := admin.Status().Update(w.Context(), quota); err != nil {
		w.Fatal(err)
	}
	w.awaitDeviceSecrets(false)
	return func() {
		if err := admin.Delete(w.Context(), quota); err != nil {
			w.Fatal(err)
		}
		w.awaitDeviceSecrets(true)
	}
}

// refuseByPolicy creates a ValidatingAdmissionPolicy that refuses device Secrets in the namespace.
func refuseByPolicy(w *world) (lift func()) {
	w.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				}}},
			},
			Validations: []admissionv1.Validation{{
				Expression: "object.type != '" + string(v1alpha1.DeviceSecretType) + "'", Message: "no device Secrets in this namespace",
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	for _, object := range []client.Object{policy, binding} {
		if err := admin.Create(w.Context(), object); err != nil {
			w.Fatal(err)
		}
	}
	w.awaitDeviceSecrets(false)
	return func() {
		for _, object := range []client.Object{binding, policy} {
			if err := admin.Delete(w.Context(), object); err != nil {
				w.Fatal(err)
			}
		}
		w.awaitDeviceSecrets(true)
	}
}

// awaitDeviceSecrets waits until the API server accepts device Secrets, or rejects them.
func (w *world) awaitDeviceSecrets(accepted bool) {
	w.Helper()
	w.eventually(fmt.Sprintf("device Secrets accepted: %t", accepted), func() error {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "try-", Namespace: w.namespace}, Type: v1alpha1.DeviceSecretType,
		}
		if err := admin.Create(w.Context(), secret, client.DryRunAll); (err == nil) != accepted {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}
