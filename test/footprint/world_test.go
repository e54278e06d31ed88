//go:build footprint

package footprint

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	// Namespaces that every API server has.
	namespace, otherNamespace = "default", "kube-public"
	// patience is the longest wait for a step: on a busy machine 10,000 links take many minutes.
	patience = 30 * time.Minute
	// linksPerAccount keeps the list of an account's devices short.
	linksPerAccount = 100
	foreignLabel    = "footprint.example.com/foreign"
)

// world is an API server and a plex.tv.
type world struct {
	testing.TB
	client.Client
	sim        *plextest.Simulator
	accounts   []*plextest.Account
	kubeconfig string
	entered    int // how many PINs were entered, oldest first
}

// start starts etcd, kube-apiserver and the simulator.
func start(t *testing.T) *world {
	environment := &envtest.Environment{
		BinaryAssetsDirectory: "../../bin/k8s",
		CRDDirectoryPaths:     []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	environment.ControlPlane.GetAPIServer().Configure().Append("disable-admission-plugins", "ServiceAccount")
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	config.QPS = -1
	scheme := runtime.NewScheme()
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err := errors.Join(err, clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	sim := plextest.New(plextest.Options{})
	t.Cleanup(sim.Close)
	w := &world{TB: t, Client: c, sim: sim, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	for i := range *links/linksPerAccount + 1 {
		w.accounts = append(w.accounts, sim.AddAccount(fmt.Sprintf("account-%d", i)))
	}
	sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: sim.AddAccount("alice"), SharedWith: w.accounts})
	if err := os.WriteFile(w.kubeconfig, environment.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// eventually waits until the condition holds; it returns nil when it does.
func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(time.Second) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s did not happen: %v", what, err)
		}
	}
}

// addForeignSecrets creates Secrets with so many bytes of data and of an annotation.
func (w *world) addForeignSecrets(data, annotation int, labels map[string]string) {
	w.Helper()
	w.each(foreign, func(i int) error {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: fmt.Sprintf("foreign-%d", i), Labels: map[string]string{foreignLabel: ""},
				Annotations: map[string]string{"example.com/large": strings.Repeat("x", annotation)},
			},
			Data: map[string][]byte{"data": make([]byte, data)},
		}
		maps.Copy(secret.Labels, labels)
		return w.Create(w.Context(), secret)
	})
}

func (w *world) removeForeignSecrets() {
	w.Helper()
	if err := w.DeleteAllOf(w.Context(), &corev1.Secret{}, client.InNamespace(namespace), client.HasLabels{foreignLabel}); err != nil {
		w.Fatal(err)
	}
}

// createLinks creates n PlexLinks; change, if not nil, is called on each before.
func (w *world) createLinks(n int, change func(int, *v1alpha1.PlexLink)) {
	w.Helper()
	w.each(n, func(i int) error {
		link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("link-%d", i)}}
		if change != nil {
			change(i, link)
		}
		return w.Create(w.Context(), link)
	})
}

// each calls a function with the numbers from 0 to n-1, a few at a time.
func (w *world) each(n int, do func(int) error) {
	w.Helper()
	const atOnce = 8
	errs := make([]error, atOnce)
	var workers sync.WaitGroup
	for first := range atOnce {
		workers.Go(func() {
			for i := first; i < n && errs[first] == nil; i += atOnce {
				errs[first] = do(i)
			}
		})
	}
	workers.Wait()
	if err := errors.Join(errs...); err != nil {
		w.Fatal(err)
	}
}

// changeAll changes all links of the namespace, then waits until the operator is done with each.
func (w *world) changeAll(change func(*v1alpha1.PlexLink), done func(*v1alpha1.PlexLink) bool) {
	w.Helper()
	for _, link := range w.allLinks() {
		before := link.DeepCopy()
		change(&link)
		if err := w.Patch(w.Context(), &link, client.MergeFrom(before)); err != nil {
			w.Fatal(err)
		}
	}
	w.eventually("the last change", func() error {
		for _, link := range w.allLinks() {
			if !done(&link) {
				return fmt.Errorf("%s is %s", link.Name, readyReason(&link))
			}
		}
		return nil
	})
}

func (w *world) allLinks() []v1alpha1.PlexLink {
	w.Helper()
	var all v1alpha1.PlexLinkList
	if err := w.List(w.Context(), &all, client.InNamespace(namespace)); err != nil {
		w.Fatal(err)
	}
	return all.Items
}

// linkAll links all PlexLinks, with a larger budget than the default, and prints the memory of the manager.
func (w *world) linkAll(n int) usage {
	w.Helper()
	began := time.Now()
	m := w.manager("--plex-qps=200", "--plex-burst=100")
	defer m.stop()
	w.enterPINs(n, 0)
	return m.report(fmt.Sprintf("%d links, linked in %s", n, time.Since(began).Round(time.Second)))
}

// enterPINs enters PINs some time after they were issued, until all n links are Ready.
func (w *world) enterPINs(n int, after time.Duration) {
	w.Helper()
	w.eventually("the last link", func() error {
		pins := w.sim.PINs()
		for ; w.entered < len(pins) && time.Since(pins[w.entered].CreatedAt) > after; w.entered++ {
			account := w.accounts[w.entered/linksPerAccount%len(w.accounts)]
			if err := w.sim.Link(pins[w.entered].Code, account); err != nil {
				w.Fatal(err)
			}
		}
		if w.entered < n {
			return fmt.Errorf("%d of %d PINs are entered", w.entered, n)
		}
		ready := 0
		for _, link := range w.allLinks() {
			if readyReason(&link) == v1alpha1.ReasonLinked {
				ready++
			}
		}
		if ready < n {
			return fmt.Errorf("%d of %d are linked", ready, n)
		}
		return nil
	})
}

func readyReason(link *v1alpha1.PlexLink) string {
	if c := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return "without a status"
}
