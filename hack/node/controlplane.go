//go:build linux

package main

import (
	"context"
	"os"
)

// network sets up the loopback device and the bridge the Pods are attached to, which has the address of the node.
func (n *node) network(ctx context.Context) error {
	if err := mountFolders(n.dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "kbr0", "type", "bridge"},
		{"address", "add", address + "/24", "dev", "kbr0"},
		{"link", "set", "kbr0", "up"},
		// Programs take the node's address from the default route.
		{"route", "add", "default", "dev", "kbr0"},
	} {
		if err := n.command(ctx, "ip", args...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

// controlPlane creates the certificates, starts etcd and kube-apiserver, and waits until they are ready.
func (n *node) controlPlane(ctx context.Context) error {
	a, err := newAuthority(n.dir)
	if err != nil {
		return err
	}
	for _, make := range []func() error{
		func() error { return a.server("apiserver", address, "10.96.0.1", "127.0.0.1") },
		func() error { return a.client("admin", "admin", "system:masters") },
		func() error { return a.client("kubelet", "system:node:"+name, "system:nodes") },
		func() error { return a.client("controller-manager", "system:kube-controller-manager") },
		func() error { return a.client("scheduler", "system:kube-scheduler") },
		func() error { return a.client("proxy", "system:kube-proxy") },
		func() error { return a.server("service-accounts") },
	} {
		if err := make(); err != nil {
			return err
		}
	}
	if err := n.start("etcd", "--data-dir="+n.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380"); err != nil {
		return err
	}
	if err := n.start("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address="+address, "--secure-port=6443", "--service-cluster-ip-range="+services,
		"--tls-cert-file="+a.path("apiserver.crt"), "--tls-private-key-file="+a.path("apiserver.key"),
		"--client-ca-file="+a.path("ca.crt"), "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+a.path("service-accounts.crt"),
		"--service-account-signing-key-file="+a.path("service-accounts.key"),
		"--kubelet-client-certificate="+a.path("admin.crt"), "--kubelet-client-key="+a.path("admin.key"),
		"--kubelet-preferred-address-types=InternalIP"); err != nil {
		return err
	}
	return n.until(ctx, "kubectl", "get", "--raw=/readyz")
}

// controllers starts kube-controller-manager and kube-scheduler.
func (n *node) controllers(context.Context) error {
	if err := n.start("kube-controller-manager", "--kubeconfig="+n.path("controller-manager.kubeconfig"),
		"--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file="+n.path("service-accounts.key"), "--root-ca-file="+n.path("ca.crt")); err != nil {
		return err
	}
	return n.start("kube-scheduler", "--kubeconfig="+n.path("scheduler.kubeconfig"),
		"--authentication-kubeconfig="+n.path("scheduler.kubeconfig"),
		"--authorization-kubeconfig="+n.path("scheduler.kubeconfig"),
		"--bind-address=127.0.0.1", "--leader-elect=false")
}
