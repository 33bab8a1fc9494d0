package main

import (
	"strings"
	"testing"
)

func TestACustomerLinksASecondLogin(t *testing.T) {
	v := visit(t, nil)
	account := v.choose("/account", "ben")
	v.wants(account, 200, "/account", "Link this account, and log in with either.")
	linked := v.login(v.follow(account, "Link Harbour Pass"), "p114")
	v.wants(linked, 200, "/account", "<h1>Ben Okafor</h1>")
	v.wants(linked, 200, "/account", `<span class="hint">B. Okafor</span>`)
	if strings.Contains(linked.body, "Link this account") {
		t.Errorf("nothing is left to link: %s", linked.body)
	}

	v.logOut()
	again := v.chooseAt("Harbour Pass", "/account", "p114")
	v.wants(again, 200, "/account", "<h1>Ben Okafor</h1>")
	v.wants(again, 200, "/account", "okafor@harbour.example")
	v.wants(v.open("/"), 200, "/", "Good to see you, Ben Okafor.")
	v.logOut()
	v.wants(v.choose("/account", "ben"), 200, "/account", `<span class="hint">B. Okafor</span>`)

	other := v.another(onLinux)
	other.wants(other.chooseAt("Harbour Pass", "/account", "p207"), 200, "/account", "<h1>Mette Holm</h1>")
	taken := other.another(onLinux)
	account = taken.choose("/account", "chiara")
	refused := taken.login(taken.follow(account, "Link Harbour Pass"), "p114")
	taken.wants(refused, 403, "/auth/callback/harbour", "This login belongs to another customer.")
	account = taken.open("/account")
	taken.wants(account, 200, "/account", "<h1>Chiara Conti</h1>")
	taken.wants(taken.login(taken.follow(account, "Link Harbour Pass"), ""), 403, "/auth/callback/harbour", "access_denied")
	taken.wants(taken.open("/account"), 200, "/account", "Link this account")
}
