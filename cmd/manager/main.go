// Command manager runs the PlexLink operator.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/controller"
	"plexlink.dev/operator/internal/plex"
)

// version is set by the Makefile.
var version = "dev"

// settings are the values of the flags.
type settings struct {
	plexURL          string
	plexQPS          float64
	plexBurst        int
	denyCIDRs        string
	watchNamespaces  string
	leaderElect      bool
	leaderElectionID string
	leaseDuration    time.Duration
	renewDeadline    time.Duration
	retryPeriod      time.Duration
	metricsAddr      string
	metricsSecure    bool
	probeAddr        string
	maxReconciles    int
	serverCheck      time.Duration
	clusterDomain    string
	uninstall        bool
	printVersion     bool
	deniedServerNets []netip.Prefix
	namespaces       []string
}

// gcPercent replaces GOGC's default of 100, which would double the operator's memory to save CPU time that it does not need.
const gcPercent = 20

func main() {
	s, logging, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(2)
	case s.printVersion:
		fmt.Println("plexlink", version)
		return
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(logging)))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := run(ctrl.SetupSignalHandler(), s); err != nil {
		ctrl.Log.Error(err, "Manager exited with an error")
		os.Exit(1)
	}
}

// parseFlags reads and checks the command line. Its errors say what to change.
func parseFlags(args []string) (settings, *zap.Options, error) {
	var s settings
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.StringVar(&s.plexURL, "plex-url", "https://plex.tv", "Base URL of plex.tv.")
	flags.Float64Var(&s.plexQPS, "plex-qps", 5,
		"Requests per second to plex.tv, for all PlexLinks together. plex.tv blocks addresses that send about 10. "+
			"The rate is lowered automatically while plex.tv limits requests.")
	flags.IntVar(&s.plexBurst, "plex-burst", 10,
		"Requests to plex.tv that may be sent at once after a quiet time; half of them are reserved for polls of PINs.")
	flags.StringVar(&s.denyCIDRs, "deny-server-cidrs", prefixList(plex.DefaultDeny),
		"Comma-separated networks in which no media server is contacted, whatever a PlexLink or plex.tv says. "+
			"The default protects this Pod itself and the cloud's metadata service.")
	flags.StringVar(&s.watchNamespaces, "watch-namespaces", "",
		"Comma-separated namespaces whose PlexLinks are served, such as media,plex. Default: all.")
	flags.BoolVar(&s.leaderElect, "leader-elect", false, "Let only one of several replicas work at a time.")
	flags.StringVar(&s.leaderElectionID, "leader-election-id", "plexlink-operator",
		"Name of the Lease of leader election. Two installations in one namespace need different ones.")
	flags.DurationVar(&s.leaseDuration, "leader-election-lease-duration", 15*time.Second,
		"Time after which another replica may take over from one that does not renew the Lease. Raise all three for slow disks.")
	flags.DurationVar(&s.renewDeadline, "leader-election-renew-deadline", 10*time.Second,
		"Time after which the leader exits when it cannot renew the Lease. Must be shorter than the lease duration.")
	flags.DurationVar(&s.retryPeriod, "leader-election-retry-period", 2*time.Second,
		"Time between two attempts to take or renew the Lease. Must be shorter than the renew deadline.")
	flags.StringVar(&s.metricsAddr, "metrics-bind-address", "0", `Address the metrics endpoint binds to, such as :8443; "0" disables it.`)
	flags.BoolVar(&s.metricsSecure, "metrics-secure", true,
		"Serve metrics over HTTPS, to callers that the cluster permits to get the path /metrics. False: over HTTP, to every caller.")
	flags.StringVar(&s.probeAddr, "health-probe-bind-address", ":8081", `Address that /healthz and /readyz bind to; "0" disables them.`)
	flags.IntVar(&s.maxReconciles, "max-concurrent-reconciles", 20,
		"PlexLinks that are reconciled at the same time. Most of the work is waiting for answers.")
	flags.DurationVar(&s.serverCheck, "server-check-interval", time.Minute,
		"How often each address in use is checked for an answer of its server, for example 5m; 0 disables the checks. "+
			"It is one request without a token, however many PlexLinks use the address.")
	flags.StringVar(&s.clusterDomain, "cluster-domain", "",
		"Domain suffix of Services, such as cluster.local. Default: the one in the Pod's /etc/resolv.conf.")
	flags.BoolVar(&s.uninstall, "uninstall", false,
		"Remove the finalizer from every PlexLink and exit. Run it before the operator is removed: "+
			"afterwards nothing would remove them, and the PlexLinks could not be deleted. Tokens stay valid.")
	flags.BoolVar(&s.printVersion, "version", false, "Print the version and exit.")
	logging := &zap.Options{}
	logging.BindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return s, logging, err
	}
	if logging.Level != nil {
		logging.Level = withoutBodies(logging.Level)
	}
	return s, logging, s.check(flags.Args())
}

// check parses the lists and refuses values that cannot work.
func (s *settings) check(arguments []string) error {
	if len(arguments) > 0 {
		return fmt.Errorf("%q is not a flag: see --help", arguments[0])
	}
	if s.plexQPS <= 0 || s.plexBurst < 1 || s.maxReconciles < 1 {
		return errors.New("--plex-qps, --plex-burst and --max-concurrent-reconciles must be greater than 0")
	}
	if s.leaderElectionID == "" || s.retryPeriod <= 0 || s.renewDeadline <= s.retryPeriod || s.leaseDuration <= s.renewDeadline {
		return errors.New("leader election needs an id, and lease duration > renew deadline > retry period > 0: see --help")
	}
	if s.serverCheck < 0 || s.serverCheck > 0 && s.serverCheck < time.Second {
		return errors.New("--server-check-interval must be 0, or at least 1s")
	}
	if mistakes := validation.IsDNS1123Subdomain(s.clusterDomain); s.clusterDomain != "" && len(mistakes) > 0 {
		return fmt.Errorf("--cluster-domain: %q is not a domain: write it like cluster.local", s.clusterDomain)
	}
	for _, text := range split(s.denyCIDRs) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--deny-server-cidrs: %q is not a network: write it like 169.254.0.0/16 or fe80::/10", text)
		}
		s.deniedServerNets = append(s.deniedServerNets, prefix)
	}
	s.namespaces = split(s.watchNamespaces)
	return nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func prefixList(prefixes []netip.Prefix) string {
	texts := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ",")
}

// withoutBodies caps the log at level 7: from 8 on, client-go prints the bodies of its requests, which are Secrets.
func withoutBodies(level zapcore.LevelEnabler) zapcore.LevelEnabler {
	const highest = zapcore.Level(-7)
	return levelFunc(func(l zapcore.Level) bool { return l >= highest && level.Enabled(l) })
}

type levelFunc func(zapcore.Level) bool

func (f levelFunc) Enabled(l zapcore.Level) bool { return f(l) }

// run serves PlexLinks until the context ends, or uninstalls and returns.
func run(ctx context.Context, s settings) error {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	kubeconfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	kubeconfig.QPS = -1 // API Priority and Fairness limits requests on the server.
	if s.uninstall {
		return uninstall(ctx, kubeconfig, scheme, s.namespaces)
	}

	mgr, err := ctrl.NewManager(kubeconfig, managerOptions(s, scheme))
	if err != nil {
		return fmt.Errorf("set up the manager: %w", err)
	}

	plexTV, err := plex.NewClient(plex.Options{BaseURL: s.plexURL})
	if err != nil {
		return fmt.Errorf("--plex-url: %w", err)
	}
	reconciler := &controller.Reconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Recorder:  mgr.GetEventRecorder(v1alpha1.ManagedBy),
		Plex:      plexTV,
		NewTransport: func(roots *x509.CertPool) *http.Transport {
			return plex.NewTransport(plex.TransportOptions{Deny: s.deniedServerNets, RootCAs: roots})
		},
		QPS:                 s.plexQPS,
		Burst:               s.plexBurst,
		Workers:             s.maxReconciles,
		Version:             version,
		Namespaces:          s.namespaces,
		ClusterDomain:       cmp.Or(s.clusterDomain, domainOfPod()),
		PodNetworks:         podNetworks(os.Getenv("POD_IPS")),
		ServerCheckInterval: s.serverCheck,
		Clock:               clock.RealClock{},
		Metrics:             metrics.Registry,
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("healthz", healthz.Ping), mgr.AddReadyzCheck("readyz", healthz.Ping)); err != nil {
		return fmt.Errorf("set up the probes: %w", err)
	}
	ctrl.Log.Info("Starting", "version", version, "plexURL", s.plexURL, "namespaces", s.namespaces,
		"clusterDomain", reconciler.ClusterDomain, "podNetworks", reconciler.PodNetworks)
	return start(ctx, mgr)
}

// start runs the manager until the context ends. If that is before the caches are filled, mgr.Start never returns, and nothing has
// begun that would have to end well.
func start(ctx context.Context, mgr ctrl.Manager) error {
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !mgr.GetCache().WaitForCacheSync(soon) {
		return nil
	}
	return <-ended
}

// managerOptions turns the flags into the options of the manager.
func managerOptions(s settings, scheme *runtime.Scheme) ctrl.Options {
	metricsOptions := metricsserver.Options{BindAddress: s.metricsAddr, SecureServing: s.metricsSecure}
	if s.metricsSecure {
		metricsOptions.FilterProvider = withAccessReview
		// Metrics do not need HTTP/2, which has had several denial-of-service vulnerabilities.
		metricsOptions.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	return ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controller.CacheOptions(s.namespaces),
		Metrics:                       metricsOptions,
		HealthProbeBindAddress:        s.probeAddr,
		LeaderElection:                s.leaderElect,
		LeaderElectionID:              s.leaderElectionID,
		LeaseDuration:                 &s.leaseDuration,
		RenewDeadline:                 &s.renewDeadline,
		RetryPeriod:                   &s.retryPeriod,
		LeaderElectionReleaseOnCancel: true,
		Controller: config.Controller{
			ReconciliationTimeout: time.Minute,
			EnableWarmup:          new(true),
		},
	}
}

// uninstall removes the finalizers and prints how many.
func uninstall(ctx context.Context, kubeconfig *rest.Config, scheme *runtime.Scheme, namespaces []string) error {
	c, err := client.New(kubeconfig, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	count, err := controller.Release(ctx, c, time.Now(), namespaces...)
	if err != nil {
		return fmt.Errorf("remove finalizers: %w", err)
	}
	fmt.Printf("Removed the finalizer from %d PlexLinks. Their tokens stay valid; to end them, remove the devices under "+
		"Authorized Devices at plex.tv.\n", count)
	return nil
}
