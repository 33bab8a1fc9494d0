package op

import (
	"context"
	"net/http"
	"net/netip"
	"syscall"
)

// refuseForbidden refuses to dial a forbidden address. It is called after the host name was
// resolved, so a name that resolves to another address the second time gains nothing (DNS
// rebinding).
func refuseForbidden(_ context.Context, _, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return &fault{status: http.StatusBadGateway, text: "the address is not an IP address"}
	}
	if forbiddenAddress(host.Addr()) {
		return &fault{
			status: http.StatusBadGateway,
			text: "the address is link-local, multicast, unspecified " +
				"or a cloud metadata service",
		}
	}
	return nil
}

// metadataServices are the cloud metadata services outside the link-local ranges. They give
// credentials to everybody who can make a request from this host.
var metadataServices = [...]netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

// forbiddenAddress reports whether no provider can be at ip. Private ranges are allowed, because
// providers inside a company are there.
func forbiddenAddress(ip netip.Addr) bool {
	ip = embedded(ip.Unmap().WithZone(""))
	for _, service := range metadataServices {
		if ip == service {
			return true
		}
	}
	return ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// nat64 is the prefix of IPv4 addresses written as IPv6 (RFC 6052, 2.1). A gateway on the
// network turns them back.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// embedded returns the IPv4 address that ip stands for, or ip if there is none.
func embedded(ip netip.Addr) netip.Addr {
	if !nat64.Contains(ip) {
		return ip
	}
	b := ip.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
