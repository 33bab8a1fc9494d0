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
	ip = ip.Unmap().WithZone("")
	if isForbidden(ip) {
		return true
	}
	for _, v4 := range embedded(ip) {
		// Most forms have zeros where other forms have the address.
		if !v4.IsUnspecified() && isForbidden(v4) {
			return true
		}
	}
	return false
}

func isForbidden(ip netip.Addr) bool {
	for _, service := range metadataServices {
		if ip == service {
			return true
		}
	}
	return ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// forms are the ways to write an IPv4 address as an IPv6 one: the prefix, and which bytes are the
// address. A gateway on the network, or the system, turns them back.
var forms = []struct {
	prefix netip.Prefix
	at     [4]int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}},    // NAT64 (RFC 6052, 2.1)
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{6, 7, 9, 10}},     // local NAT64 (RFC 8215),
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{7, 9, 10, 11}},    // with a prefix of any length
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{9, 10, 11, 12}},   // that is allowed there
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{12, 13, 14, 15}},  // (RFC 6052, 2.2)
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}},           // 6to4 (RFC 3056, 2)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}}, // SIIT (RFC 2765, 2.1)
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}},           // RFC 4291, 2.5.5.1
}

// embedded returns the IPv4 addresses that ip may stand for.
func embedded(ip netip.Addr) []netip.Addr {
	var found []netip.Addr
	b := ip.As16()
	for _, f := range forms {
		if f.prefix.Contains(ip) {
			v4 := [4]byte{b[f.at[0]], b[f.at[1]], b[f.at[2]], b[f.at[3]]}
			found = append(found, netip.AddrFrom4(v4))
		}
	}
	return found
}
