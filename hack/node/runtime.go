//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"plexlink.dev/operator/hack/onelayer"
)

const pauseImage = "plexlink.dev/pause:1"

// containerdConfig: Pods do without AppArmor, and without privileges that a machine may lack.
const containerdConfig = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '%[1]s'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['%[2]s']
conf_dir = '%[3]s'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '%[2]s/runc'
SystemdCgroup = false
`

// podNetwork attaches Pods to the node's own bridge.
const podNetwork = `{
  "cniVersion": "1.0.0", "name": "pods", "plugins": [{
    "type": "bridge", "bridge": "kbr0", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "ranges": [[{"subnet": "` + network + `", "rangeStart": "10.88.0.10", "gateway": "` + address + `"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`

// Images are never collected: they could not be pulled again.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]s/ca.crt}
authorization: {mode: Webhook}
address: ` + address + `
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [` + clusterDNS + `]
clusterDomain: ` + clusterDomain + `
resolvConf: %[1]s/resolv.conf
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
volumePluginDir: /var/lib/kubelet/plugins
syncFrequency: 10s
`

// masqueradeAll, because all Pods are on one bridge: a Pod would answer a Service's client directly, from an address that
// the client did not call.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
nftables: {masqueradeAll: true}
clientConnection: {kubeconfig: %s}
clusterCIDR: ` + network + `
hostnameOverride: ` + name + `
bindAddress: ` + address + `
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// runtime starts containerd and loads the pause image, which each Pod needs.
func (n *node) runtime(ctx context.Context) error {
	networks := n.path("networks")
	if err := os.Mkdir(networks, 0o755); err != nil {
		return err
	}
	for file, text := range map[string]string{
		filepath.Join(networks, "10-pods.conflist"): podNetwork,
		n.path("containerd.toml"):                   fmt.Sprintf(containerdConfig, pauseImage, n.programs, networks),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := n.start("containerd", "--config="+n.path("containerd.toml")); err != nil {
		return err
	}
	if err := n.until(ctx, "ctr", "version"); err != nil {
		return err
	}
	image := onelayer.Image{Name: pauseImage, Program: filepath.Join(n.programs, "pause")}
	if _, err := image.Write(n.path("pause.tar")); err != nil {
		return err
	}
	return n.command(ctx, "ctr", "images", "import", "--local", n.path("pause.tar"))
}

// kubelet starts kubelet, which runs the Pods, and kube-proxy, which routes the addresses of Services to them.
func (n *node) kubelet(context.Context) error {
	for file, text := range map[string]string{
		"resolv.conf":  "",
		"kubelet.yaml": fmt.Sprintf(kubeletConfig, n.dir, cgroup(n.dir)),
		"proxy.yaml":   fmt.Sprintf(proxyConfig, n.path("proxy.kubeconfig")),
	} {
		if err := os.WriteFile(n.path(file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := n.start("kubelet", "--config="+n.path("kubelet.yaml"), "--kubeconfig="+n.path("kubelet.kubeconfig"),
		"--hostname-override="+name, "--node-ip="+address); err != nil {
		return err
	}
	return n.start("kube-proxy", "--config="+n.path("proxy.yaml"))
}
