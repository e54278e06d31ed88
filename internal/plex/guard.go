package plex

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// errDenied means that a name or an address leads into a network that must not be dialed.
var errDenied = errors.New("the address is in a denied network")

// DefaultDeny lists networks that contain no media server but may contain something else that listens: the machine
// itself, cloud metadata services, routers. An IPv6 address that embeds an IPv4 address is matched as that address too.
var DefaultDeny = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),          // unspecified: this machine
	netip.MustParsePrefix("127.0.0.0/8"),        // loopback
	netip.MustParsePrefix("169.254.0.0/16"),     // link-local, with the metadata services of most clouds
	netip.MustParsePrefix("224.0.0.0/4"),        // multicast
	netip.MustParsePrefix("255.255.255.255/32"), // broadcast
	netip.MustParsePrefix("::/128"),             // unspecified
	netip.MustParsePrefix("::1/128"),            // loopback
	netip.MustParsePrefix("fe80::/10"),          // link-local
	netip.MustParsePrefix("ff00::/8"),           // multicast
	netip.MustParsePrefix("fd00:ec2::254/128"),  // the metadata service of AWS
}

// denying returns a dialer's ControlContext. It sees every address after name resolution and right before it is dialed,
// so neither DNS rebinding nor a redirect can bypass it.
func denying(deny []netip.Prefix) func(context.Context, string, string, syscall.RawConn) error {
	deny = slices.Clone(deny)
	for i, p := range deny {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			deny[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		dialed, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: it cannot be parsed", errDenied)
		}
		for _, addr := range meanings(dialed.Addr()) {
			if slices.ContainsFunc(deny, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				return errDenied
			}
		}
		return nil
	}
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	compatible = netip.MustParsePrefix("::/96")        // RFC 4291, deprecated
)

// meanings returns the addresses that a dialed address may lead to: itself and the IPv4 address embedded in it.
func meanings(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	all := []netip.Addr{addr}
	b := addr.As16()
	switch {
	case addr.Is4():
	case nat64.Contains(addr), compatible.Contains(addr):
		all = append(all, netip.AddrFrom4([4]byte(b[12:16])))
	case sixToFour.Contains(addr):
		all = append(all, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return all
}
