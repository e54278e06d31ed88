package main

import (
	"net/netip"
	"os"

	"plexlink.dev/operator/internal/discovery"
)

// domainOfPod returns the domain of the cluster that this process runs in, or "" outside of a cluster.
func domainOfPod() string {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return ""
	}
	return discovery.ClusterDomain(string(text))
}

// podNetworks returns the networks around the addresses of this Pod, which come from the downward API (status.podIPs). By
// default the Pods of kubeadm, k3s, Talos and most network plugins share a /16 in IPv4 and a /56 in IPv6. The result only
// serves to warn of addresses that go away with their Pod.
func podNetworks(addresses string) []netip.Prefix {
	var networks []netip.Prefix
	for _, text := range split(addresses) {
		address, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		bits := 16
		if address.Is6() {
			bits = 56
		}
		networks = append(networks, netip.PrefixFrom(address, bits).Masked())
	}
	return networks
}
