package stories

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
)

// All stories share the API server; each has its own namespace, simulator and operator.
var (
	admin          client.WithWatch
	adminConfig    *rest.Config
	operatorConfig *rest.Config // has exactly the permissions in config/rbac/role.yaml
	kubeconfigFile string
	assets         string                                                                              // directory of kube-apiserver, kubectl and the like
	managerFile    = filepath.Join(os.TempDir(), fmt.Sprintf("plexlink-test-%d.manager", os.Getpid())) // see buildManager
	testScheme     = runtime.NewScheme()
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runSuite(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (int, error) {
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run(), nil
	}
	ctrl.SetLogger(logr.Discard())
	utilruntime.Must(clientgoscheme.AddToScheme(testScheme))
	utilruntime.Must(v1alpha1.AddToScheme(testScheme))

	root, err := filepath.Abs("../..")
	if err != nil {
		return 0, err
	}
	assets = filepath.Join(root, "bin", "k8s")
	if _, err := os.Stat(filepath.Join(assets, "kube-apiserver")); err != nil {
		return 0, fmt.Errorf("kube-apiserver not found in %s: run `make control-plane` first", assets)
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: assets,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	environment.ControlPlane.GetAPIServer().Configure().Append("max-requests-inflight", "4000").
		Append("disable-admission-plugins", "ServiceAccount")
	defer func() { // After a failed start, too: an API server that refuses the CRD is left running.
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}()
	config, err := environment.Start()
	if err != nil {
		return 0, fmt.Errorf("start the API server: %w", err)
	}
	config.QPS = -1
	adminConfig = config
	if admin, err = client.NewWithWatch(config, client.Options{Scheme: testScheme}); err != nil {
		return 0, err
	}
	if operatorConfig, err = serviceAccountConfig(filepath.Join(root, "config", "rbac", "role.yaml")); err != nil {
		return 0, fmt.Errorf("set up the operator's permissions: %w", err)
	}
	kubeconfigFile = filepath.Join(os.TempDir(), fmt.Sprintf("plexlink-test-%d.kubeconfig", os.Getpid()))
	if err := os.WriteFile(kubeconfigFile, environment.KubeConfig, 0o600); err != nil {
		return 0, err
	}
	defer func() { _, _ = os.Remove(kubeconfigFile), os.Remove(managerFile) }()
	defer func() { stopGarbageCollector() }()
	before := goleak.IgnoreCurrent()
	code := m.Run()
	if code == 0 {
		stopGarbageCollector()
		err = goleak.Find(before,
			// Idle connections of the clients that all stories share.
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"),
			goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
			// Informers of controller-runtime that stop while an event is in flight.
			goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
			// It waits for the first list of informers of a killed operator, which do not report that they stopped.
			goleak.IgnoreTopFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformerHandlerRegistration.func1"),
		)
	}
	return code, err
}

// serviceAccountConfig creates a ServiceAccount with the role in the file and returns a config with a token for it.
func serviceAccountConfig(roleFile string) (*rest.Config, error) {
	ctx := context.Background()
	text, err := os.ReadFile(roleFile)
	if err != nil {
		return nil, err
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "controller-manager", Namespace: "plexlink-system"}}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: account.Namespace}},
		account,
		&role,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "plexlink-manager"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account.Name, Namespace: account.Namespace}},
		},
	} {
		if err := admin.Create(ctx, object); err != nil {
			return nil, err
		}
	}
	return configOf(ctx, account)
}

// configOf returns a config with a token for a ServiceAccount.
func configOf(ctx context.Context, account *corev1.ServiceAccount) (*rest.Config, error) {
	clients, err := kubernetes.NewForConfig(adminConfig)
	if err != nil {
		return nil, err
	}
	token, err := clients.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 3600)}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(adminConfig)
	config.BearerToken = token.Status.Token
	config.QPS = -1
	return config, nil
}

// namespaceOf returns the prefix of a test's namespace.
func namespaceOf(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, t.Name())
	return strings.Trim(name[:min(len(name), 50)], "-") + "-"
}
