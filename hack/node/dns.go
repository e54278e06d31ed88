//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
)

const (
	clusterDomain = "cluster.local"
	clusterDNS    = "10.96.0.10"
)

// corefile: the node reaches no other name server, so all names outside of the cluster do not exist.
const corefile = clusterDomain + ` in-addr.arpa {
    errors
    ready 127.0.0.1:8181
    kubernetes {
        kubeconfig %s
        pods insecure
    }
}
. {
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`

// dnsService leads to CoreDNS. It has no selector, because that is a program of the node and not a Pod.
const dnsService = `apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  clusterIP: ` + clusterDNS + `
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [` + address + `]}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
`

// dns starts CoreDNS behind the Service that kubelet names to Pods.
func (n *node) dns(ctx context.Context) error {
	for file, text := range map[string]string{
		"Corefile":      fmt.Sprintf(corefile, n.path("admin.kubeconfig")),
		"kube-dns.yaml": dnsService,
	} {
		if err := os.WriteFile(n.path(file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := n.start("coredns", "-conf="+n.path("Corefile")); err != nil {
		return err
	}
	return n.until(ctx, "kubectl", "apply", "--filename="+n.path("kube-dns.yaml"))
}
