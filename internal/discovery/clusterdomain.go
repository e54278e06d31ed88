package discovery

import "strings"

// ClusterDomain returns the domain of the cluster from a Pod's resolv.conf, which the kubelet writes as "search
// media.svc.cluster.local svc.cluster.local cluster.local …", or "" if it names none.
func ClusterDomain(resolvConf string) string {
	domain := ""
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "search" {
			continue
		}
		domain = ""
		for _, search := range fields[1:] { // The last search line counts, see resolv.conf(5).
			if rest, found := strings.CutPrefix(search, "svc."); found && domain == "" {
				domain = strings.TrimSuffix(rest, ".")
			}
		}
	}
	return domain
}
