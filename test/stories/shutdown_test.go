package stories

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"plexlink.dev/operator/api/v1alpha1"
)

// ending returns a channel that is closed when the operator begins to shut down.
func (o *operator) ending() <-chan struct{} {
	o.w.Helper()
	told := make(chan struct{})
	if err := o.manager.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		close(told)
		return nil
	})); err != nil {
		o.w.Fatal(err)
	}
	return told
}

// isWriteOf reports whether a request patches the Secret.
func isWriteOf(req *http.Request, secret string) bool {
	return req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/secrets/"+secret)
}

// Fault A11: the operator shuts down while it stores the token of an entered PIN.
func TestReceivedTokenIsStoredDuringShutdown(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		between bool          // whether it is told after a failed attempt, not during the first one
		fails   time.Duration // how long storing fails after it is told
	}{
		"while it stores it":                     {},
		"while the API server fails for seconds": {fails: 2 * time.Second},
		"between two failed attempts":            {between: true, fails: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var entered, told atomic.Bool
			var attempts, toldAt atomic.Int64
			var ending <-chan struct{}
			first := w.startOperator(func(o *operator) {
				o.fail = func(req *http.Request) error {
					if !entered.Load() || !isWriteOf(req, "kometa-plexlink-device") {
						return nil
					}
					attempts.Add(1)
					if row.between && !told.Load() {
						return errors.New("etcdserver: request timed out")
					}
					if told.CompareAndSwap(false, true) {
						go o.stop()
					}
					<-ending
					toldAt.CompareAndSwap(0, time.Now().UnixNano())
					if time.Since(time.Unix(0, toldAt.Load())) < row.fails {
						return errors.New("etcdserver: request timed out")
					}
					return nil
				}
			})
			ending = first.ending()
			w.create("kometa")
			code := w.awaitsPIN("kometa").Status.PIN.Code
			entered.Store(true)
			if err := w.sim.Link(code, w.alice); err != nil {
				t.Fatal(err)
			}
			if row.between {
				w.eventually("a failed attempt to store the token", func() error {
					if !strings.Contains(w.logs.String(), "store Secret kometa-plexlink-device") {
						return errNotYet
					}
					return nil
				})
				told.Store(true)
				first.stop()
			}
			w.eventually("the operator to stop", func() error {
				if first.running() {
					return errNotYet
				}
				return nil
			})
			if w.accountToken("kometa") != w.sim.PINs()[0].Token {
				t.Fatalf("got another token or none stored after %d attempts, want the PIN's", attempts.Load())
			}
			w.clock.advance(15 * time.Second) // plex.tv no longer returns the token of the PIN.
			w.startOperator()
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if n := len(w.sim.PINs()); n != 1 {
				t.Errorf("got %d PINs, want one", n)
			}
		})
	}
}

// It kept a core busy until it was killed, because controller-runtime waits for caches that are no longer filled.
func TestManagerThatCannotFillItsCachesEndsWhenItIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "without-permissions", Namespace: w.namespace}}
	if err := admin.Create(w.Context(), account); err != nil {
		t.Fatal(err)
	}
	config, err := configOf(w.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	p := managerUnder(w, []string{"env", "KUBECONFIG=" + writeKubeconfig(w, config)})()
	w.eventually("a list that is refused", func() error {
		if !strings.Contains(w.logs.String(), "cannot list resource") {
			return errNotYet
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the manager ended with %v, want no error", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the manager goes on 15s after SIGTERM, want it to end")
	}
}
