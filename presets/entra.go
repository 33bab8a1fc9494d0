package presets

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate"
)

const graph = "https://graph.microsoft.com"

// EntraGroups has the groups of users with many of them read from Microsoft Graph. Entra leaves
// "groups" out of the token of a user with more than 200, which does not say that there are none.
// The access token must be for Graph: the scope "GroupMember.Read.All" or wider is added. It
// replaces Claims.Further of p.
func EntraGroups(p oidcgate.Provider) oidcgate.Provider {
	p.Scopes = append(p.Scopes[:len(p.Scopes):len(p.Scopes)], "GroupMember.Read.All")
	p.Claims.Further = entraGroups(graph)
	p.Claims.FurtherOrigins = []string{graph}
	return p
}

// maxPages bounds how many pages of groups are read.
const maxPages = 20

func entraGroups(
	api string,
) func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
	return func(
		ctx context.Context, id *oidcgate.Identity, client *http.Client,
	) (map[string]any, error) {
		if !hasOverage(id) {
			return nil, nil
		}
		// The address in the token is not asked: only Graph is.
		address := api + "/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id&$top=999"
		groups := []string{}
		for range maxPages {
			var page struct {
				Value []struct {
					ID string `json:"id"`
				} `json:"value"`
				Next string `json:"@odata.nextLink"`
			}
			if err := get(ctx, client, address, &page); err != nil {
				return nil, err
			}
			for _, g := range page.Value {
				groups = append(groups, g.ID)
			}
			if page.Next == "" {
				break
			}
			address = page.Next // the client refuses another origin
		}
		return map[string]any{"groups": groups}, nil
	}
}

// hasOverage reports whether the token says that groups are missing in it.
func hasOverage(id *oidcgate.Identity) bool {
	if has, _ := id.ClaimBool("hasgroups"); has {
		return true
	}
	_, missing := id.ClaimJSON("/_claim_names/groups")
	return missing
}
