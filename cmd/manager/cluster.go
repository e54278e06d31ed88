package main

import (
	"net/netip"
	"os"

	"plexlink.dev/operator/internal/discovery"
)

// domainOfPod returns the domain of the cluster that this process runs in; "" outside of one.
func domainOfPod() string {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return ""
	}
	return discovery.ClusterDomain(string(text))
}

// podNetworks returns the networks around the addresses of this Pod, as the downward API gives them (status.podIPs). A
// cluster's Pods share a network of 16 bits in the defaults of kubeadm, k3s, Talos and most network plugins, and one of
// 56 bits in IPv6. It only serves to warn of addresses that end with their Pod.
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
